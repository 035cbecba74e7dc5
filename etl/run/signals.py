"""Ctrl-C and SIGTERM, at places where they can be obeyed in order."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
# A batch system signals every process, and `dask-submit` passes the signal on: that is one SIGTERM, not two.
SAME_SIGNAL_SECONDS = 1.0


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the machine or the batch system wants this process to end soon."""

    exit_code = EXIT_TERMINATED


class AtOnce(KeyboardInterrupt):
    """Ctrl-C came again: whoever waits for something in order waits no longer."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell says of a process that the signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """For the main thread: SIGTERM raises `Terminated` in the block; another one later ends the process."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    first = time.monotonic()

    def end(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - first >= SAME_SIGNAL_SECONDS:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    raise Terminated


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Undo what the block does to the handlers of Ctrl-C and SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        # Only the main thread can set them, so that no block elsewhere can have done it.
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Let Ctrl-C and a SIGTERM that is obeyed wait until the block is done; a second one does not wait.

    Dask's calls from this thread into its event loop leave a loose end, and a traceback, where an interrupt
    breaks into them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    obey = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[tuple[int, float]] = []

    def note(number: int, frame: FrameType | None) -> None:
        is_same = number == signal.SIGTERM and came and time.monotonic() - came[0][1] < SAME_SIGNAL_SECONDS
        if came and not is_same:
            obey[signal.Signals(number)](number, frame)
        came.append((number, time.monotonic()))

    for number in obey:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in obey.items():
            signal.signal(number, handler)
    if came:
        obey[signal.Signals(came[0][0])](came[0][0], None)
