"""Waits between attempts: they double, with jitter, and end with the budget. Time passes in waits only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etl.io import retries
from etl.io.places import BlobRefused
from etl.io.retries import Attempts, BusyError, RetryBudget, archive_budget, retried
from tests.support.logged import logged_here
from tests.support.transfers import USUAL

HOST = "https://host"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each wait so far; they are what the clock shows."""
    waits: list[float] = []
    monkeypatch.setattr("etl.io.retries.sleep", waits.append)
    monkeypatch.setattr("etl.io.retries.monotonic", lambda: 1000.0 + sum(waits))
    monkeypatch.setattr(retries, "_exhausted", {})
    return waits


def refused() -> None:
    raise ConnectionError(f"{HOST}/a.zip: refused")


def test_waits_double_with_jitter_up_to_the_longest(waits: list[float]) -> None:
    attempts = Attempts(RetryBudget(settings=replace(USUAL, attempts=12)))
    for _ in range(11):
        attempts.wait_after(OSError())
    full = [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    assert all(wanted / 2 <= wait <= wanted for wait, wanted in zip(waits, full, strict=True))
    assert len(set(waits[6:])) == 5  # workers do not come back all at once


def test_the_last_error_is_raised(waits: list[float]) -> None:
    errors = iter([OSError(str(number)) for number in range(100)])

    def attempt() -> None:
        raise next(errors)

    with pytest.raises(OSError, match=f"^{USUAL.attempts - 1}$"):
        retried(attempt, RetryBudget())
    assert len(waits) == USUAL.attempts - 1
    assert sum(waits) < USUAL.log_every_s


@pytest.mark.parametrize("error", [ValueError("no"), BlobRefused("no")])
def test_an_error_that_does_not_pass_is_raised_at_once(waits: list[float], error: Exception) -> None:
    def attempt() -> None:
        raise error

    with pytest.raises(type(error), match="no"):
        retried(attempt, RetryBudget())
    assert waits == []


def test_a_busy_host_is_given_the_time_that_it_names(waits: list[float]) -> None:
    attempts = Attempts(RetryBudget())
    attempts.wait_after(BusyError("busy", 20.0))
    attempts.wait_after(BusyError("busy", 1e9))
    assert waits == [20.0, USUAL.longest_retry_after_s]


def test_progress_restores_the_attempts(waits: list[float]) -> None:
    reached = 0

    def attempt() -> str:
        nonlocal reached
        reached += 1
        if reached < 100:
            raise ConnectionError
        return "whole"

    assert retried(attempt, RetryBudget(), lambda: reached) == "whole"
    assert max(waits) <= USUAL.first_wait_s


def test_a_silent_host_exhausts_its_budget_and_the_log_says_so_each_minute(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConnectionError, match="refused"):
        retried(refused, archive_budget(f"{HOST}/a.zip"))
    assert sum(waits[:-1]) < USUAL.outage_s <= sum(waits)
    assert min(waits[10:]) >= USUAL.longest_wait_s / 2
    lines = logged_here(caplog)
    assert len(lines) in (7, 8, 9)  # one a minute, at the end of a wait
    assert lines[0] == f"no bytes for 1 min, retrying until 10 min have passed: {HOST}/a.zip: refused"


@pytest.mark.parametrize(("outage_s", "step_s"), [(500, None), (5000, 400)])
def test_a_shorter_outage_is_outlasted(waits: list[float], outage_s: float, step_s: int | None) -> None:
    """Any outage below the budget, and a longer one in which bytes come now and then."""

    def attempt() -> str:
        if sum(waits) < outage_s:
            raise ConnectionError
        return "whole"

    def reached() -> int:
        return int(sum(waits) // step_s) if step_s else 0

    assert retried(attempt, archive_budget(HOST), reached) == "whole"


def test_only_the_first_transfer_waits_for_a_dead_host(waits: list[float]) -> None:
    def waited(host: str) -> float:
        before = sum(waits)
        with pytest.raises(ConnectionError):
            retried(refused, archive_budget(host))
        return sum(waits) - before

    assert waited(HOST) >= USUAL.outage_s
    assert archive_budget(HOST).remaining == 0
    assert waited(HOST) < USUAL.log_every_s
    assert waited("https://other") >= USUAL.outage_s
    retried(lambda: None, archive_budget(HOST))
    assert archive_budget(HOST).remaining == USUAL.outage_s
    assert waited(HOST) >= USUAL.outage_s
    waits.append(2 * USUAL.remember_s)
    assert waited(HOST) >= USUAL.outage_s
