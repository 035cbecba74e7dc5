"""A client of a scheduler; checks that it answers, that versions agree, and that workers work or are idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeVar

from distributed import Client, Future
from distributed.client import ClosedClientError
from distributed.core import rpc
from distributed.deploy.cluster import Cluster
from distributed.security import Security
from distributed.versions import get_versions

from etl.core.errors import ConfigError, EtlError, RunError
from etl.run.signals import deferred_interrupt
from etl.run.worker import is_executing

if TYPE_CHECKING:
    from etl.run import cluster_kinds as kinds

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

CONNECT_SECONDS = 6.0
# Packages that decide Dask's messages, and those that decide the bytes of a volume.
SAME_IN_DASK = ("dask", "distributed")
SAME_IN_WORKERS = ("deeplesion-store", "numpy", "numba", "numcodecs", "zarr")
SAME_EVERYWHERE = (*SAME_IN_DASK, *SAME_IN_WORKERS)

SCHEDULER = "on the scheduler"
IMAGE = "an image of the Dockerfile in docs/operations.md"
OWN_MODULE = "etl.run.worker"


def security_of(tls: kinds.Tls | None) -> Security | None:
    """Return certificates as Dask takes them; None leaves them to Dask's own config."""
    if tls is None:
        return None
    return Security(
        tls_ca_file=tls.ca_file, tls_client_cert=tls.cert, tls_client_key=tls.key, require_encryption=True
    )


def check_scheduler(
    address: str, security: Security | None = None, timeout_s: float = CONNECT_SECONDS
) -> None:
    """Check that a Dask scheduler answers at an address, and that it and its workers have our versions.

    Raises:
        ConfigError: none answers in time, the address is malformed, or versions differ.
    """
    _check_versions(_ask(address, security, timeout_s, _versions), address)


def workers_at(
    address: str, security: Security | None = None, timeout_s: float = CONNECT_SECONDS
) -> list[dict[str, Any]]:
    """Return the workers of the scheduler at an address, as `Client.scheduler_info` describes them.

    Raises:
        ConfigError: none answers in time, or the address is malformed.
    """
    info = _ask(address, security, timeout_s, lambda scheduler: scheduler.identity(n_workers=-1))
    return list(info["workers"].values())


def _ask(
    address: str, security: Security | None, timeout_s: float, question: Callable[[Any], Awaitable[Answer]]
) -> Answer:
    # The time limit of a Client covers the connection only; it waits forever for a server that is silent.
    async def answer() -> Answer:
        certificates = (security or Security()).get_connection_args("client")
        async with asyncio.timeout(timeout_s), rpc(address, connection_args=certificates) as scheduler:
            return await question(scheduler)

    try:
        return asyncio.run(answer())
    # A server of another kind is read as if it were Dask, which can fail in any way; so can certificates.
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
    place: Cluster | str,
    security: Security | None = None,
    wait_for_worker_s: float = 60,
    *,
    module: str = OWN_MODULE,
    connect_s: float = CONNECT_SECONDS,
) -> Iterator[Client]:
    """Connect to a cluster, or to the scheduler at an address, and wait for its first worker.

    Args:
        security: certificates of a tls:// address.
        wait_for_worker_s: time limit for the first worker.
        module: module of this package that tasks need; every worker imports it here.
        connect_s: time limit for the connection.

    Raises:
        ConfigError: no scheduler answers, versions differ, no worker comes in time, or workers can't import
            the module.
        RunError: the scheduler is lost meanwhile.
    """
    if isinstance(place, str):
        check_scheduler(place, security, connect_s)
    with contextlib.ExitStack() as stack:
        with deferred_interrupt():
            client = stack.enter_context(
                Client(place, security=security, timeout=connect_s, set_as_default=False)
            )
        with scheduler_calls(client):
            address = address_of(client)
            # An adaptive cluster starts a worker only for a task.
            first: Future[Any] = client.submit(int, pure=False)
        _wait_for(first, address, wait_for_worker_s)
        with scheduler_calls(client):
            first.release()
            _check_versions(client.get_versions(packages=list(SAME_EVERYWHERE)), address)
            _check_import(client, address, module)
        yield client


def address_of(client: Client) -> str:
    """Return the address at which the scheduler of a connected client listens."""
    return str(client.scheduler_info(n_workers=0)["address"])


def is_loss(client: Client, error: BaseException) -> bool:
    """Return whether a call to the scheduler failed because the connection is lost.

    Dask raises OSError while the call is on its way, CancelledError for futures, ClosedClientError after its
    last attempt to reconnect, and other errors from calls on a client that it has closed.
    """
    if isinstance(error, OSError | CancelledError | ClosedClientError):
        return True
    return client.status == "closed" and isinstance(error, Exception)


def loss_error(error: BaseException) -> RunError:
    """Return the error that ends a run whose scheduler is lost."""
    return RunError(
        "the connection to the scheduler was lost",
        value=str(error) or type(error).__name__,
        remedy="finished volumes are kept; start the cluster again, run the same again",
    )


@contextlib.contextmanager
def scheduler_calls(client: Client) -> Iterator[None]:
    """Hold back interrupts in a block that calls the scheduler and does nothing else.

    Raises:
        RunError: the connection to the scheduler is lost.
    """
    try:
        with deferred_interrupt():
            yield
    except EtlError:
        raise
    except Exception as error:
        if is_loss(client, error):
            raise loss_error(error) from error
        raise


def _wait_for(first: Future[Any], address: str, seconds: float) -> None:
    """Poll for the first result: a Ctrl-C inside a call of Dask leaves a traceback."""
    end, log_at = time.monotonic() + seconds, time.monotonic() + 5
    while first.status == "pending":
        if time.monotonic() > end:
            raise ConfigError(
                "the scheduler has no worker",
                where=address,
                value=f"0 workers after {seconds:g} s",
                allowed="1 or more",
                remedy=f"start some (dask worker {address}), or find out why the batch queue starts none",
            )
        if time.monotonic() > log_at:
            logger.info("waiting for a first worker, at most %.0f s more", end - time.monotonic())
            log_at = end
        time.sleep(0.02)


def _check_versions(found: Mapping[str, Any], address: str) -> None:
    """Raise ConfigError if versions differ. `found` has the form of `Client.get_versions`."""
    if differences := version_differences(found):
        raise ConfigError(
            "versions differ between this process, the scheduler and the workers",
            where=address,
            value="; ".join(differences),
            allowed="the same everywhere, and Python of the same minor version",
            remedy=f"install this project's requirements.lock there too, or use {IMAGE}",
        )


def version_differences(found: Mapping[str, Any]) -> list[str]:
    """Return one line for each package that differs: our version, the scheduler's, a worker's.

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


def _check_import(client: Client, address: str, module: str) -> None:
    """Let every worker import a module: a worker that fails to import it for a task closes, and so does the
    next one, without end.
    """
    answers = client.run(exec, f"import {module}", on_error="return")
    for worker, error in answers.items():
        # Other errors come from workers that leave meanwhile.
        if isinstance(error, ImportError | SyntaxError):
            raise ConfigError(
                "the workers can't import this package",
                where=f"worker {worker} of the scheduler at {address}",
                value=f"{type(error).__name__}: {error}",
                allowed="workers with the same version of this package as the job",
                remedy=f"install it where `dask worker` runs, or use {IMAGE}",
            )


def wait_until_idle(client: Client, run_id: str, limit_s: float, pause_s: float = 0.1) -> None:
    """Wait until no worker executes a task of the run, not even a cancelled one, or `limit_s` is over.

    A worker that can't be reached may be dying of such a task while the scheduler still sends it others. Two
    rounds have to agree: in the first, a task may be on its way to a worker that answers before it begins.

    Args:
        limit_s: longest time to wait.
        pause_s: time after each round of answers.

    Raises:
        RunError: the connection to the scheduler is lost.
    """
    end_s, idle_rounds = time.monotonic() + limit_s, 0
    while idle_rounds < 2 and time.monotonic() < end_s:
        with scheduler_calls(client):
            answers = client.run(is_executing, run_id, on_error="return").values()
        is_busy = any(answer is True or isinstance(answer, OSError) for answer in answers)
        idle_rounds = 0 if is_busy else idle_rounds + 1
        time.sleep(pause_s)
