"""Memory as a Dask resource: tasks request what workers declare, and no byte is granted twice."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
import sys
from pathlib import Path

import pytest
from distributed import Client, get_worker

from etl.pipeline.build import load_plan
from etl.run import cluster_kinds as kinds
from etl.run.clusters import start_cluster
from etl.run.connection import open_client
from etl.run.dask import DaskExecutor
from etl.run.protocol import Items, Task
from etl.run.signals import kept_handlers
from etl.run.task_memory import MEMORY, task_bytes
from etl.store.reader import open_store
from tests.support.processes import dask_scheduler, environment, running, wait_until
from tests.support.spoilt_builds import SERIES, VOLUMES, Lingering, build_spoilt, config_of

pytestmark = pytest.mark.slow


@pytest.mark.campaign
def test_volumes_that_do_not_fit_together_are_never_at_work_together(tmp_path: Path) -> None:
    config = config_of(tmp_path, slices={SERIES[2]: 30, SERIES[5]: 30, SERIES[7]: 60})
    needed = {v.series.patient: v.peak_bytes for v in load_plan(config).volumes}
    small, large, too_large = needed[1], needed[3], needed[8]
    declared = large + small // 2
    assert 2 * small <= declared < too_large
    options = {
        "n_workers": 1,
        "threads_per_worker": 2,
        "resources": {MEMORY: declared},
        "dashboard_address": "127.0.0.1:0",
    }
    cluster = kinds.OtherClass.model_validate(
        {"kind": "class", "workers": 1, "path": "distributed.LocalCluster", "options": options}
    )
    with start_cluster(cluster) as place, open_client(place) as client:
        executor = DaskExecutor(client, config.limits)
        done, notes = build_spoilt(Lingering, config, executor, tmp_path)

    spans = [tuple(map(int, note.split())) for note in notes]
    assert sorted(patient for patient, _, _ in spans) == list(range(1, VOLUMES))
    together = [
        needed[one[0]] + needed[other[0]]
        for one, other in itertools.combinations(spans, 2)
        if max(one[1], other[1]) < min(one[2], other[2])
    ]
    # The worker has two threads, and uses both where it can.
    assert together
    assert max(together) <= declared

    assert done.published.counts.volumes == VOLUMES - 1
    rejects = open_store(config.store).rejects()
    (message,) = rejects["message"][rejects["kind"] == "volume"]
    assert message == f"it needs {too_large:,} bytes; the largest worker has {declared:,} for a task"


class Asking(Items):
    """Items that each request this much memory."""

    memory_bytes = 2**20

    def take(self, has_core: bool = True) -> Task | None:
        task = super().take(has_core)
        return task and dataclasses.replace(task, memory_bytes=self.memory_bytes)


def left_bytes(item: int) -> float:
    return get_worker().state.available_resources[MEMORY]


@pytest.mark.campaign
def test_memory_is_requested_also_if_the_cluster_has_no_worker_at_the_start() -> None:
    """The cluster is adaptive and has retired its first worker by then."""
    adaptive = kinds.Local(kind="local", workers=kinds.Size(minimum=0, maximum=1), memory_per_worker="1 GiB")
    with start_cluster(adaptive) as place, open_client(place) as client:
        wait_until(lambda: not client.nthreads(), "there was nothing to do")
        executor = DaskExecutor(client)
        assert executor.largest_task_bytes == task_bytes(2**30)
        left = list(executor.execute(Asking(left_bytes, range(3))))
    assert left == [task_bytes(2**30) - Asking.memory_bytes] * 3


def slurm_command(address: str) -> list[str]:
    """Return the command that a Slurm node runs for one job."""
    with kept_handlers():  # its import sets one for Ctrl-C
        jobqueue = pytest.importorskip("dask_jobqueue.slurm")
    config = kinds.Slurm(
        kind="slurm", workers=kinds.Size(minimum=1, maximum=1), cores=1, memory="2 GiB", interface="lo"
    )
    # Without what the scheduler is started with.
    arguments = {key: value for key, value in config.arguments().items() if key != "scheduler_options"}
    script = jobqueue.SLURMJob(address, name="slurm", **arguments).job_script()
    return shlex.split(script.rstrip().splitlines()[-1])


def kubernetes_command() -> list[str]:
    """Return the command of a worker's container."""
    config = kinds.Kubernetes(
        kind="kubernetes", workers=kinds.Size(minimum=1, maximum=1), image="image", memory="2Gi"
    )
    spec = config.arguments()["custom_cluster_spec"]["spec"]["worker"]["spec"]
    (container,) = spec["containers"]
    # As Kubernetes fills it in.
    words = [word.replace("$(DASK_WORKER_NAME)", "kubernetes") for word in container["args"]]
    return [sys.executable, "-m", *words, "--host", "127.0.0.1"]


@pytest.mark.campaign
def test_workers_of_slurm_and_kubernetes_declare_their_memory(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        address, _ = stack.enter_context(dask_scheduler(tmp_path))
        client = stack.enter_context(Client(address, set_as_default=False))
        env = environment(DASK_SCHEDULER_ADDRESS=address, DASK_TEMPORARY_DIRECTORY=str(tmp_path))
        for name, command in {"slurm": slurm_command(address), "kubernetes": kubernetes_command()}.items():
            stack.enter_context(running(command, tmp_path / name, env=env))
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 3, f"they were there; see {tmp_path}")
        workers = client.scheduler_info()["workers"].values()
        found = {str(worker["name"]): worker["resources"] for worker in workers}
    declared = {MEMORY: task_bytes(2 * 2**30)}
    assert {name: found[name] for name in ("slurm", "kubernetes")} == {
        "slurm": declared,
        "kubernetes": declared,
    }
