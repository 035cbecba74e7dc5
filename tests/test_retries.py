"""Waits between attempts: they double, with jitter, and end."""

from __future__ import annotations

import pytest

from etl import retries
from etl.retries import Attempts, BusyError, retried


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


def test_waits_double_with_jitter_up_to_the_longest(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "ATTEMPTS", 12)
    attempts = Attempts()
    for _ in range(11):
        attempts.wait_after(OSError())
    full = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert all(wanted / 2 <= wait <= wanted for wait, wanted in zip(waits, full, strict=True))
    assert len(set(waits[6:])) == 5  # workers do not come back all at once


def test_the_last_error_is_raised(waits: list[float]) -> None:
    errors = iter([OSError(str(number)) for number in range(100)])

    def attempt() -> None:
        raise next(errors)

    with pytest.raises(OSError, match=f"^{retries.ATTEMPTS - 1}$"):
        retried(attempt)
    assert len(waits) == retries.ATTEMPTS - 1


def test_what_moves_on_starts_to_count_anew(waits: list[float]) -> None:
    reached = 0

    def attempt() -> str:
        nonlocal reached
        reached += 1
        if reached < 100:
            raise ConnectionError
        return "whole"

    assert retried(attempt, lambda: reached) == "whole"
    assert max(waits) <= retries.FIRST_WAIT_SECONDS


def test_a_busy_place_is_given_the_time_it_asks_for(waits: list[float]) -> None:
    attempts = Attempts()
    attempts.wait_after(BusyError("busy", 20.0))
    attempts.wait_after(BusyError("busy", 1e9))
    assert waits == [20.0, retries.LONGEST_RETRY_AFTER_SECONDS]


def test_other_errors_pass_at_once(waits: list[float]) -> None:
    def attempt() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        retried(attempt)
    assert waits == []
