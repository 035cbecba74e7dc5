"""A run that is cut anywhere: nothing half published, nothing done twice, nothing left running."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from etl.store.layout import receipt_path
from tests.support.processes import (
    BUILD_STORE,
    DASK_SUBMIT,
    LIMIT_SECONDS,
    ROOT,
    assert_gone,
    dask_scheduler,
    descendants,
    environment,
    interrupt,
    kill_tree,
    running,
    wait_until,
)
from tests.support.stored import (
    build_store,
    config_data,
    files_below,
    read_versions,
    table_bytes,
    version_names,
    without_run,
    write_config,
)

pytestmark = pytest.mark.slow
VOLUMES = 13


def receipts(store: Path) -> int:
    return len(list(store.glob("volumes/*/*.receipt.json")))


AT: dict[str, Callable[[Path], bool]] = {
    "first volume": lambda store: receipts(store) >= 1,
    "sixth volume": lambda store: receipts(store) >= 6,
    "tables": lambda store: any(store.glob("tables/*")),
}


def reached_or_ended(cut: str, store: Path, process: subprocess.Popen[bytes]) -> bool:
    return AT[cut](store) or process.poll() is not None


@pytest.fixture
def data(phantom: tuple[Path, PhantomTruth], tmp_path: Path) -> dict[str, Any]:
    return config_data(phantom[0], tmp_path / "store", volume={"spacing_mm": 1.5})


@pytest.fixture(scope="module")
def uninterrupted(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody cut. Read only."""
    root = tmp_path_factory.mktemp("uninterrupted")
    build_store(config_data(phantom[0], root, volume={"spacing_mm": 1.5}), SerialExecutor())
    return root


def assert_published_is_whole(store: Path) -> None:
    """Every version that a reader could see has all that it names, byte for byte."""
    for version in read_versions(store):
        for entry in (entry for files in version["tables"].values() for entry in files):
            content = (store / entry["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["path"]
        assert len(version["volumes"]) == VOLUMES
        for entry in version["volumes"]:
            receipt = (store / receipt_path(entry["path"])).read_bytes()
            assert hashlib.sha256(receipt).hexdigest() == entry["sha256"], entry["path"]


def assert_same_as(uninterrupted: Path, store: Path) -> None:
    assert files_below(store / "volumes") == files_below(uninterrupted / "volumes")
    (version,), (other,) = read_versions(store), read_versions(uninterrupted)
    assert table_bytes(store, version) == table_bytes(uninterrupted, other)
    assert without_run(version) == without_run(other)


@pytest.mark.parametrize(
    ("cluster", "cuts"),
    [
        ("serial", ["first volume", "sixth volume", "tables"]),
        pytest.param("local", ["sixth volume"], marks=pytest.mark.campaign),
    ],
)
def test_killed_run_is_continued_to_the_same_store(
    cluster: str, cuts: list[str], data: dict[str, Any], uninterrupted: Path, tmp_path: Path
) -> None:
    store = Path(data["store"])
    command = [*BUILD_STORE, write_config(tmp_path, data | {"cluster": cluster})]
    for cut in cuts:
        with running(command, tmp_path / "log") as process:
            wait_until(partial(reached_or_ended, cut, store, process), cut)
            assert AT[cut](store), (tmp_path / "log").read_text()
            others = descendants(process)
            kill_tree(process)
            assert_gone(others)
        assert_published_is_whole(store)
    whole = receipts(store)
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused) == (VOLUMES - whole, whole)
    assert_published_is_whole(store)
    assert_same_as(uninterrupted, store)


def terminate(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process that was started."""
    process.terminate()


def terminate_all(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to every process of the session, as a batch system sends it."""
    os.killpg(process.pid, signal.SIGTERM)


SUBMITTED = [*DASK_SUBMIT, "--workers", "2", str(ROOT / "jobs" / "build_store.py")]


@pytest.mark.parametrize(
    ("command", "stop", "code"),
    [
        pytest.param(BUILD_STORE, interrupt, 130, id="python, Ctrl-C"),
        pytest.param(BUILD_STORE, terminate, 143, id="python, SIGTERM", marks=pytest.mark.campaign),
        pytest.param(SUBMITTED, interrupt, 130, id="dask-submit, Ctrl-C", marks=pytest.mark.campaign),
        pytest.param(SUBMITTED, terminate, 143, id="dask-submit, SIGTERM", marks=pytest.mark.campaign),
        pytest.param(SUBMITTED, terminate_all, 143, id="dask-submit, SIGTERM to all"),
    ],
)
def test_a_signal_stops_in_order(
    command: list[str],
    stop: Callable[[subprocess.Popen[bytes]], None],
    code: int,
    data: dict[str, Any],
    uninterrupted: Path,
    tmp_path: Path,
) -> None:
    store, log = Path(data["store"]), tmp_path / "log"
    config = write_config(tmp_path, data | {"cluster": "local"})
    with running([*command, config], log) as process:
        wait_until(lambda: receipts(store) >= 1 or process.poll() is not None, "the first volume was there")
        others = descendants(process)
        stop(process)
        assert process.wait(LIMIT_SECONDS) == code, log.read_text()
        assert_gone(others)
    assert version_names(store) == []
    logged = log.read_text().splitlines()[-1]
    assert logged.startswith("stopped; finished volumes are kept. Continue with the same command: ")
    assert logged.endswith(f"build_store.py {config}")
    assert "Traceback" not in log.read_text()

    whole = receipts(store)
    assert 1 <= whole < VOLUMES
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused) == (VOLUMES - whole, whole)
    assert_same_as(uninterrupted, store)


@pytest.mark.campaign
def test_a_worker_that_is_terminated_leaves_its_tasks_to_others(
    data: dict[str, Any], uninterrupted: Path, tmp_path: Path
) -> None:
    store, log = Path(data["store"]), tmp_path / "worker-2.log"
    job = [*BUILD_STORE, write_config(tmp_path, data | {"cluster": "local"})]
    with dask_scheduler(tmp_path) as (address, _):
        worker = [sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1"]
        options = ["--no-dashboard", "--nthreads", "1", "--no-nanny"]
        with running([*worker, *options], log, cwd=tmp_path) as second:
            wait_until(lambda: "Registered to" in log.read_text(), "the second worker was there")
            env = environment(DASK_SCHEDULER_ADDRESS=address)
            with running(job, tmp_path / "log", env=env) as process:
                wait_until(lambda: receipts(store) >= 1 or process.poll() is not None, "a volume was there")
                second.terminate()
                assert second.wait(LIMIT_SECONDS) is not None
                assert process.wait(LIMIT_SECONDS) == 0, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert_same_as(uninterrupted, store)


@pytest.mark.campaign
def test_a_scheduler_that_is_killed_ends_the_run_and_another_goes_on(
    data: dict[str, Any], uninterrupted: Path, tmp_path: Path
) -> None:
    store, log = Path(data["store"]), tmp_path / "log"
    config = write_config(tmp_path, data | {"cluster": "local"})

    def submitted(address: str) -> list[str]:
        cluster = tmp_path / "cluster.yaml"
        cluster.write_text(yaml.safe_dump({"kind": "scheduler", "address": address}))
        return [*DASK_SUBMIT, "--cluster", str(cluster), str(ROOT / "jobs" / "build_store.py"), config]

    with dask_scheduler(tmp_path) as (address, scheduler), running(submitted(address), log) as process:
        wait_until(lambda: receipts(store) >= 1 or process.poll() is not None, "a volume was there")
        scheduler.kill()
        assert process.wait(LIMIT_SECONDS) == 4, log.read_text()
    logged = log.read_text()
    assert logged.count("error: the connection to the scheduler was lost") == 1
    assert "start the cluster again, run the same again" in logged.splitlines()[-1]
    assert "Traceback" not in logged
    assert version_names(store) == []
    whole = receipts(store)
    assert 1 <= whole < VOLUMES

    (tmp_path / "scheduler.json").unlink()
    with dask_scheduler(tmp_path) as (address, _), running(submitted(address), log) as process:
        assert process.wait(LIMIT_SECONDS) == 0, log.read_text()
    (version,) = read_versions(store)
    record = json.loads((store / "runs" / f"{version['run_id']}.json").read_bytes())
    assert record["volumes"] == {"planned": VOLUMES, "converted": VOLUMES - whole, "reused": whole}
    assert_same_as(uninterrupted, store)
