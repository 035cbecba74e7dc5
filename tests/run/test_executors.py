"""Executors with real worker processes: each result once, within the window, through faults of all kinds."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster, Scheduler, SchedulerPlugin

from etl.core.errors import RunError
from etl.run.connection import open_client
from etl.run.dask import DaskExecutor
from etl.run.dask_run import Tuning
from etl.run.protocol import RETRIES, Executor, Queue, Task
from etl.run.serial import SerialExecutor
from tests.support.clusters import local_cluster
from tests.support.processes import LIMIT_SECONDS, dask_scheduler, wait_until

WORKERS = 2
WINDOW = Tuning().window_per_thread * WORKERS


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster(WORKERS) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        # A test may have cost the cluster a worker; its nanny starts another.
        client.wait_for_workers(WORKERS, timeout=LIMIT_SECONDS)
        yield client


@pytest.fixture(params=["serial", pytest.param("dask", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "serial":
        return SerialExecutor()
    return DaskExecutor(request.getfixturevalue("client"))


def attempts(folder: Path, item: int) -> int:
    """Return the number of attempts at an item, over all processes."""
    return len(list(folder.glob(f"{item}-*")))


def note_attempt(folder: Path, item: int) -> int:
    (folder / f"{item}-{time.monotonic_ns()}").touch()
    return attempts(folder, item)


def square(item: int) -> int:
    return item * item


def fail_times(folder: Path, failing: int, times: int, item: int) -> int:
    """Raise OSError in the first attempts at one item."""
    if note_attempt(folder, item) <= times and item == failing:
        raise OSError(5, "Input/output error", "Images_png_03.zip")
    return item


def hunger(item: int) -> int:
    raise MemoryError("Unable to allocate 9 TiB")


def divide_by_zero(item: int) -> int:
    return item // 0


def die(folder: Path, failing: int, times: int, item: int) -> int:
    """Kill the worker, as the system does when memory runs out."""
    if item == failing and note_attempt(folder, item) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def doze(item: int) -> int:
    time.sleep(0.05)
    return item


def scheduler_of(cluster: LocalCluster) -> Scheduler:
    assert isinstance(cluster.scheduler, Scheduler)
    return cluster.scheduler


def held_by(cluster: LocalCluster) -> list[Any]:
    return [key for key in list(scheduler_of(cluster).tasks) if str(key).startswith("item-")]


def test_every_item_once(executor: Executor) -> None:
    assert sorted(executor.run(square, range(50))) == [n * n for n in range(50)]


def test_no_items(executor: Executor) -> None:
    assert list(executor.run(square, [])) == []


def test_transient_fault_is_retried(executor: Executor, tmp_path: Path) -> None:
    task = partial(fail_times, tmp_path, 3, RETRIES)
    assert sorted(executor.run(task, range(6))) == list(range(6))
    assert [attempts(tmp_path, item) for item in range(6)] == [1, 1, 1, RETRIES + 1, 1, 1]


def test_lasting_fault_ends_the_run_and_keeps_what_came_before(executor: Executor, tmp_path: Path) -> None:
    came: list[int] = []
    with pytest.raises(RunError) as caught:
        came.extend(executor.run(partial(fail_times, tmp_path, 20, 99), range(40)))
    assert caught.value.exit_code == 4
    assert "Images_png_03.zip" in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert attempts(tmp_path, 20) == RETRIES + 1
    assert len(came) >= 20 - WINDOW
    assert 20 not in came


def test_too_little_memory_is_a_run_error(executor: Executor) -> None:
    with pytest.raises(RunError, match="Unable to allocate 9 TiB"):
        list(executor.run(hunger, [1]))


def test_bug_surfaces_with_its_traceback(executor: Executor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(executor.run(divide_by_zero, [1]))
    assert "return item // 0" in "".join(traceback.format_exception(caught.value))


class OneIsEnough(Queue):
    """A queue that withdraws all other tasks at its first result."""

    def __init__(self, function: Callable[[int], int], count: int) -> None:
        self.to_take = [Task(f"item-{n}", function, n) for n in range(count)]
        self.taken: list[Task] = []

    def take(self, has_core: bool = True) -> Task | None:
        if not (has_core and self.to_take):
            return None
        self.taken.append(self.to_take.pop())
        return self.taken[-1]

    def finish(self, task: Task, result: int) -> None:
        self.taken.remove(task)
        self.to_take.clear()

    def withdraw(self) -> list[Task]:
        withdrawn, self.taken = self.taken, []
        return withdrawn


def linger(folder: Path, item: int) -> int:
    """Return at once from item 99, which is taken first; from others when they are withdrawn."""
    note_attempt(folder, item)
    wait_until(lambda: item == 99 or (folder / "withdrawn").exists(), "it was withdrawn")
    return item


def test_what_is_withdrawn_is_not_begun_and_not_given(
    cluster: LocalCluster, client: Client, tmp_path: Path
) -> None:
    results = list(DaskExecutor(client).execute(OneIsEnough(partial(linger, tmp_path), 100)))
    assert results == [99]
    wait_until(lambda: not held_by(cluster), "the scheduler held no task")
    (tmp_path / "withdrawn").touch()
    assert len(list(tmp_path.glob("*-*"))) < WINDOW


class Peak(SchedulerPlugin):
    """Records the largest number of tasks that the scheduler held at once, finished ones included."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.name, self.cluster, self.most = "peak", cluster, 0

    def transition(self, *_: Any, **__: Any) -> None:
        self.most = max(self.most, len(held_by(self.cluster)))


def test_window_bounds_what_is_under_way(cluster: LocalCluster, client: Client) -> None:
    pulled = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        while pulled < 60:
            pulled += 1
            yield pulled

    peak = Peak(cluster)
    scheduler_of(cluster).add_plugin(peak)
    try:
        for taken, _ in enumerate(DaskExecutor(client).run(doze, items()), start=1):
            assert pulled <= WINDOW + taken
            if taken == 10:
                time.sleep(0.5)  # a slow consumer: the workers run dry and nothing piles up
                assert pulled <= WINDOW + taken
    finally:
        scheduler_of(cluster).remove_plugin("peak")
    assert taken == pulled == 60
    # Results that came together may still wait for their release when the next tasks arrive.
    assert WORKERS < peak.most <= 2 * WINDOW


def test_embedded_cluster_listens_on_the_loopback_interface_only(
    cluster: LocalCluster, client: Client
) -> None:
    assert {address.split("//")[1].split(":")[0] for address in client.nthreads()} == {"127.0.0.1"}
    workers = [psutil.Process(pid) for pid in client.run(os.getpid).values()]
    addresses = {
        connection.laddr.ip
        for process in [psutil.Process(), *workers]
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_results_are_released(cluster: LocalCluster, client: Client) -> None:
    for _ in DaskExecutor(client).run(square, range(30)):
        assert len(held_by(cluster)) <= 2 * WINDOW
    wait_until(lambda: not held_by(cluster), "the scheduler held no task")


@pytest.mark.parametrize("how", ["closed", "failed"])
def test_unfinished_run_is_cancelled(how: str, cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    results = DaskExecutor(client).run(partial(fail_times, tmp_path, 9, 99), range(1000))
    next(results)
    if how == "closed":
        results.close()
    else:
        with pytest.raises(RunError):
            list(results)
    wait_until(lambda: not held_by(cluster), "the scheduler held no task")
    assert len({path.name.split("-")[0] for path in tmp_path.iterdir()}) < 100


def no_such_mount() -> int:
    raise PermissionError(13, "Permission denied", "/mnt/store")


@pytest.mark.slow
def test_what_is_raised_everywhere_is_raised_here(executor: Executor) -> None:
    with pytest.raises(PermissionError, match="/mnt/store"):
        executor.everywhere(no_such_mount)


def die_first(folder: Path) -> int:
    """Kill the first worker that calls this, before it answers."""
    try:
        (folder / "died").touch(exist_ok=False)
    except FileExistsError:
        return os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.slow
def test_everywhere_goes_without_a_worker_that_leaves_meanwhile(client: Client, tmp_path: Path) -> None:
    pids = client.run(os.getpid)
    answers = DaskExecutor(client).everywhere(partial(die_first, tmp_path))
    assert len(answers) == WORKERS - 1
    assert answers.items() <= pids.items()


@pytest.mark.slow
def test_killed_worker_costs_nothing(client: Client, tmp_path: Path) -> None:
    results = DaskExecutor(client).run(partial(die, tmp_path, 4, 1), range(12))
    assert sorted(results) == list(range(12))
    assert attempts(tmp_path, 4) == 2


@pytest.mark.slow
def test_task_that_kills_every_worker_is_a_run_error(
    cluster: LocalCluster, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_of(cluster), "allowed_failures", 1)
    with pytest.raises(
        RunError, match=r"(?s)item-0 failed.*its worker died 3 times, the last time with no other"
    ):
        list(DaskExecutor(client).run(partial(die, tmp_path, 0, 99), range(3)))
    # The scheduler may start it on one more worker before the cancellation arrives.
    assert attempts(tmp_path, 0) in (3, 4)


@pytest.mark.slow
def test_lost_scheduler_is_a_run_error(tmp_path: Path) -> None:
    with dask_scheduler(tmp_path) as (address, scheduler), open_client(address) as client:
        results = DaskExecutor(client).run(doze, range(1000))
        assert next(results) in range(1000)
        scheduler.kill()
        with pytest.raises(RunError, match="connection to the scheduler was lost"):
            list(results)
