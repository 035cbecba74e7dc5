"""Volumes that kill workers, hang, or exceed every worker's memory are rejected; all others are built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster

from etl.core.config import Config
from etl.pipeline.build import Build, build, load_plan
from etl.run.connection import wait_until_idle
from etl.run.dask import DaskExecutor
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.clusters import local_cluster
from tests.support.processes import LIMIT_SECONDS
from tests.support.spoilt_builds import (
    BAD,
    SERIES,
    SLICES,
    VOLUMES,
    Deadly,
    Hanging,
    HangingOnce,
    build_spoilt,
    config_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster(2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=LIMIT_SECONDS)
        yield client


def assert_all_but_one(done: Build, config: Config, reason: str) -> str:
    """Check the counts; return the message of the volume's reject."""
    counts = done.published.counts
    # A volume whose worker died right after writing it is reused.
    assert (done.converted + done.reused, counts.volumes) == (VOLUMES - 1, VOLUMES - 1)
    assert (counts.slices_rejected, counts.rows_rejected) == (SLICES, 1)
    assert counts.rejects_by_reason == {reason: SLICES + 1, "key_slice_rejected": 1}
    rejects = open_store(config.store).rejects()
    (volume,) = rejects[rejects["kind"] == "volume"].to_dict("records")
    assert (volume["reason"], volume["series_id"]) == (reason, SERIES[BAD - 1])
    return str(volume["message"])


@pytest.mark.parametrize("deaths", [2, pytest.param(3, marks=pytest.mark.campaign)])
def test_a_volume_that_kills_its_workers_is_rejected(deaths: int, client: Client, tmp_path: Path) -> None:
    config = config_of(tmp_path, worker_deaths=deaths)
    executor = DaskExecutor(client, config.limits)
    done, tried = build_spoilt(Deadly, config, executor, tmp_path)
    message = assert_all_but_one(done, config, "volume_kills_worker")
    assert message.startswith(
        f"its worker died {deaths} times, the last time with no other task on the cluster"
    )
    # Until a cancellation arrives, the scheduler restarts the task up to its own limit.
    assert deaths <= len(tried) <= max(deaths, dask.config.get("distributed.scheduler.allowed-failures") + 2)
    assert executor.stats.worker_deaths >= deaths

    again = build(config, load_plan(config), SerialExecutor())
    assert (again.converted, again.reused, again.published.counts.volumes) == (1, VOLUMES - 1, VOLUMES)


class Answering:
    """A client whose workers give these answers, the last of them for ever."""

    def __init__(self, *rounds: dict[str, object]) -> None:
        self.rounds, self.asked = rounds, 0

    def run(self, *arguments: object, on_error: str) -> dict[str, object]:
        self.asked += 1
        return self.rounds[min(self.asked, len(self.rounds)) - 1]


IDLE, AT_WORK = {"tcp://a": False, "tcp://b": False}, {"tcp://a": False, "tcp://b": True}
DYING: dict[str, object] = {"tcp://a": False, "tcp://b": OSError("in <TCP>: Stream is closed")}


@pytest.mark.parametrize(
    ("rounds", "asked"),
    [
        ([IDLE], 2),
        ([{}], 2),
        ([AT_WORK, IDLE], 3),
        ([DYING, {"tcp://a": False}], 3),
        ([IDLE, AT_WORK, IDLE], 4),
        ([IDLE, DYING, AT_WORK, IDLE], 5),
        ([{"tcp://a": False, "tcp://another version": ImportError("etl")}], 2),
    ],
)
def test_a_worker_that_is_dying_is_not_idle(rounds: list[dict[str, object]], asked: int) -> None:
    client: Any = Answering(*rounds)
    wait_until_idle(client, "run", limit_s=60, pause_s=0)
    assert client.asked == asked


def test_a_worker_that_is_never_idle_is_not_waited_for_after_the_limit() -> None:
    client: Any = Answering(AT_WORK)
    wait_until_idle(client, "run", limit_s=0.01, pause_s=0)
    assert client.asked >= 1


@pytest.mark.campaign
def test_a_volume_that_hangs_is_tried_twice(client: Client, tmp_path: Path) -> None:
    config = config_of(tmp_path, volume_timeout_s=12)
    executor = DaskExecutor(client, config.limits)
    done, tried = build_spoilt(Hanging, config, executor, tmp_path)
    message = assert_all_but_one(done, config, "volume_timed_out")
    assert message == "it did not end within limits.volume_timeout_s = 12, twice"
    assert (len(tried), executor.stats.timeouts) == (2, 2)


@pytest.mark.campaign
def test_a_volume_that_hangs_once_is_built(client: Client, tmp_path: Path) -> None:
    config = config_of(tmp_path, volume_timeout_s=12)
    done, tried = build_spoilt(HangingOnce, config, DaskExecutor(client, config.limits), tmp_path)
    counts = done.published.counts
    assert (counts.volumes, counts.rejects_by_reason, len(tried)) == (VOLUMES, {}, 2)


def test_a_volume_that_no_worker_can_hold_is_rejected_before_any_work(client: Client, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    plan = load_plan(config)
    executor = DaskExecutor(client, config.limits)
    assert executor.largest_task_bytes is not None
    sizes = sorted(volume.peak_bytes for volume in plan.volumes)
    executor.largest_task_bytes = sizes[-1] - 1
    done = build(config, plan, executor)
    too_large = [size for size in sizes if size == sizes[-1]]
    assert done.published.counts.volumes == VOLUMES - len(too_large) < VOLUMES
    rejects = open_store(config.store).rejects()
    messages = rejects["message"][rejects["kind"] == "volume"].tolist()
    assert messages == [
        f"it needs {sizes[-1]:,} bytes; the largest worker has {sizes[-1] - 1:,} for a task"
    ] * len(too_large)
