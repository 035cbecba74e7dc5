"""What runs in a worker around each task: a look at versions, word of how it goes, and the time taken."""

from __future__ import annotations

import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from distributed import Worker, get_worker, secede
from distributed.protocol import pickle

from etl.core.errors import ConfigError
from etl.run.at_work import at_work, tell
from etl.run.freed_memory import keep_freed_memory

Versions = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Done:
    """A task's result and the seconds that it took."""

    result: Any
    seconds: float


@functools.cache
def versions_of(packages: tuple[str, ...]) -> Versions:
    """Versions of packages in this process; None where one isn't installed."""
    return tuple((name, _version(name)) for name in packages)


def packed(function: Callable[[Any], Any], expected: Versions) -> bytes:
    """A function for workers that have these versions; `call` takes it."""
    return pickle.dumps((expected, pickle.dumps(function)))


@functools.lru_cache(maxsize=8)
def _unpacked(function: bytes) -> Callable[[Any], Any]:
    expected, pickled = pickle.loads(function)
    check_versions(expected, get_worker().address)
    return pickle.loads(pickled)


def call(is_transfer: bool, function: bytes, item: bytes) -> Done:
    """Do a task.

    Args:
        is_transfer: leave the worker's threads to what computes, however long the network takes.
        function: what to call, as `packed` gives it.
        item: its argument, pickled: the scheduler hands it on as it is.

    Raises:
        ConfigError: this worker, which came later than the run's first check, has other versions.
    """
    keep_freed_memory()
    worker = get_worker()
    key = str(worker.get_current_task())
    try:
        with at_work(worker, key):
            wanted = _unpacked(function)
            if is_transfer:
                secede()
            start = time.monotonic()
            result = wanted(pickle.loads(item))
            return Done(result, time.monotonic() - start)
    except Exception:
        tell(worker, key, failed=True)
        raise


def executing(run: str, dask_worker: Worker) -> bool:
    """Is a task at work here whose key names the run? It may have been cancelled."""
    tasks = {*dask_worker.state.executing, *dask_worker.state.long_running}
    return any(f"-{run}-" in str(task.key) for task in tasks)


def check_versions(expected: Versions, worker: str) -> None:
    """Raises ConfigError where this process has other versions, and would write other bytes."""
    found = versions_of(tuple(name for name, _ in expected))
    differing = _differences(expected, found)
    if differing:
        raise ConfigError(
            "a worker that joined has other versions; finished volumes are kept",
            where=f"worker {worker}",
            value="; ".join(differing),
            allowed="the versions of the driver",
            remedy="install this project's requirements.lock there, or stop that worker; run the same again",
        )


def _differences(expected: Versions, found: Versions) -> Iterable[str]:
    return [
        f"{name} {theirs or 'none'}, {ours or 'none'} in the driver"
        for (name, ours), (_, theirs) in zip(expected, found, strict=True)
        if ours != theirs
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
