"""Workers that join and leave during a run: the window follows, and other versions are refused."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster, get_worker
from distributed.core import Status

from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.clusters import start_cluster
from etl.run.connection import open_client
from etl.run.dask import DaskExecutor
from etl.run.dask_run import Tuning
from tests.support.processes import LIMIT_SECONDS, dask_scheduler, running, wait_until
from tests.support.spoilt_builds import VOLUMES, Noting, Retiring, build_spoilt, config_of

pytestmark = pytest.mark.slow


def test_the_window_follows_the_workers() -> None:
    pulled = taken = 0

    def items() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    def is_as_wide_as(workers: int) -> bool:
        nonlocal taken
        next(results)
        taken += 1
        return pulled - taken == Tuning().window_per_thread * workers

    # Threads do for workers here: what counts is that they come and go.
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=1, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
        contextlib.closing(DaskExecutor(client).run(abs, items())) as results,
    ):
        for workers in (1, 3, 1, 2):
            cluster.scale(workers)
            wait_until(partial(is_as_wide_as, workers), f"the window was that of {workers} workers")


@pytest.mark.campaign
def test_an_adaptive_cluster_comes_from_nothing_and_replaces_who_retires(tmp_path: Path) -> None:
    adaptive = kinds.Local(kind="local", workers=kinds.Size(minimum=0, maximum=2))
    with start_cluster(adaptive) as cluster, open_client(cluster) as client:
        for night, (kind, attempts) in enumerate({Retiring: 2, Noting: 1}.items()):
            wait_until(lambda: not client.nthreads(), "there was nothing to do")
            folder = tmp_path / str(night)
            executor = DaskExecutor(client)
            done, tried = build_spoilt(kind, config_of(folder), executor, folder)
            counts = done.published.counts
            assert (counts.volumes, counts.rejects_by_reason) == (VOLUMES, {})
            # The first attempt was lost with its worker.
            assert len(tried) == attempts
            assert (executor.stats.worker_deaths, executor.stats.timeouts) == (0, 0)
        wait_until(lambda: not client.nthreads(), "there was nothing to do any more")


@pytest.mark.campaign
def test_a_local_worker_that_ends_is_replaced_however_long_that_takes() -> None:
    """Even if that takes longer than Dask waits before it closes a nanny."""
    one = kinds.Local(kind="local", workers=kinds.Size(minimum=1, maximum=1))

    def others(client: Client, than: int) -> set[int]:
        answers = client.run(os.getpid, on_error="ignore")
        return {pid for pid in answers.values() if isinstance(pid, int)} - {than}

    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 ms"}),
        start_cluster(one) as cluster,
        open_client(cluster) as client,
    ):
        # The setting applies to all clusters of the process, so this one must not change it.
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "10 ms"
        (first,) = others(client, 0)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: bool(others(client, first)), "another was there")


def leave_once(note: Path) -> bool:
    """Retire this worker and return False the first time; return True the second time."""
    if note.exists():
        return True
    note.touch()
    worker = get_worker()
    worker.loop.add_callback(worker.close_gracefully)
    wait_until(lambda: worker.status == Status.closing, "the scheduler had let the worker go")
    return False


@pytest.mark.campaign
def test_an_adaptive_cluster_of_one_replaces_it(tmp_path: Path) -> None:
    """Dask keeps a worker that retires by itself in its plan."""
    adaptive = kinds.Local(kind="local", workers=kinds.Size(minimum=0, maximum=1))
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 ms"}),
        start_cluster(adaptive) as cluster,
        open_client(cluster) as client,
    ):
        assert client.submit(leave_once, tmp_path / "note").result(timeout=LIMIT_SECONDS)


@pytest.mark.campaign
def test_a_worker_of_another_version_that_comes_late_is_refused(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    # Found first, as it lies in the folder where the worker runs.
    metadata = stranger / "zarr-1.2.3.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zarr\nVersion: 1.2.3\n")
    with dask_scheduler(tmp_path) as (address, _), open_client(address) as client:
        options = ["--host", "127.0.0.1", "--no-dashboard", "--nthreads", "1", "--no-nanny"]
        late = [sys.executable, "-m", "dask", "worker", address, *options]
        results = DaskExecutor(client).run(partial(pow, 2), iter(int, 1))
        next(results)
        with running(late, tmp_path / "late.log", cwd=stranger), pytest.raises(ConfigError) as caught:
            for _ in results:
                pass
    assert caught.value.exit_code == 2
    assert caught.value.what == "a worker that joined has other versions; finished volumes are kept"
    assert str(caught.value.value).startswith("zarr 1.2.3, ")
