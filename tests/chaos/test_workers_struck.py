"""Workers of a real Dask cluster that are killed at the boundaries of their writes, or whose driver is."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, WorkerPlugin

from etl.core.config_file import load_config
from etl.io.opening import open_objects
from etl.pipeline.build import build, load_plan
from etl.pipeline.derive import derive
from etl.run.certificates import environment_of_certificates
from etl.run.dask import DaskExecutor
from etl.store import open_store
from etl.verify.verify import verify
from tests.chaos.arena import LONG, Arena
from tests.chaos.conftest import TallyOf
from tests.support.clusters import local_cluster
from tests.support.processes import BUILD_STORE, LIMIT_SECONDS, environment, running, wait_until
from tests.support.toy_derivations import plane_means

pytestmark = pytest.mark.campaign

WORKERS = 2


class Striker(WorkerPlugin):  # type: ignore[misc]
    """In a worker: when its writes come to a boundary, it strikes once: itself, all workers or the driver."""

    name = "striker"

    def __init__(self, folder: str, store: str) -> None:
        self.folder, self.store = Path(folder), store

    def setup(self, worker: Any) -> None:
        from tests.chaos.boundaries import watch_boundaries

        (self.folder / f"{os.getpid()}.pid").touch()
        watch_boundaries(self.store, self._on_boundary)

    def _on_boundary(self, name: str) -> None:
        try:
            plan = json.loads((self.folder / "plan.json").read_text())
        except FileNotFoundError:
            return
        with open(self.folder / plan["name"], "a+") as log:
            log.write(f"{name}\n")
            log.flush()
            log.seek(0)
            if len(log.readlines()) - 1 != plan["strike_at"]:
                return
        if plan.get("driver"):
            os.kill(plan["driver"], signal.SIGKILL)
            return
        if plan["all"]:
            # Those of them that still live: workers are all children of the same process.
            pids = {int(file.stem) for file in self.folder.glob("*.pid")} - {os.getpid()}
            for other in psutil.Process(os.getppid()).children():
                if other.pid in pids:
                    other.kill()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Cluster:
    """A cluster whose workers strike as a plan says."""

    client: Client
    environment: Mapping[str, str]
    folder: Path
    count: int = 0

    def build(self, place: Arena, store: str, **plan: Any) -> list[str]:
        """Build on the cluster; gives the boundaries that the workers came to."""
        name = self.announce(plan)
        config = load_config(place.config, overrides=[f"store={store}"], environment={})
        build(config, load_plan(config), DaskExecutor(self.client))
        (self.folder / "plan.json").unlink()
        return (self.folder / name).read_text().splitlines()

    def derive(self, store: str, **plan: Any) -> list[str]:
        """Compute a derived table on the cluster, a file for each volume."""
        name = self.announce({"all": False} | plan)
        derive(open_store(store), plane_means(), DaskExecutor(self.client), volumes_a_part=1)
        (self.folder / "plan.json").unlink()
        return (self.folder / name).read_text().splitlines()

    def lose_driver(self, place: Arena, store: str, strike_at: int) -> int:
        """Build as a process of its own, which is killed when workers come to a boundary; its exit code."""
        command = [*BUILD_STORE, str(place.config), "--set", f"store={store}", "--set", "cluster=local"]
        env = environment(**self.environment)
        with running(command, place.folder / "log", env=env) as driver:
            self.announce({"strike_at": strike_at, "driver": driver.pid})
            try:
                return driver.wait(LIMIT_SECONDS)
            finally:
                (self.folder / "plan.json").unlink()

    def announce(self, plan: dict[str, Any]) -> str:
        """Write the plan of strikes for the workers; return the name of their log."""
        # Each comes to boundaries of its own before any volume: one that isn't back yet would leave fewer.
        wait_until(lambda: len(self.client.nthreads()) == WORKERS, "the workers struck before were replaced")
        self.count += 1
        name = f"run-{self.count}.log"
        (self.folder / "plan").write_text(json.dumps({"name": name, "strike_at": -1} | plan))
        (self.folder / "plan").rename(self.folder / "plan.json")
        return name

    def is_at_work(self) -> bool:
        return any(self.client.run(tasks_under_way).values())


def tasks_under_way(dask_worker: Any) -> int:
    return len(dask_worker.state.executing)


@pytest.fixture(scope="module")
def cluster(place: Arena, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("strikes")
    with (
        pytest.MonkeyPatch.context() as patch,
        local_cluster(WORKERS) as started,
        Client(started, set_as_default=False) as client,
    ):
        patch.chdir(folder)
        client.register_plugin(Striker(str(folder), place.place))
        certificates = environment_of_certificates(started.security)
        found = {"DASK_SCHEDULER_ADDRESS": started.scheduler_address, **certificates}
        yield Cluster(client, found, folder)


@pytest.fixture(scope="module")
def boundaries(place: Arena, cluster: Cluster) -> list[str]:
    """Those of a build that nobody strikes."""
    return cluster.build(place, place.fresh(), all=False)


def test_workers_that_derive_are_struck_at_boundaries(place: Arena, cluster: Cluster, tally: TallyOf) -> None:
    fault = "SIGKILL of a worker that derives, at a write"
    whole = place.fresh(place.second)
    boundaries = cluster.derive(whole)
    expected = open_store(whole).table("planes")
    moments = range(len(boundaries)) if LONG else random.Random(fault).sample(range(len(boundaries)), 1)
    with tally(fault, place.kind) as count:
        for moment in moments:
            with count.attempt(boundaries[moment]):
                store = place.fresh(place.second)
                assert len(cluster.derive(store, strike_at=moment)) > moment
                assert open_store(store).table("planes").equals(expected)
                assert verify(open_objects(store), 3).problems == ()
                place.assert_watched(store)


@pytest.mark.parametrize("kills_all", [False, True], ids=["one", "all"])
def test_workers_struck_at_boundaries(
    place: Arena, cluster: Cluster, boundaries: list[str], kills_all: bool, tally: TallyOf
) -> None:
    fault = f"SIGKILL of {'all workers' if kills_all else 'a worker'}, at a write"
    moments = range(len(boundaries)) if LONG else random.Random(fault).sample(range(len(boundaries)), 1)
    with tally(fault, place.kind) as count:
        for moment in moments:
            with count.attempt(boundaries[moment]):
                store = place.fresh()
                # The tasks are done again by who is left, or by the workers that take the place of these.
                came = cluster.build(place, store, all=kills_all, strike_at=moment)
                assert len(came) > moment
                place.assert_as_expected(store)
                place.assert_survived(store)


def test_the_driver_is_killed_and_the_workers_live_on(
    place: Arena, cluster: Cluster, boundaries: list[str], tally: TallyOf
) -> None:
    """The rerun and their running tasks write at the same time; when they have ended nothing changed."""
    fault = "SIGKILL of the driver, at a write of workers that live on"
    moments = range(len(boundaries)) if LONG else random.Random(fault).sample(range(len(boundaries)), 1)
    with tally(fault, place.kind) as count:
        for moment in moments:
            with count.attempt(boundaries[moment]):
                store = place.fresh()
                assert cluster.lose_driver(place, store, moment) == -signal.SIGKILL, place.log()
                place.assert_survived(store)
                wait_until(lambda: not cluster.is_at_work(), "the workers were done")
                place.assert_as_expected(store)
