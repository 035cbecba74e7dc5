"""The cluster that a job runs on: the scheduler that the environment names, or an embedded local one."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from etl.build import Executor
from etl.errors import ConfigError
from etl.run.executors import DaskExecutor, SerialExecutor

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10


@contextlib.contextmanager
def local_cluster(workers: int | None = None) -> Iterator[LocalCluster]:
    """An embedded cluster on the loopback interface, one single-threaded process a core.

    Args:
        workers: number of worker processes; all cores where None.
    """
    # Decoding and compression hold the interpreter in part, so processes scale where threads don't.
    with (
        dask.config.set({"distributed.worker.daemon": True}),
        LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.ERROR,
        ) as cluster,
    ):
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
    if kind == "serial":
        yield SerialExecutor()
        return
    address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
    if address:
        with open_client(address) as client:
            logger.info("using the scheduler at %s, %d workers", address, len(client.nthreads()))
            yield DaskExecutor(client)
        return
    with local_cluster() as cluster, Client(cluster, set_as_default=False) as client:
        logger.info("started a local cluster of %d workers", len(cluster.workers))
        yield DaskExecutor(client)


@contextlib.contextmanager
def open_client(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address.

    Raises:
        ConfigError: no scheduler answers there within 10 s, or it has no worker.
    """
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "no scheduler answers",
            where="--scheduler or DASK_SCHEDULER_ADDRESS",
            value=address,
            allowed="the address that `dask scheduler` printed, such as tcp://10.0.0.1:8786",
            remedy="start one, or leave the address out to use an embedded local cluster",
        ) from error
    with client:
        client.wait_for_workers(1, timeout=60)
        yield client
