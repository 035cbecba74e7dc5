"""Waits between attempts: they double, with jitter, and end."""

from __future__ import annotations

import pytest

from etl.io import retries
from etl.io.retries import Attempts, BusyError, long_patience, retried


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("etl.io.retries.sleep", waits.append)
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


class TestPatience:
    """Time passes in waits only."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        waits: list[float] = []
        monkeypatch.setattr("etl.io.retries.sleep", waits.append)
        monkeypatch.setattr("etl.io.retries.monotonic", lambda: 1000.0 + sum(waits))
        monkeypatch.setattr(retries, "_silent", {})
        return waits

    def test_a_silent_place_is_given_up_after_ten_minutes_with_the_longest_waits(
        self, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        def attempt() -> None:
            raise ConnectionError("https://host/a.zip: refused")

        with pytest.raises(ConnectionError, match="refused"):
            retried(attempt, patience=long_patience("https://host"))
        assert sum(clock[:-1]) < retries.PATIENCE_SECONDS <= sum(clock)
        assert min(clock[10:]) >= retries.LONGEST_WAIT_SECONDS / 2
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) in (7, 8, 9)  # one a minute, at the end of a wait
        assert lines[0].startswith("nothing new for 1 min: https://host/a.zip: refused; asked again until")
        assert lines[0].endswith("it has been 10 min")

    def test_an_outage_of_some_minutes_is_outlasted(self, clock: list[float]) -> None:
        def attempt() -> str:
            if sum(clock) < 500:
                raise ConnectionError
            return "whole"

        assert retried(attempt, patience=long_patience("https://host")) == "whole"

    def test_a_byte_more_is_patience_anew(self, clock: list[float]) -> None:
        def attempt() -> str:
            if sum(clock) < 5000:
                raise ConnectionError
            return "whole"

        assert retried(attempt, lambda: int(sum(clock) // 400), long_patience("https://host")) == "whole"

    def test_one_archive_waits_for_a_place_that_is_gone_not_each(self, clock: list[float]) -> None:
        def attempt() -> None:
            raise ConnectionError

        def waited(place: str) -> float:
            before = sum(clock)
            with pytest.raises(ConnectionError):
                retried(attempt, patience=long_patience(place))
            return sum(clock) - before

        assert waited("https://host") >= retries.PATIENCE_SECONDS
        assert waited("https://host") < retries.TELL_SECONDS
        assert waited("https://other") >= retries.PATIENCE_SECONDS
        retried(lambda: None, patience=long_patience("https://host"))
        assert waited("https://host") >= retries.PATIENCE_SECONDS
        clock.append(2 * retries.REMEMBERED_SECONDS)
        assert waited("https://host") >= retries.PATIENCE_SECONDS

    def test_questions_are_not_patient(self, clock: list[float]) -> None:
        def attempt() -> None:
            raise ConnectionError

        with pytest.raises(ConnectionError):
            retried(attempt)
        assert sum(clock) < retries.TELL_SECONDS
