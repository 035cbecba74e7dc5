"""Ctrl-C, SIGTERM and SIGHUP are held back until the end of a block, unless they come twice."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from etl.run.signals import Terminated, deferred_interrupt, exit_code, terminable
from tests.support.processes import run


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Restore the usual handlers: dask_jobqueue sets its own, and under nohup SIGHUP is ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def pressed(times: int, blocks: int, done: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(blocks):
            stack.enter_context(deferred_interrupt())
        for _ in range(times):
            press()
        done.append("the block")
    done.append("what follows")


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize(("times", "done"), [(0, ["the block", "what follows"]), (1, ["the block"]), (2, [])])
def test_an_interrupt_waits_for_the_block_and_a_second_one_does_not(
    times: int, done: list[str], blocks: int
) -> None:
    came: list[str] = []
    if times:
        with pytest.raises(KeyboardInterrupt):
            pressed(times, blocks, came)
    else:
        pressed(times, blocks, came)
    assert came == done


def faulty() -> None:
    with deferred_interrupt():
        press()
        raise ValueError("fault")


def test_a_fault_of_the_block_comes_first() -> None:
    with pytest.raises(ValueError, match="fault"):
        faulty()


def test_without_one_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt():
        pass
    assert signal.getsignal(signal.SIGINT) is before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: deferred_interrupt().__enter__()).result() is None


def terminated(times: int, same_signal_s: float, number: int, done: list[str]) -> None:
    with terminable(same_signal_s):
        with deferred_interrupt(same_signal_s):
            for _ in range(times):
                os.kill(os.getpid(), number)
            done.append("the block")
        done.append("what follows")


@pytest.mark.parametrize(
    ("times", "same_signal_s", "done"),
    [(1, 3600.0, ["the block"]), (2, 3600.0, ["the block"]), (2, 0.0, [])],
    ids=["once", "once, sent by two", "twice"],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_ending_signal_is_held_back_too_and_has_its_own_exit_code(
    number: int, code: int, times: int, same_signal_s: float, done: list[str]
) -> None:
    came: list[str] = []
    with pytest.raises(Terminated) as caught:
        terminated(times, same_signal_s, number, came)
    assert came == done
    assert exit_code(caught.value) == code
    assert exit_code(KeyboardInterrupt()) == 130


SECOND = """
import os, signal, sys
from etl.run.signals import Terminated, deferred_interrupt, terminable
first, second, same_signal_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with terminable(same_signal_s):
    try:
        os.kill(os.getpid(), first)
    except Terminated:
        with deferred_interrupt(same_signal_s):
            os.kill(os.getpid(), second)
        sys.exit(7)
"""


@pytest.mark.parametrize(
    ("first", "second", "same_signal_s", "code"),
    [
        (signal.SIGTERM, signal.SIGTERM, 3600, 7),
        (signal.SIGTERM, signal.SIGTERM, 0, -signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM, 3600, 7),
        (signal.SIGHUP, signal.SIGTERM, 0, -signal.SIGTERM),
    ],
)
def test_a_second_ending_signal_ends_the_process_unless_it_is_the_same(
    first: int, second: int, same_signal_s: float, code: int
) -> None:
    words = [str(int(first)), str(int(second)), str(same_signal_s)]
    assert run([sys.executable, "-c", SECOND, *words]).returncode == code


def test_an_ignored_signal_stays_ignored() -> None:
    """A process under nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_is_left_alone_where_it_is_not_obeyed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGTERM) is before
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
