"""A run without workers logs it, continues with new ones, and ends after the time limit."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from distributed import Client

from etl.core.config import Limits
from etl.core.errors import RunError
from etl.run.connection import open_client
from etl.run.dask import DaskExecutor
from etl.run.dask_run import Tuning
from tests.support.processes import dask_scheduler, running, wait_until

pytestmark = pytest.mark.slow

WARNING = "no workers: waiting "
AT_ONCE = Tuning(first_warning_s=0.0)


@pytest.fixture
def client(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Client]:
    """Yield a client of a scheduler with one worker."""
    caplog.set_level(logging.INFO, "etl")
    with dask_scheduler(tmp_path) as (address, _), open_client(address) as client:
        yield client


def kill_all(client: Client) -> None:
    for pid in client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not client.nthreads(), "the scheduler had removed them")


def doze(item: int) -> int:
    time.sleep(0.05)
    return item


def test_the_end_of_a_run_that_is_left_alone(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    executor = DaskExecutor(client, Limits(wait_for_workers_s=2), AT_ONCE)
    results = executor.run(doze, range(1000))
    next(results)
    kill_all(client)
    with pytest.raises(RunError, match="no workers any more") as caught:
        list(results)
    assert (caught.value.exit_code, caught.value.allowed) == (4, "limits.wait_for_workers_s = 2")
    assert "finished volumes are kept; start workers" in caught.value.remedy
    assert WARNING in caplog.text
    assert executor.stats.worker_deaths == 1

    with pytest.raises(RunError, match="no workers any more"):
        executor.everywhere(os.getpid)


@pytest.mark.campaign
def test_a_run_goes_on_with_a_worker_that_comes(
    client: Client, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    results, ended = DaskExecutor(client, tuning=AT_ONCE).run(doze, range(40)), threading.Event()
    came = [next(results)]
    kill_all(client)
    address = client.scheduler_info(n_workers=0)["address"]
    command = [sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1", "--no-dashboard"]

    def start_worker() -> None:
        # One that starts within a poll would leave nothing to warn of.
        wait_until(lambda: WARNING in caplog.text, "the run had said that it waits")
        with running([*command, "--nthreads", "1", "--no-nanny"], tmp_path / "later.log", cwd=tmp_path):
            ended.wait()

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(start_worker)
        try:
            came += results
        finally:
            ended.set()
        started.result()
    assert sorted(came) == list(range(40))
    assert WARNING in caplog.text
    assert "there are workers again" in caplog.text
