"""Ctrl-C waits for the end of a block, unless it comes twice."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from etl.run.interrupts import deferred_interrupt


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
