"""The cluster that a job runs on: the scheduler that the environment names, or an embedded local one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.core import rpc
from distributed.security import Security

from etl.errors import ConfigError
from etl.run.interrupts import deferred_interrupt

if TYPE_CHECKING:
    from etl.build import Executor

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
# A scheduler may well be up before the queue of a cluster has started its first worker.
WORKERS_SECONDS = 60


@contextlib.contextmanager
def local_cluster(workers: int | None = None) -> Iterator[LocalCluster]:
    """An embedded cluster on the loopback interface, one single-threaded process a core.

    Args:
        workers: number of worker processes; all cores where None.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.worker.daemon": True}))
        with deferred_interrupt():
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers or CPU_COUNT,
                    # Decoding and compression hold the interpreter in part: processes scale, threads don't.
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    # Some free port: a fixed one may be taken, and None means 8787 on every interface.
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    silence_logs=logging.ERROR,
                    preload=["etl.run.worker_preload"],
                )
            )
        yield cluster


@contextlib.contextmanager
def connect(kind: str) -> Iterator[Executor]:
    """The executor that a job's config asks for.

    Args:
        kind: `serial`; or `local`: the scheduler at DASK_SCHEDULER_ADDRESS (`dask submit` sets it), else an
            embedded cluster.

    Raises:
        ConfigError: no scheduler answers at the address.
    """
    # `dask` imports this module to list its commands; what converts volumes need not load for that.
    from etl.run.executors import DaskExecutor, SerialExecutor

    if kind == "serial":
        yield SerialExecutor()
        return
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
    if address:
        with open_client(address) as client:
            logger.info("using the scheduler at %s, %d workers", address, len(client.nthreads()))
            yield DaskExecutor(client)
        return
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(local_cluster())
        with deferred_interrupt():
            client = stack.enter_context(Client(cluster, set_as_default=False))
        logger.info("started a local cluster of %d workers", len(cluster.workers))
        yield DaskExecutor(client)


def check_scheduler(address: str) -> None:
    """See that a Dask scheduler answers at an address.

    Raises:
        ConfigError: none answers within 10 s, or the address is not one.
    """
    try:
        asyncio.run(_identity(address))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "no scheduler answers",
            where="--scheduler or DASK_SCHEDULER_ADDRESS",
            value=f"{address}: {error}" if str(error) else address,
            allowed="the address that `dask scheduler` printed, such as tcp://10.0.0.1:8786",
            remedy="start one, or leave the address out to use an embedded local cluster",
        ) from error


async def _identity(address: str) -> None:
    # A Client's own timeout covers the connection only: it waits for ever for a server that says nothing.
    async with asyncio.timeout(CONNECT_SECONDS):
        async with rpc(address, connection_args=Security().get_connection_args("client")) as scheduler:
            await scheduler.identity()


@contextlib.contextmanager
def open_client(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address.

    Raises:
        ConfigError: no scheduler answers there within 10 s, it has no worker within 60 s, or one that lacks
            this package.
    """
    check_scheduler(address)
    with contextlib.ExitStack() as stack:
        with deferred_interrupt():
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
            try:
                client.wait_for_workers(1, timeout=WORKERS_SECONDS)
            except TimeoutError as error:
                raise ConfigError(
                    "the scheduler has no worker",
                    where=f"the scheduler at {address}",
                    value=f"0 workers after {WORKERS_SECONDS} s",
                    allowed="1 or more",
                    remedy=f"start some: dask worker {address}",
                ) from error
            _check_workers(client, address)
        yield client


def _check_workers(client: Client, address: str) -> None:
    """Have every worker import what its tasks need: one that can't would close, and the run wait for ever."""
    try:
        client.run(exec, "import etl.convert")
    except (ImportError, SyntaxError) as error:
        raise ConfigError(
            "the workers can't import this package",
            where=f"the scheduler at {address}",
            value=f"{type(error).__name__}: {error}",
            allowed="workers with the same version of this package as the job",
            remedy="install it where `dask worker` runs, and start the workers anew",
        ) from error
