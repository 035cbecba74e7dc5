"""Ctrl-C and SIGTERM, at places where they can be obeyed in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the machine or the batch system wants this process to end soon."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell says of a process that the signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """For the main thread: SIGTERM raises `Terminated` in the block, and a second one ends the process."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Let Ctrl-C and a SIGTERM that is obeyed wait until the block is done; a second one does not wait.

    Dask's calls from this thread into its event loop leave a loose end, and a traceback, where an interrupt
    breaks into them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def obey(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            obey(number, frame)
        came.append(number)

    waiting = [number for number, handler in before.items() if callable(handler)]
    for number in waiting:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in waiting:
            signal.signal(number, before[number])
    if came:
        obey(came[0], None)
