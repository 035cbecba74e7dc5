"""Volumes convert while other archives are still on their way, and staged archives go when they are done."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from etl.pipeline.build import build, load_plan
from etl.run.clusters import open_client
from etl.run.dask import DaskExecutor
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from tests.support.http_faults import Request
from tests.support.processes import LIMIT_SECONDS, dask_scheduler
from tests.support.remote_release import (
    ARCHIVES,
    VOLUMES,
    Served,
    assert_same_store,
    build_as_job,
    receipts,
    store_data,
)
from tests.support.stored import config_of

pytestmark = pytest.mark.usefixtures("small_blocks")


def needing(*archives: int) -> set[str]:
    """Volumes that need nothing but these archives."""
    return {volume for volume, needs in VOLUMES.items() if needs <= set(archives)}


class Watch:
    """Stands at the server's door: what is on the store and in the staging folder at each request.

    Attributes:
        volumes: (archive number, volumes on the store) of each request, in order.
        most_staged: archives that lay in the staging folder at once, whole or in part.
        most_at_once: requests that were held at the same time.
        waited_in_vain: the store never had what a request was held for.
    """

    def __init__(self, store: Path, staging: Path, hold_seconds: float = 0.0) -> None:
        self._store, self._staging, self._hold_seconds = store, staging, hold_seconds
        self.volumes: list[tuple[int, set[str]]] = []
        self.most_staged = self.most_at_once = 0
        self.waited_in_vain = False
        self._at_once, self._lock = 0, threading.Lock()
        self.held_for: dict[int, set[str]] = {}

    def __call__(self, request: Request) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        number = ARCHIVES.index(request.path.lstrip("/")) + 1
        end = time.monotonic() + LIMIT_SECONDS
        while not self.held_for.get(number, set()) <= receipts(self._store):
            if time.monotonic() > end:
                self.waited_in_vain = True
                break
            time.sleep(0.01)
        time.sleep(self._hold_seconds)
        with self._lock:
            self._at_once -= 1
            self.most_staged = max(self.most_staged, len(self.staged()))
            self.volumes.append((number, receipts(self._store)))

    def staged(self) -> set[str]:
        """Names of archives that are there, whole or in part."""
        return {path.name for path in self._staging.rglob("*.zip")}


def watched_build(
    served: Served,
    folder: Path,
    executor: Executor,
    watch: Watch,
    **source: object,
) -> None:
    data = store_data(folder / "store", served.source(staging=str(folder / "staging"), **source))
    config = config_of(data)
    plan = load_plan(config)
    served.server.chance = watch
    build(config, plan, executor)


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path / "store", tmp_path / "staging")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("downloads", "held_for"),
    [(1, {2: needing(1), 3: needing(1, 2)}), (2, {2: needing(1)})],
    ids=["one at a time", "two at a time"],
)
def test_volumes_convert_while_another_archive_stalls(
    downloads: int,
    held_for: dict[int, set[str]],
    served: Served,
    two_workers: Executor,
    watch: Watch,
    local_store: Path,
    tmp_path: Path,
) -> None:
    """No block of the second archive comes before the first one's volumes are there."""
    watch.held_for = held_for
    watched_build(served, tmp_path, two_workers, watch, downloads=downloads)
    assert not watch.waited_in_vain
    assert {number for number, _ in watch.volumes} == {1, 2, 3}
    for number, volumes in watch.volumes:
        assert held_for.get(number, set()) <= volumes
        # A volume that spans two archives is not begun with one of them.
        assert not any(number in VOLUMES[volume] for volume in volumes)
    assert needing(1) < needing(1, 2) < needing(1, 2, 3) == receipts(tmp_path / "store")
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_downloads_that_hang_leave_the_threads_to_conversions(
    served: Served, watch: Watch, local_store: Path, tmp_path: Path
) -> None:
    """A worker as `dask worker` starts it, with one thread; more archives hang than it has threads, for as
    long as what is there is not converted."""
    watch.held_for = {2: needing(1), 3: needing(1)}
    with dask_scheduler(tmp_path) as (address, _), open_client(address) as client:
        assert list(client.nthreads().values()) == [1]
        watched_build(served, tmp_path, DaskExecutor(client), watch, downloads=3)
    assert not watch.waited_in_vain
    assert {number for number, _ in watch.volumes} == {1, 2, 3}
    for number, volumes in watch.volumes:
        assert watch.held_for.get(number, set()) <= volumes
    assert watch.most_at_once > 1
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_one_after_the_other_volumes_convert_as_their_archives_come(
    served: Served, watch: Watch, local_store: Path, tmp_path: Path
) -> None:
    watched_build(served, tmp_path, SerialExecutor(), watch)
    expected = {1: set(), 2: needing(1), 3: needing(1, 2)}
    assert all(volumes == expected[number] for number, volumes in watch.volumes)
    assert {number for number, _ in watch.volumes} == {1, 2, 3}
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
@pytest.mark.parametrize("downloads", [1, 2])
def test_downloads_at_once_over_the_whole_cluster(
    downloads: int, served: Served, two_workers: Executor, tmp_path: Path
) -> None:
    watch = Watch(tmp_path / "store", tmp_path / "staging", hold_seconds=0.05)
    watched_build(served, tmp_path, two_workers, watch, downloads=downloads)
    assert watch.most_at_once == downloads


@pytest.mark.slow
def test_downloads_at_once_before_planning(served: Served, two_workers: Executor, tmp_path: Path) -> None:
    served.server.has_ranges = False
    watch = Watch(tmp_path / "store", tmp_path / "staging", hold_seconds=0.05)
    served.server.chance = lambda request: (
        None if request.byte_range or ".csv" in request.path else watch(request)
    )
    source = served.source(staging=str(tmp_path / "staging"), downloads=1)
    build_as_job(store_data(tmp_path / "store", source), two_workers)
    assert (watch.most_at_once, len(watch.volumes)) == (1, 3)


@pytest.mark.slow
def test_without_keeping_them_few_archives_lie_there_at_once(
    served: Served, two_workers: Executor, watch: Watch, local_store: Path, tmp_path: Path
) -> None:
    watched_build(served, tmp_path, two_workers, watch, downloads=1, keep_archives=False)
    assert 1 <= watch.most_staged <= 2 < len(ARCHIVES)
    assert watch.staged() == set()
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_without_keeping_them_a_run_that_was_cut_leaves_nothing_in_the_end(
    served: Served, watch: Watch, local_store: Path, tmp_path: Path
) -> None:
    """The second run finds archives that it needs no more, and removes them too."""
    source = served.source(staging=str(tmp_path / "staging"))
    build_as_job(store_data(tmp_path / "store", source, select={"patients": [1]}), SerialExecutor())
    assert {name.split(".")[0] for name in watch.staged()} == {"Images_png_01"}
    build_as_job(store_data(tmp_path / "store", served.source()), SerialExecutor())
    done = build_as_job(store_data(tmp_path / "store", source | {"keep_archives": False}), SerialExecutor())
    assert (done.converted, done.reused) == (0, len(VOLUMES))
    assert watch.staged() == set()
    assert not any(path.is_file() for path in (tmp_path / "staging").rglob("*"))
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_archives_that_are_kept_are_not_fetched_again(served: Served, watch: Watch, tmp_path: Path) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "staging").glob("*.zip")}
    assert len(kept) == len(ARCHIVES)
    served.server.requests.clear()
    done = build_as_job(store_data(tmp_path / "store", source, volume={"spacing_mm": 4.0}), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert [(served.looks(number), served.reads(number)) for number in (1, 2, 3)] == 3 * [(2, [])]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
