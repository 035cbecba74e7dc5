"""The cluster that a job runs on: started as its config says, or the scheduler that is there already."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, LocalCluster, Nanny
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.security import Security

from etl.core.config import Limits
from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.cluster_config import load_cluster
from etl.run.connection import address_of, open_client
from etl.run.signals import AtOnce, deferred_interrupt, kept_handlers

if TYPE_CHECKING:
    from etl.run.protocol import Executor

logger = logging.getLogger(__name__)


# Between `dask submit` and its script, beside DASK_SCHEDULER_ADDRESS.
WAIT_VARIABLE = "DASK_SUBMIT_WAIT_FOR_WORKER_S"
TASK_BYTES_VARIABLE = "DASK_SUBMIT_TASK_BYTES"


def chosen_cluster(name: str) -> kinds.Cluster:
    """The cluster that a job's config names, unless the environment names a scheduler, as `dask submit` does.

    Raises:
        ConfigError: there is no such name or file, or the file is wrong.
    """
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
    if address and name != "serial":
        wait_s, task_bytes = float(os.environ.get(WAIT_VARIABLE, 60)), os.environ.get(TASK_BYTES_VARIABLE)
        return kinds.Standing(
            kind="scheduler",
            address=address,
            wait_for_worker_s=wait_s,
            task_bytes=int(task_bytes) if task_bytes else None,
        )
    return load_cluster(name)


@contextlib.contextmanager
def connect(cluster: kinds.Cluster, limits: Limits | None = None) -> Iterator[Executor]:
    """The executor of a cluster.

    Args:
        limits: when a task that takes workers down or does not end is given up; defaults where None.

    Raises:
        ConfigError: the cluster can't be started or reached, or its workers can't work.
    """
    # `dask` imports this module to list its commands; what converts volumes need not load for that.
    from etl.run.executors import SerialExecutor

    if isinstance(cluster, kinds.Serial):
        yield SerialExecutor()
        return
    with contextlib.ExitStack() as stack:
        if isinstance(cluster, kinds.Standing):
            place: Cluster | str = cluster.address
            security = security_of(cluster.tls)
        else:
            place, security = stack.enter_context(start_cluster(cluster)), None
        client = stack.enter_context(open_client(place, security, cluster.wait_for_worker_s))
        logger.info("%d workers at %s", len(client.nthreads()), address_of(client))
        yield executor_of(client, cluster, limits or Limits())


def executor_of(client: Client, cluster: kinds.Standing | kinds.Started, limits: Limits) -> Executor:
    """Tasks on a connected cluster. Its config says what workers hold where there is none, as if adaptive."""
    from etl.run.executors import DaskExecutor

    executor = DaskExecutor(client, limits)
    if executor.largest_task_bytes is None:
        executor.largest_task_bytes = cluster.task_bytes
    return executor


def security_of(tls: kinds.Tls | None) -> Security | None:
    """Certificates as Dask takes them; None leaves it to Dask's own config."""
    if tls is None:
        return None
    return Security(
        tls_ca_file=tls.ca_file, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
    )


def environment_of(address: str, cluster: kinds.Standing | kinds.Started) -> dict[str, str]:
    """What a script has in its environment to find this scheduler, where `distributed.Client()` looks."""
    found = {
        "DASK_SCHEDULER_ADDRESS": address,
        WAIT_VARIABLE: str(cluster.wait_for_worker_s),
        TASK_BYTES_VARIABLE: "" if cluster.task_bytes is None else str(cluster.task_bytes),
    }
    if isinstance(cluster, kinds.Standing) and (tls := cluster.tls):
        prefix = "DASK_DISTRIBUTED__COMM__"
        found |= {
            f"{prefix}TLS__CA_FILE": os.path.abspath(tls.ca_file),
            f"{prefix}TLS__CLIENT__CERT": os.path.abspath(tls.cert),
            f"{prefix}TLS__CLIENT__KEY": os.path.abspath(tls.key),
            f"{prefix}REQUIRE_ENCRYPTION": "true",
        }
    return found


class _Lasting(LocalCluster):
    """A cluster of a fixed size. A nanny starts the next worker by itself, however long that takes.

    Dask looks 15 s after a worker's end and closes its nanny for good if none is there at that moment: the
    machine is slow, or the next has ended too. Its setting for that is the whole process's, and so of others.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        Cluster._update_worker_status(self, op, msg)


class _Replacing(Adaptive):
    """Replaces workers that have gone without being asked to.

    Dask goes by how many it has planned, so with nothing but such workers a cluster would wait for ever.
    """

    async def recommendations(self, target: int) -> dict[str, Any]:
        plan = self.plan
        if target == len(plan) and plan - self.requested:
            # To the size that it has: what is missing of that is started.
            return {"status": "up", "n": target}
        return await super().recommendations(target)


@contextlib.contextmanager
def start_cluster(config: kinds.Started) -> Iterator[Cluster]:
    """A cluster of the class, arguments and size that its config says; stopped at the end.

    Raises:
        ConfigError: what the kind needs is not installed, or the class refuses.
    """
    cluster_class = _load_class(config)
    cluster: Cluster | None = None
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set({"distributed.worker.daemon": True}))
            if cluster_class is LocalCluster and not config.is_adapted:
                cluster_class = _Lasting
            with deferred_interrupt():
                try:
                    started = cluster = stack.enter_context(cluster_class(**config.arguments()))
                    if isinstance(config, kinds.Slurm):
                        _check_batch_job(started.job_script())
                    if config.is_adapted:
                        # Kubernetes adapts by its operator, which looks after the workers itself.
                        how = {"Adaptive": _Replacing} if isinstance(cluster, SpecCluster) else {}
                        cluster.adapt(minimum=config.workers.minimum, maximum=config.workers.maximum, **how)
                    else:
                        cluster.scale(config.workers.maximum)
                except ConfigError:
                    raise
                # Any class may be named here, and each refuses in its own way.
                except Exception as error:
                    raise ConfigError(
                        "the cluster can't be started",
                        where=f"kind: {config.kind}, {config.class_path}",
                        value=f"{type(error).__name__}: {error}",
                        remedy="mend its file in conf/cluster, or what it needs",
                    ) from error
            logger.info("started %s", config.class_path.rpartition(".")[2])
            try:
                yield cluster
            except AtOnce:
                _end_local_workers(cluster)
                raise
    except KeyboardInterrupt:
        # While it was closed in order, if it is not closed now.
        _end_local_workers(cluster)
        raise


def _end_local_workers(cluster: Cluster | None) -> None:
    """Kill the workers on this machine, whatever they do: that alone is what a cluster's end waits for."""
    if isinstance(cluster, LocalCluster):
        for nanny in cluster.workers.values():
            if isinstance(nanny, Nanny):
                nanny.close_gracefully()  # or it would start another
        for process in multiprocessing.active_children():
            process.kill()
        # Or this process would try again to close it when it ends, and wait.
        cluster.shutdown_on_close = False


def _check_batch_job(script: str) -> None:
    """Have Slurm look at the jobs' script: Dask itself would go on trying, and wait for workers in vain."""
    done = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(
            "Slurm refuses the workers' jobs",
            where="kind: slurm",
            value=" ".join(done.stderr.split()),
            remedy="mend queue, account, memory, walltime or directives in the cluster's file",
        )


def local_cluster(workers: int) -> contextlib.AbstractContextManager[Cluster]:
    """A cluster of this many processes on the loopback interface."""
    size = kinds.Size(minimum=workers, maximum=workers)
    return start_cluster(kinds.Local(kind="local", workers=size))


def _load_class(config: kinds.Started) -> type[Cluster]:
    module, _, name = config.class_path.rpartition(".")
    try:
        # To import dask_jobqueue sets a handler: Ctrl-C would then end a job as if it were done.
        with kept_handlers():
            found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        extra = f"pip install 'deeplesion-store[{config.extra}]'" if config.extra else f"install {module}"
        raise ConfigError(
            f"{config.class_path} can't be imported",
            where=f"kind: {config.kind}",
            value=f"{type(error).__name__}: {error}",
            remedy=extra,
        ) from error
    missing = [command for command in config.commands if shutil.which(command) is None]
    if missing:
        raise ConfigError(
            f"there is no command {' and no '.join(missing)}",
            where=f"kind: {config.kind}",
            remedy="run the job where they are, such as the login node",
        )
    return found
