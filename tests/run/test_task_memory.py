"""Memory for one task, known before there are workers: for each kind of cluster, in a plan, in a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from etl.core.config import Config
from etl.pipeline.build import build, load_plan
from etl.run import cluster_kinds as kinds
from etl.run.cluster_config import KINDS
from etl.run.clusters import (
    chosen_cluster,
    environment_of,
    executor_of,
    expected_memory,
    most_workers,
    start_cluster,
)
from etl.run.task_memory import WORKER_BYTES, TaskMemory, task_bytes
from etl.store.reader import open_store
from jobs.build_store import main
from tests.support.processes import LIMIT_SECONDS, dask_scheduler
from tests.support.spoilt_builds import SERIES, VOLUMES, config_of

SLURM = {"kind": "slurm", "workers": 4, "cores": 2, "memory": "4 GB"}
KUBERNETES = {"kind": "kubernetes", "workers": 1, "image": "i", "memory": "2 GB"}
LOCAL = {"kind": "local", "workers": {"minimum": 0, "maximum": 1}, "memory_per_worker": "500 MB"}
CLASS = {"kind": "class", "workers": 1, "path": "distributed.LocalCluster"}
ONE_GB, TWO_GB = 900_000_000 - WORKER_BYTES, 1_800_000_000 - WORKER_BYTES


def cluster_of(data: dict[str, Any]) -> kinds.Cluster:
    return KINDS[data["kind"]].model_validate(data)


@pytest.mark.parametrize(
    ("data", "most_bytes", "note"),
    [
        ({"kind": "serial"}, None, "no limit: tasks run in the job's own process"),
        (LOCAL | {"memory_per_worker": "1 GB"}, ONE_GB, "on a worker of `kind: local`"),
        (
            LOCAL | {"memory_per_worker": "0"},
            None,
            "unknown: the config of `kind: local` sets no worker's memory",
        ),
        (SLURM, TWO_GB, "on a worker of `kind: slurm`"),
        (SLURM | {"options": {"processes": 4}}, ONE_GB, "on a worker of `kind: slurm`"),
        (SLURM | {"options": {"memory": "2 GB"}}, ONE_GB, "on a worker of `kind: slurm`"),
        (KUBERNETES, TWO_GB, "on a worker of `kind: kubernetes`"),
        (
            KUBERNETES | {"options": {"custom_cluster_spec": "cluster.yaml"}},
            None,
            "unknown: the config of `kind: kubernetes` sets no worker's memory",
        ),
        (CLASS, None, "unknown: the config of `kind: class` sets no worker's memory"),
    ],
)
def test_the_config_of_each_kind_tells_it(data: dict[str, Any], most_bytes: int | None, note: str) -> None:
    assert expected_memory(cluster_of(data)) == TaskMemory(most_bytes, note)


@pytest.mark.parametrize("workers", [1, 2 * CPU_COUNT, {"minimum": 0, "maximum": 3 * CPU_COUNT}])
def test_workers_of_this_machine_share_its_memory(workers: Any) -> None:
    cluster = cluster_of({"kind": "local", "workers": workers})
    count = most_workers(cluster)
    assert count == (workers["maximum"] if isinstance(workers, dict) else workers)
    share = MEMORY_LIMIT // count
    assert expected_memory(cluster).most_bytes == pytest.approx(task_bytes(share), abs=1)


def test_a_scheduler_that_does_not_answer_fails_nothing() -> None:
    address = "tcp://127.0.0.1:1"
    nobody = {"kind": "scheduler", "address": address}
    assert expected_memory(cluster_of(nobody), connect_s=1) == TaskMemory(
        None, f"unknown: no scheduler answers at {address}"
    )
    told = f"from the cluster's config: no scheduler answers at {address}"
    assert expected_memory(cluster_of(nobody | {"task_bytes": 7}), connect_s=1) == TaskMemory(7, told)


def test_a_script_that_is_submitted_knows_what_the_cluster_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (SLURM, CLASS):
        cluster = cluster_of(data)
        assert not isinstance(cluster, kinds.Serial)
        for name, value in environment_of("tcp://127.0.0.1:1", cluster).items():
            monkeypatch.setenv(name, value)
        there = chosen_cluster("local")
        assert isinstance(there, kinds.ExistingScheduler)
        assert there.task_bytes == cluster.task_bytes
        assert there.wait_for_worker_s == cluster.wait_for_worker_s


@pytest.mark.campaign
def test_a_scheduler_that_stands_is_asked(tmp_path: Path) -> None:
    with dask_scheduler(tmp_path, worker_options=["--memory-limit", "1 GB"]) as (address, _):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=LIMIT_SECONDS)
        known = expected_memory(kinds.ExistingScheduler(kind="scheduler", address=address, task_bytes=7))
    assert known == TaskMemory(ONE_GB, f"on the largest worker of 1 at {address}", 1)
    threads: dict[str, Any] = {"processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=0, **threads) as cluster:
        known = expected_memory(kinds.ExistingScheduler(kind="scheduler", address=cluster.scheduler_address))
        assert known == TaskMemory(None, f"unknown: {cluster.scheduler_address} has no worker now")
    with LocalCluster(n_workers=1, memory_limit=0, **threads) as cluster:
        known = expected_memory(kinds.ExistingScheduler(kind="scheduler", address=cluster.scheduler_address))
        assert known == TaskMemory(None, f"no limit on a worker of 1 at {cluster.scheduler_address}", 1)


@pytest.fixture
def large(tmp_path: Path) -> Config:
    """Its third volume, of 600 slices, needs more than `LOCAL` has, the others next to nothing."""
    config = config_of(tmp_path, slices={SERIES[2]: 600})
    return config.model_copy(update={"volume": config.volume.model_copy(update={"spacing_mm": 0.05})})


def needed_bytes(config: Config) -> list[int]:
    return [volume.peak_bytes for volume in load_plan(config).volumes]


def write(folder: Path, config: Config, cluster: dict[str, Any]) -> str:
    (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    data = config.resolved() | {"cluster": str(folder / "cluster.yaml")}
    (folder / "config.yaml").write_text(yaml.safe_dump(data))
    return str(folder / "config.yaml")


def test_a_plan_names_the_volumes_that_no_worker_can_hold(large: Config, tmp_path: Path) -> None:
    needed = needed_bytes(large)
    told = CliRunner().invoke(main, [write(tmp_path, large, LOCAL), "--plan"]).stdout.splitlines()
    most_bytes = 450_000_000 - WORKER_BYTES
    assert sorted(needed)[-2] < most_bytes < needed[2]
    assert [line.split()[1] for line in told[:VOLUMES]] == ["convert"] * 2 + ["reject"] + ["convert"] * 5
    assert "volumes             8: 7 to convert, 0 to reuse, 1 to reject" in told
    assert told[-5:] == [
        "memory for a task   187.9 MB on a worker of `kind: local`",
        "rejects known so far:",
        "      601  volume_too_large",
        "too large for any worker:",
        f"  000003_01_01_001-600: it needs {needed[2]:,} bytes; "
        f"the largest worker has {most_bytes:,} for a task",
    ]


def test_a_plan_names_some_of_many(large: Config, tmp_path: Path) -> None:
    needed = needed_bytes(large)
    nobody = {"kind": "scheduler", "address": "tcp://127.0.0.1:1", "task_bytes": 1}
    told = CliRunner().invoke(main, [write(tmp_path, large, nobody), "--plan"]).stdout.splitlines()
    assert "volumes            8: 0 to convert, 0 to reuse, 8 to reject" in told
    assert [line for line in told if line.startswith("peak memory")] == []
    assert told[-10:] == [
        "memory for a task  1 B from the cluster's config: no scheduler answers at tcp://127.0.0.1:1",
        "rejects known so far:",
        "      636  volume_too_large",
        "too large for any worker:",
        *(
            f"  00000{number}_01_01_001-{600 if number == 3 else 4:03d}: it needs {size:,} bytes; "
            "the largest worker has 1 for a task"
            for number, size in zip(range(1, 6), needed, strict=False)
        ),
        "  and 3 more",
    ]


def test_a_plan_counts_the_workers_of_a_running_scheduler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = {"resources": {}, "memory_limit": 4_000_000_000}
    monkeypatch.setattr("etl.run.clusters.workers_at", lambda *_: [worker] * 77)
    there = {"kind": "scheduler", "address": "tcp://127.0.0.1:1"}
    told = CliRunner().invoke(main, [write(tmp_path, config_of(tmp_path), there), "--plan"]).stdout
    assert " with 77 workers\n" in told


@pytest.mark.campaign
def test_an_adaptive_cluster_without_workers_refuses_what_none_will_hold(large: Config) -> None:
    cluster = kinds.Local.model_validate(LOCAL)
    with start_cluster(cluster) as place, Client(place, set_as_default=False) as client:
        assert not client.nthreads()
        done = build(large, load_plan(large), executor_of(client, cluster, large.limits))
    counts = done.published.counts
    assert (done.converted, counts.volumes) == (VOLUMES - 1, VOLUMES - 1)
    rejects = open_store(large.store).rejects()
    assert rejects["message"][rejects["kind"] == "volume"].tolist() == [
        f"it needs {needed_bytes(large)[2]:,} bytes; "
        f"the largest worker has {450_000_000 - WORKER_BYTES:,} for a task"
    ]
