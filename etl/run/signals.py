"""Ctrl-C, SIGTERM and SIGHUP: raised as exceptions, held back while a call of Dask must not be broken off."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

EXIT_INTERRUPTED = 128 + signal.SIGINT
# Signals by which a machine, a batch system or a closed terminal ends a process.
ENDING = (signal.SIGTERM, signal.SIGHUP)
# A batch system signals every process and `dask-submit` forwards the signal: two that come so close are one.
SAME_SIGNAL_SECONDS = 1.0


class Terminated(KeyboardInterrupt):
    """The machine, the batch system or the terminal ends this process, by SIGTERM or SIGHUP."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.exit_code = 128 + number


class AtOnce(KeyboardInterrupt):
    """A second Ctrl-C: whatever waits for an orderly end stops waiting."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that a shell shows: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return stop.exit_code if isinstance(stop, Terminated) else EXIT_INTERRUPTED


@contextlib.contextmanager
def terminable(same_signal_s: float = SAME_SIGNAL_SECONDS) -> Iterator[None]:
    """Raise `Terminated` in the block at SIGTERM or SIGHUP; for the main thread.

    A second signal ends the process at once. A signal that is ignored (nohup) stays ignored.

    Args:
        same_signal_s: a second signal within this time counts as the first.
    """
    handler = functools.partial(_terminate, same_signal_s)
    before = {n: signal.signal(n, handler) for n in ENDING if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _terminate(same_signal_s: float, number: int, frame: FrameType | None) -> None:
    first = time.monotonic()

    def end(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - first >= same_signal_s:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for ending in ENDING:
        if signal.getsignal(ending) is not signal.SIG_IGN:
            signal.signal(ending, end)
    raise Terminated(number)


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Restore the handlers of Ctrl-C, SIGTERM and SIGHUP after the block."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    try:
        yield
    finally:
        # Handlers can be set in the main thread only, so a block in another thread can't have changed them.
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def deferred_interrupt(same_signal_s: float = SAME_SIGNAL_SECONDS) -> Iterator[None]:
    """Hold back Ctrl-C and the signals of `terminable` until the end of the block, unless they come twice.

    An interrupt inside one of Dask's calls from this thread into its event loop leaves an unfinished
    coroutine and a traceback. In a block that is inside another one, the outer one holds them back.

    Args:
        same_signal_s: a second SIGTERM or SIGHUP within this time counts as the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    obeyed = {n: handler for n, handler in handlers.items() if callable(handler) and not _is_held(handler)}
    came: list[tuple[int, float]] = []
    for number in obeyed:
        signal.signal(number, functools.partial(_hold, same_signal_s, obeyed, came))
    try:
        yield
    finally:
        for number, handler in obeyed.items():
            signal.signal(number, handler)
    if came:
        obeyed[signal.Signals(came[0][0])](came[0][0], None)


def _hold(
    same_signal_s: float,
    obeyed: Mapping[signal.Signals, Handler],
    came: list[tuple[int, float]],
    number: int,
    frame: FrameType | None,
) -> None:
    is_same = number in ENDING and came and time.monotonic() - came[0][1] < same_signal_s
    if came and not is_same:
        obeyed[signal.Signals(number)](number, frame)
    came.append((number, time.monotonic()))


def _is_held(handler: Handler) -> bool:
    return isinstance(handler, functools.partial) and handler.func is _hold
