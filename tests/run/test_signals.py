"""Ctrl-C and SIGTERM wait for the end of a block, unless they come twice."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from etl.run import signals as interrupts
from etl.run.signals import Terminated, deferred_interrupt, exit_code, terminable
from tests.support.processes import run


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Some other test's import may have set another, as that of dask_jobqueue does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def pressed(times: int, done: list[str]) -> None:
    with deferred_interrupt():
        for _ in range(times):
            press()
        done.append("the block")
    done.append("what follows")


@pytest.mark.parametrize(("times", "done"), [(0, ["the block", "what follows"]), (1, ["the block"]), (2, [])])
def test_an_interrupt_waits_for_the_block_and_a_second_one_does_not(times: int, done: list[str]) -> None:
    came: list[str] = []
    if times:
        with pytest.raises(KeyboardInterrupt):
            pressed(times, came)
    else:
        pressed(times, came)
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


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def terminated(times: int, done: list[str]) -> None:
    with terminable():
        with deferred_interrupt():
            for _ in range(times):
                terminate()
            done.append("the block")
        done.append("what follows")


@pytest.mark.parametrize(
    ("times", "same_seconds", "done"),
    [(1, 3600.0, ["the block"]), (2, 3600.0, ["the block"]), (2, 0.0, [])],
    ids=["once", "once, told twice", "twice"],
)
def test_sigterm_waits_likewise_and_has_its_own_exit_code(
    times: int, same_seconds: float, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "SAME_SIGNAL_SECONDS", same_seconds)
    came: list[str] = []
    with pytest.raises(Terminated) as caught:
        terminated(times, came)
    assert came == done
    assert exit_code(caught.value) == 143
    assert exit_code(KeyboardInterrupt()) == 130


SECOND = """
import os, signal, sys
from etl.run import signals as interrupts
interrupts.SAME_SIGNAL_SECONDS = float(sys.argv[1])
with interrupts.terminable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except interrupts.Terminated:
        with interrupts.deferred_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
        sys.exit(7)
"""


@pytest.mark.parametrize(("same_seconds", "code"), [("3600", 7), ("0", -signal.SIGTERM)])
def test_another_sigterm_ends_the_process_unless_it_is_the_same(same_seconds: str, code: int) -> None:
    assert run([sys.executable, "-c", SECOND, same_seconds]).returncode == code


def test_sigterm_is_left_alone_where_it_is_not_obeyed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGTERM) is before
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
