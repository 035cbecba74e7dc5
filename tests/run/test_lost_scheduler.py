"""A scheduler that is lost at any call ends the run with the same error, and never as if it had succeeded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from distributed.comm import CommClosedError

from etl.core.errors import RunError
from etl.run.connection import open_client, wait_until_idle
from etl.run.dask import DaskExecutor
from etl.run.worker_watch import WorkerWatch
from tests.support.processes import LIMIT_SECONDS, dask_scheduler, wait_until

pytestmark = pytest.mark.slow


def run_tasks(client: Client, executor: DaskExecutor) -> None:
    list(executor.run(abs, range(50)))


def ask_all(client: Client, executor: DaskExecutor) -> None:
    executor.everywhere(os.getpid)


def make_report(client: Client, executor: DaskExecutor) -> None:
    with executor.profiled(lambda page: None):
        run_tasks(client, executor)


def look_for_workers(client: Client, executor: DaskExecutor) -> None:
    watch = WorkerWatch(client, 60)
    watch.update(0)
    watch.check()


def wait_for_idle(client: Client, executor: DaskExecutor) -> None:
    wait_until_idle(client, "run", 60)


CALLS: list[tuple[Callable[[Client, DaskExecutor], None], str]] = [
    (run_tasks, "gather"),
    (run_tasks, "ncores"),
    (ask_all, "broadcast"),
    (look_for_workers, "ncores"),
    (wait_for_idle, "broadcast"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("scheduler")
    with dask_scheduler(folder) as (address, _), open_client(address) as client:
        yield client


def break_at(name: str, dask_scheduler: Any = None) -> None:
    """Let a call end as one does whose connection breaks meanwhile; the scheduler itself goes on."""

    def answer(*_: Any, **__: Any) -> None:
        raise CommClosedError("ConnectionResetError: [Errno 104] Connection reset by peer")

    dask_scheduler.kept = dask_scheduler.handlers[name]
    dask_scheduler.handlers[name] = answer


def mend(name: str, dask_scheduler: Any = None) -> None:
    dask_scheduler.handlers[name] = dask_scheduler.kept


def die_at(name: str, dask_scheduler: Any = None) -> None:
    """Let the scheduler's process end at a call, or at a message of a client."""

    def die(*_: Any, **__: Any) -> None:
        os._exit(9)

    calls, messages = dask_scheduler.handlers, dask_scheduler.stream_handlers
    (calls if name in calls else messages)[name] = die


def assert_lost(call: Callable[[Client, DaskExecutor], None], client: Client, executor: DaskExecutor) -> None:
    with pytest.raises(RunError, match="the connection to the scheduler was lost") as caught:
        call(client, executor)
    assert caught.value.exit_code == 4
    assert "start the cluster again, run the same again" in caught.value.remedy


@pytest.mark.parametrize(("call", "name"), CALLS)
def test_a_call_that_breaks(call: Callable[[Client, DaskExecutor], None], name: str, client: Client) -> None:
    executor = DaskExecutor(client)
    client.run_on_scheduler(break_at, name)
    try:
        assert_lost(call, client, executor)
    finally:
        client.run_on_scheduler(mend, name)
    run_tasks(client, executor)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (run_tasks, "gather"),
        *(
            pytest.param(call, name, marks=pytest.mark.campaign)
            for call, name in [
                *CALLS[1:],
                (run_tasks, "subscribe-topic"),
                (run_tasks, "update-graph"),
                (run_tasks, "client-releases-keys"),
                (make_report, "run_function"),
                (make_report, "ncores"),
            ]
        ),
    ],
)
def test_a_scheduler_that_dies(
    call: Callable[[Client, DaskExecutor], None], name: str, tmp_path: Path
) -> None:
    with dask_scheduler(tmp_path) as (address, scheduler), open_client(address, connect_s=1) as client:
        executor = DaskExecutor(client)
        client.run_on_scheduler(die_at, name)
        assert_lost(call, client, executor)
        assert scheduler.wait(LIMIT_SECONDS) == 9
        # Once Dask has given up to reconnect, its calls fail in other ways.
        wait_until(lambda: client.status == "closed", "the client was closed")
        for later, _ in CALLS:
            assert_lost(later, client, executor)


def raise_own(_: int) -> None:
    raise ConnectionResetError("a task's own")


def test_an_error_of_a_task_is_not_a_loss(client: Client) -> None:
    with pytest.raises(RunError, match="item-0 failed, after retries") as caught:
        list(DaskExecutor(client).run(raise_own, [0]))
    assert "a task's own" in str(caught.value)
