"""The cluster that a job runs on: started from its config, or a scheduler that exists already."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Nanny
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.security import Security

from etl.core.config import Limits
from etl.core.counted import counted
from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.certificates import environment_of_certificates, scratch_arguments, security_arguments
from etl.run.cluster_config import load_cluster, scheduler_at
from etl.run.connection import (
    CONNECT_SECONDS,
    OWN_MODULE,
    address_of,
    open_client,
    scheduler_calls,
    security_of,
    workers_at,
)
from etl.run.serial import SerialExecutor
from etl.run.signals import AtOnce, deferred_interrupt, kept_handlers
from etl.run.task_memory import TaskMemory, largest_task_bytes

if TYPE_CHECKING:
    from etl.run.protocol import Executor

logger = logging.getLogger(__name__)

# Set by `dask submit` for its script, together with DASK_SCHEDULER_ADDRESS.
WAIT_VARIABLE = "DASK_SUBMIT_WAIT_FOR_WORKER_S"
TASK_BYTES_VARIABLE = "DASK_SUBMIT_TASK_BYTES"


def chosen_cluster(name: str) -> kinds.Cluster:
    """Return the scheduler that the environment names, as `dask submit` sets it, else the config's cluster.

    Raises:
        ConfigError: there is no such name or file, or the file is wrong.
    """
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
    if address and name != "serial":
        wait_s, task_bytes = float(os.environ.get(WAIT_VARIABLE, 60)), os.environ.get(TASK_BYTES_VARIABLE)
        return scheduler_at(
            address,
            "DASK_SCHEDULER_ADDRESS",
            wait_for_worker_s=wait_s,
            task_bytes=int(task_bytes) if task_bytes else None,
        )
    return load_cluster(name)


@contextlib.contextmanager
def connect(
    cluster: kinds.Cluster, limits: Limits | None = None, module: str = OWN_MODULE
) -> Iterator[Executor]:
    """Open the executor of a cluster.

    Args:
        limits: when the executor gives up on a task, or aborts; defaults if None.
        module: module of this package that tasks need; every worker imports it first.

    Raises:
        ConfigError: the cluster can't be started or reached, or its workers can't work.
        RunError: its scheduler is lost meanwhile.
    """
    if isinstance(cluster, kinds.Serial):
        yield SerialExecutor()
        return
    with contextlib.ExitStack() as stack:
        if isinstance(cluster, kinds.ExistingScheduler):
            place: Cluster | str = cluster.address
            security = security_of(cluster.tls)
        else:
            place, security = stack.enter_context(start_cluster(cluster)), None
        client = stack.enter_context(open_client(place, security, cluster.wait_for_worker_s, module=module))
        with scheduler_calls(client):
            workers, address, dashboard = len(client.nthreads()), address_of(client), client.dashboard_link
        logger.info("%s at %s", counted(workers, "worker"), address)
        if importlib.util.find_spec("bokeh") is not None and dashboard:
            logger.info("dashboard: %s", dashboard)
        yield executor_of(client, cluster, limits or Limits())


def executor_of(client: Client, cluster: kinds.ExistingScheduler | kinds.Started, limits: Limits) -> Executor:
    """Return the executor of a connected cluster. Memory that workers don't report comes from the config."""
    from etl.run.dask import DaskExecutor

    executor = DaskExecutor(client, limits)
    if executor.largest_task_bytes is None:
        executor.largest_task_bytes = cluster.task_bytes
    return executor


def expected_memory(cluster: kinds.Cluster, connect_s: float = CONNECT_SECONDS) -> TaskMemory:
    """Return the memory for one task without starting a cluster. Only an existing scheduler is asked.

    Args:
        connect_s: time limit for that scheduler's answer.
    """
    if isinstance(cluster, kinds.Serial):
        return TaskMemory(None, "no limit: tasks run in the job's own process")
    if not isinstance(cluster, kinds.ExistingScheduler):
        if cluster.task_bytes is None:
            return TaskMemory(None, f"unknown: the config of `kind: {cluster.kind}` sets no worker's memory")
        return TaskMemory(cluster.task_bytes, f"on a worker of `kind: {cluster.kind}`")
    try:
        workers = workers_at(cluster.address, security_of(cluster.tls), connect_s)
    except ConfigError as error:
        nobody = f"{error.what} at {cluster.address}"
    else:
        nobody = f"{cluster.address} has no worker now"
        if workers:
            most_bytes, found = largest_task_bytes(workers), f"of {len(workers):,} at {cluster.address}"
            note = f"no limit on a worker {found}" if most_bytes is None else f"on the largest worker {found}"
            return TaskMemory(most_bytes, note, len(workers))
    if cluster.task_bytes is None:
        return TaskMemory(None, f"unknown: {nobody}")
    return TaskMemory(cluster.task_bytes, f"from the cluster's config: {nobody}")


def most_workers(cluster: kinds.Cluster) -> int:
    """Return the largest number of workers of a cluster; of a scheduler to be asked, this machine's cores."""
    if isinstance(cluster, kinds.Serial):
        return 1
    return CPU_COUNT if isinstance(cluster, kinds.ExistingScheduler) else cluster.workers.maximum


def environment_of(
    address: str, cluster: kinds.ExistingScheduler | kinds.Started, security: Security | None = None
) -> dict[str, str]:
    """Return the environment in which `distributed.Client()` of a script finds this scheduler.

    Args:
        security: certificates of a cluster that was started.
    """
    if isinstance(cluster, kinds.ExistingScheduler):
        security = security_of(cluster.tls)
    return {
        "DASK_SCHEDULER_ADDRESS": address,
        WAIT_VARIABLE: str(cluster.wait_for_worker_s),
        TASK_BYTES_VARIABLE: "" if cluster.task_bytes is None else str(cluster.task_bytes),
        **environment_of_certificates(security),
    }


class _FixedCluster(LocalCluster):
    """A cluster of a fixed size whose nannies replace lost workers, however long that takes.

    Dask closes a nanny for good if its next worker has not come 15 s after the last one's end, which a slow
    machine may exceed. The setting for this time would apply to all clusters of the process.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)


class _ReplacingAdaptive(Adaptive):
    """Adaptive scaling that also replaces workers which left by themselves.

    Dask compares the target with its plan, which still contains such workers, and would wait forever.
    """

    async def recommendations(self, target: int) -> dict[str, Any]:
        plan = self.plan
        if target == len(plan) and plan - self.requested:
            # Scaling up to the planned size starts the workers that are missing.
            return {"status": "up", "n": target}
        return await super().recommendations(target)


def _is_not_of_an_interrupt(record: logging.LogRecord) -> bool:
    """Return False for an error of Dask's own: Ctrl-C during a call that its event loop had not begun."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NameError) and "free variable 'future'" in str(error))


@contextlib.contextmanager
def start_cluster(config: kinds.Started) -> Iterator[Cluster]:
    """Start a cluster with the class, arguments and size of its config; stop it at the end.

    Raises:
        ConfigError: a package or command of this kind is missing, or the class raises an error.
    """
    cluster_class = _load_class(config)
    cluster: Cluster | None = None
    logging.getLogger("tornado.application").addFilter(_is_not_of_an_interrupt)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set({"distributed.worker.daemon": True}))
            if cluster_class is LocalCluster and not config.is_adapted:
                cluster_class = _FixedCluster
            own = security_arguments(config) | scratch_arguments(config) | config.arguments()
            with deferred_interrupt():
                try:
                    started = cluster = stack.enter_context(cluster_class(**own))
                    if isinstance(config, kinds.Slurm):
                        _check_batch_job(started.job_script())
                    if config.is_adapted:
                        # On Kubernetes the operator scales, and replaces workers itself.
                        how = {"Adaptive": _ReplacingAdaptive} if isinstance(cluster, SpecCluster) else {}
                        cluster.adapt(minimum=config.workers.minimum, maximum=config.workers.maximum, **how)
                    else:
                        cluster.scale(config.workers.maximum)
                except ConfigError:
                    raise
                # The config may name any class, which may raise anything.
                except Exception as error:
                    raise ConfigError(
                        "the cluster can't be started",
                        where=f"kind: {config.kind}, {config.class_path}",
                        value=f"{type(error).__name__}: {error}",
                        remedy="fix the cluster's file, or what it needs: packages, commands, credentials",
                    ) from error
            logger.info("started %s", config.class_path.rpartition(".")[2])
            try:
                yield cluster
            except AtOnce:
                _end_local_workers(cluster)
                raise
    except KeyboardInterrupt:
        # The interrupt may have come while the cluster was being closed.
        _end_local_workers(cluster)
        raise


def _end_local_workers(cluster: Cluster | None) -> None:
    """Kill the workers on this machine, the only thing that closing a cluster waits for."""
    if isinstance(cluster, LocalCluster):
        for nanny in cluster.workers.values():
            if isinstance(nanny, Nanny):
                nanny.close_gracefully()  # or it would start another worker
        for process in multiprocessing.active_children():
            process.kill()
        # Otherwise this process would close it again at its end, and wait.
        cluster.shutdown_on_close = False


def _check_batch_job(script: str) -> None:
    """Let Slurm validate the job script: Dask would resubmit a refused one forever."""
    done = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(
            "Slurm refuses the workers' jobs",
            where="kind: slurm",
            value=" ".join(done.stderr.split()),
            remedy="fix queue, account, memory, walltime or directives in the cluster's file",
        )


def _load_class(config: kinds.Started) -> type[Cluster]:
    module, _, name = config.class_path.rpartition(".")
    try:
        # Importing dask_jobqueue sets a handler by which Ctrl-C ends a job with exit code 0.
        with kept_handlers():
            found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        ours = f"pip install 'deeplesion-store[{config.extra}]'"
        raise ConfigError(
            f"{config.class_path} can't be imported",
            where=f"kind: {config.kind}",
            value=f"{type(error).__name__}: {error}",
            remedy=ours if config.extra else f"correct `path`, or install {module}",
        ) from error
    missing = [command for command in config.commands if shutil.which(command) is None]
    if missing:
        raise ConfigError(
            f"there is no command {' and no '.join(missing)}",
            where=f"kind: {config.kind}",
            remedy="run the job on a machine that has them, such as the login node",
        )
    return found
