"""Which tasks are at work in this process of a worker; the driver is told of those that take a while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from distributed import Worker

# Where workers tell of the tasks that they do.
AT_WORK = "deeplesion-at-work"
# Word of each start would cost the scheduler as much as a short task itself.
WHILE_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class _Start:
    worker: Worker
    key: str
    at_s: float


class _Untold:
    """Starts that the driver has not been told of, by thread."""

    def __init__(self) -> None:
        self._starts: dict[int, _Start] = {}
        self._lock = threading.Lock()
        self._teller: threading.Thread | None = None

    def add(self, start: _Start) -> None:
        with self._lock:
            self._starts[threading.get_ident()] = start
            if self._teller is None:
                self._teller = threading.Thread(target=self._tell, name="at-work", daemon=True)
                self._teller.start()

    def drop(self) -> None:
        with self._lock:
            self._starts.pop(threading.get_ident(), None)

    def _tell(self) -> None:
        while True:
            time.sleep(WHILE_SECONDS)
            now = time.monotonic()
            with self._lock:
                due = {t: s for t, s in self._starts.items() if now - s.at_s >= WHILE_SECONDS}
                for thread in due:
                    del self._starts[thread]
            for start in due.values():
                tell(start.worker, start.key, seconds=now - start.at_s)


_untold = _Untold()


@contextlib.contextmanager
def at_work(worker: Worker, key: str) -> Iterator[None]:
    """A task is at work in this thread in the block."""
    _untold.add(_Start(worker, key, time.monotonic()))
    try:
        yield
    finally:
        _untold.drop()


def tell(worker: Worker, key: str, **what: object) -> None:
    """Tell the driver about a task: the `seconds` that it has been at work, or that it `failed`."""
    worker.log_event(AT_WORK, {"key": key, "worker": worker.address, **what})
