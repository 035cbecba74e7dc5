"""Code that runs in Dask workers: the call around each task, reports to the driver, process settings."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distributed import Worker, get_worker, secede
from distributed.protocol import pickle

from etl.core.errors import ConfigError
from etl.run.logs import leave_secrets_out, quiet_dask

Versions = tuple[tuple[str, str | None], ...]

# Dask topic on which workers report long tasks and failed attempts.
TASK_TOPIC = "deeplesion-tasks"
# A report of each start would cost the scheduler as much as a short task itself.
REPORT_AFTER_SECONDS = 1.0

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# The largest value to which glibc raises its mmap threshold by itself.
_LARGEST_KEPT_BYTES = 32 << 20

_HEARTBEAT_ERROR = "Failed to communicate with scheduler during heartbeat"


@dataclass(frozen=True)
class Done:
    """A task's result and the seconds that its function took."""

    result: Any
    seconds: float


def packed(function: Callable[[Any], Any], expected: Versions) -> bytes:
    """Return a function, pickled for `call`, that runs only on workers with these package versions."""
    return pickle.dumps((expected, pickle.dumps(function)))


@functools.lru_cache(maxsize=8)
def _unpacked(function: bytes) -> Callable[[Any], Any]:
    expected, pickled = pickle.loads(function)
    _check_versions(expected, get_worker().address)
    return pickle.loads(pickled)


def call(is_transfer: bool, function: bytes, item: bytes) -> Done:
    """Run a task.

    Args:
        is_transfer: leave the worker's thread pool, so that the task takes no slot from computing tasks.
        function: the function, as `packed` returns it.
        item: its argument, pickled; the scheduler passes it on without unpickling.

    Raises:
        ConfigError: this worker joined after the start-up check and has other versions.
    """
    keep_freed_memory()
    leave_secrets_out()
    quiet_dask()
    worker = get_worker()
    key = str(worker.get_current_task())
    try:
        with _reporter.running(worker, key):
            unpacked = _unpacked(function)
            if is_transfer:
                secede()
            start = time.monotonic()
            result = unpacked(pickle.loads(item))
            return Done(result, time.monotonic() - start)
    except Exception:
        _report(worker, key, failed=True)
        raise


def is_executing(run_id: str, dask_worker: Worker) -> bool:
    """Return True while this worker executes a task of the run, even one that was cancelled."""
    tasks = {*dask_worker.state.executing, *dask_worker.state.long_running}
    return any(f"-{run_id}-" in str(task.key) for task in tasks)


@functools.cache
def versions_of(packages: tuple[str, ...]) -> Versions:
    """Return the versions of packages in this process; None for one that isn't installed."""
    return tuple((name, _version(name)) for name in packages)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _check_versions(expected: Versions, worker: str) -> None:
    """Raise ConfigError if this process has other versions: it could write other bytes."""
    found = versions_of(tuple(name for name, _ in expected))
    differing = [
        f"{name} {theirs or 'none'}, {ours or 'none'} in the driver"
        for (name, ours), (_, theirs) in zip(expected, found, strict=True)
        if ours != theirs
    ]
    if differing:
        raise ConfigError(
            "a worker that joined has other versions; finished volumes are kept",
            where=f"worker {worker}",
            value="; ".join(differing),
            allowed="the versions of the driver",
            remedy="install this project's requirements.lock there, or stop that worker; run the same again",
        )


def _report(worker: Worker, key: str, **fields: object) -> None:
    """Send the driver one event about a task: the `seconds` it has run, or that an attempt `failed`."""
    worker.log_event(TASK_TOPIC, {"key": key, "worker": worker.address, **fields})


@dataclass(frozen=True, eq=False)
class _Start:
    worker: Worker
    key: str
    at_s: float


class _LongTaskReporter:
    """A background thread that reports each task that has run for a while, once.

    Args:
        after_s: seconds after which a task is reported.
    """

    def __init__(self, after_s: float = REPORT_AFTER_SECONDS) -> None:
        self._after_s = after_s
        self._unreported: dict[int, _Start] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def running(self, worker: Worker, key: str) -> Iterator[None]:
        """Watch the task that this thread runs in the block."""
        with self._lock:
            self._unreported[threading.get_ident()] = _Start(worker, key, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="long-tasks", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._unreported.pop(threading.get_ident(), None)

    def _loop(self) -> None:
        while True:
            time.sleep(self._after_s)
            now = time.monotonic()
            with self._lock:
                due = {t: s for t, s in self._unreported.items() if now - s.at_s >= self._after_s}
                for thread in due:
                    del self._unreported[thread]
            for start in due.values():
                _report(start.worker, start.key, seconds=now - start.at_s)


_reporter = _LongTaskReporter()


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep memory that tasks free, for the next task; once, and only with glibc.

    Dask starts workers with MALLOC_TRIM_THRESHOLD_=65536, which turns off glibc's adaptive thresholds: each
    array of 128 KiB and more then returns to the kernel when freed, 100,000 page faults a volume.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BYTES)


def dask_setup(worker: object) -> None:
    """Prepare a worker of the embedded cluster; Dask calls this in its main thread (`--preload`).

    The worker ignores Ctrl-C and SIGTERM, which a terminal or batch system sends to the whole process group,
    because the job stops it. A failed heartbeat while the scheduler shuts down is not logged as an error.
    """
    leave_secrets_out()
    quiet_dask()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(_is_no_heartbeat_error)


def _is_no_heartbeat_error(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_HEARTBEAT_ERROR)
