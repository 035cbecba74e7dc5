"""Ctrl-C and SIGTERM wait for the end of a block, unless they come twice."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from etl.run.interrupts import Terminated, deferred_interrupt, exit_code, terminable


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


@pytest.mark.parametrize(("times", "done"), [(1, ["the block"]), (2, [])])
def test_sigterm_waits_likewise_and_has_its_own_exit_code(times: int, done: list[str]) -> None:
    came: list[str] = []
    with pytest.raises(Terminated) as caught:
        terminated(times, came)
    assert came == done
    assert exit_code(caught.value) == 143
    assert exit_code(KeyboardInterrupt()) == 130


def test_after_the_first_sigterm_the_next_ends_the_process() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with terminable():
        with pytest.raises(Terminated):
            terminate()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with deferred_interrupt():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_left_alone_where_it_is_not_obeyed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGTERM) is before
