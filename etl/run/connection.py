"""A client of a scheduler: is it there, are all of the same versions, are there workers that can work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.core import rpc
from distributed.deploy.cluster import Cluster
from distributed.security import Security
from distributed.versions import get_versions

from etl.core.errors import ConfigError
from etl.run.signals import deferred_interrupt

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CONNECT_SECONDS = 6
# What has to be the same: what Dask's own messages depend on, and what decides the bytes of a volume.
SAME_IN_DASK = ("dask", "distributed")
SAME_IN_WORKERS = ("deeplesion-store", "numpy", "numba", "numcodecs", "zarr")
SAME_EVERYWHERE = (*SAME_IN_DASK, *SAME_IN_WORKERS)

SCHEDULER = "on the scheduler"
IMAGE = "an image of the Dockerfile in docs/operations.md"


def check_scheduler(address: str, security: Security | None = None) -> None:
    """See that a Dask scheduler answers at an address, and that it and its workers have our versions.

    Raises:
        ConfigError: none answers within 6 s, the address is not one, or versions differ.
    """
    _check_versions(_ask(address, security, _versions), address)


def workers_at(address: str, security: Security | None = None) -> list[dict[str, Any]]:
    """The workers of the scheduler at an address, as `Client.scheduler_info` tells of them.

    Raises:
        ConfigError: none answers within 6 s, or the address is not one.
    """
    return list(
        _ask(address, security, lambda scheduler: scheduler.identity(n_workers=-1))["workers"].values()
    )


def _ask(address: str, security: Security | None, question: Callable[[Any], Awaitable[Answer]]) -> Answer:
    # A Client's own timeout covers the connection only: it waits for ever for a server that says nothing.
    async def answer() -> Answer:
        certificates = (security or Security()).get_connection_args("client")
        async with asyncio.timeout(CONNECT_SECONDS), rpc(address, connection_args=certificates) as scheduler:
            return await question(scheduler)

    try:
        return asyncio.run(answer())
    # What else listens there is read as if it were Dask, which may fail in any way; the certificates too.
    except Exception as error:
        raise ConfigError(
            "no scheduler answers",
            where=address,
            value=str(error) or type(error).__name__,
            allowed="the address that `dask scheduler` printed, such as tcp://10.0.0.1:8786",
            remedy="start one with `dask scheduler`, or use a cluster of this machine",
        ) from error


async def _versions(scheduler: Any) -> dict[str, Any]:
    ask = {"packages": SAME_EVERYWHERE}
    return {
        "client": get_versions(SAME_EVERYWHERE),
        "scheduler": await scheduler.versions(**ask),
        "workers": await scheduler.broadcast(msg={"op": "versions"} | ask, on_error="ignore"),
    }


@contextlib.contextmanager
def open_client(
    place: Cluster | str, security: Security | None = None, wait_for_worker_s: float = 60
) -> Iterator[Client]:
    """A client of a cluster, or of the scheduler at an address, that has a worker.

    Args:
        security: certificates of a tls:// address.
        wait_for_worker_s: how long the first worker may take to come.

    Raises:
        ConfigError: no scheduler answers, versions differ, no worker comes in time, or workers can't import
            this package.
    """
    if isinstance(place, str):
        check_scheduler(place, security)
    with contextlib.ExitStack() as stack:
        with deferred_interrupt():
            client = stack.enter_context(
                Client(place, security=security, timeout=CONNECT_SECONDS, set_as_default=False)
            )
            address = address_of(client)
            # An adaptive cluster starts a worker where there is something to do only.
            first: Future[Any] = client.submit(int, pure=False)
        _wait_for(first, address, wait_for_worker_s)
        with deferred_interrupt():
            first.release()
            _check_versions(client.get_versions(packages=list(SAME_EVERYWHERE)), address)
            _check_import(client, address)
        yield client


def address_of(client: Client) -> str:
    """Where the scheduler of a connected client listens."""
    return str(client.scheduler_info(n_workers=0)["address"])


def _wait_for(first: Future[Any], address: str, seconds: float) -> None:
    """Look, don't wait: a Ctrl-C in one of Dask's calls leaves a traceback."""
    end, say = time.monotonic() + seconds, time.monotonic() + 5
    while first.status == "pending":
        if time.monotonic() > end:
            raise ConfigError(
                "the scheduler has no worker",
                where=address,
                value=f"0 workers after {seconds:g} s",
                allowed="1 or more",
                remedy=f"start some (dask worker {address}), or look why the queue starts none",
            )
        if time.monotonic() > say:
            logger.info("waiting for a first worker, %.0f s more at most", end - time.monotonic())
            say = end
        time.sleep(0.02)


def _check_versions(found: Mapping[str, Any], address: str) -> None:
    """Raises ConfigError where versions differ. `found` is as `Client.get_versions` gives it."""
    if differences := version_differences(found):
        raise ConfigError(
            "versions differ between here, the scheduler and the workers",
            where=address,
            value="; ".join(differences),
            allowed="the same everywhere, and Python of the same minor version",
            remedy=f"install this project's requirements.lock there too, or use {IMAGE}",
        )


def version_differences(found: Mapping[str, Any]) -> list[str]:
    """What differs, one line a package: ours, the scheduler's, and that of the first worker that differs.

    Args:
        found: `client`, `scheduler`, and `workers` by address, as distributed.versions.get_versions gives.
    """
    ours = _packages(found["client"])
    others = {SCHEDULER: _packages(found["scheduler"])}
    others |= {f"on worker {name}": _packages(answer) for name, answer in found["workers"].items()}
    lines = []
    for name, version in ours.items():
        differing = [
            f"{other[name] or 'none'} {where}"
            for where, other in others.items()
            if other[name] != version and not (name in SAME_IN_WORKERS and where == SCHEDULER)
        ]
        if differing:
            more = f" and {len(differing) - 2} more" if len(differing) > 2 else ""
            lines.append(f"{name} {version or 'none'} here, {', '.join(differing[:2])}{more}")
    return lines


def _packages(answer: Mapping[str, Any]) -> dict[str, str | None]:
    packages = answer["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python} | {name: packages.get(name) for name in SAME_EVERYWHERE}


def _check_import(client: Client, address: str) -> None:
    """Have every worker import what its tasks need: one that can't would close, and the run wait for ever."""
    answers = client.run(exec, "import etl.convert.convert", on_error="return")
    for worker, error in answers.items():
        # Anything else is a worker that leaves meanwhile.
        if isinstance(error, ImportError | SyntaxError):
            raise ConfigError(
                "the workers can't import this package",
                where=f"worker {worker} of the scheduler at {address}",
                value=f"{type(error).__name__}: {error}",
                allowed="workers with the same version of this package as the job",
                remedy=f"install it where `dask worker` runs, or use {IMAGE}",
            )
