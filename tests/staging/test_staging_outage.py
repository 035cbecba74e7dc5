"""A server that is away for some minutes: an archive waits for it, logs that, and continues."""

from __future__ import annotations

import pytest

from etl.core.rejects import Reason
from tests.support.fetching import BLOCK_BYTES, SIZE, Staged, fetch, serve_archive
from tests.support.http_faults import busy
from tests.support.servers import HttpServer
from tests.support.transfers import clock_of_waits


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits take as long as they do where nobody is impatient, by the clock only."""
    return clock_of_waits(monkeypatch)


@pytest.mark.slow
def test_an_outage_of_minutes_costs_no_archive(
    http_server: HttpServer, staged: Staged, clock: list[float]
) -> None:
    archive = serve_archive(http_server)
    before = staged.fetcher(archive)
    http_server.chance = lambda request: busy(503) if sum(clock) < 400 else None
    results = fetch(staged.fetcher, archive)
    assert results[-1].is_whole
    waiting = [result for result in results if result.delay]
    assert len(waiting) >= 4  # it gives its thread back about each minute, and says why
    assert {result.bytes_there for result in waiting} == {before.bytes_there}
    for minutes, result in enumerate(waiting, 1):
        assert result.delay.startswith("no bytes for ")
        assert int(result.delay.split()[3]) >= minutes
        assert "/a.zip: the server answers 503" in result.delay
        assert "secret" not in result.delay
    staged.assert_holds_only(archive)


def test_one_of_ten_minutes_does_and_the_next_archive_does_not_wait(
    http_server: HttpServer, folder: Staged, clock: list[float]
) -> None:
    archive = serve_archive(http_server, *[None] * 5)
    folder.fetcher(archive)
    http_server.chance = lambda request: busy(503)
    results = fetch(folder.fetcher, archive)
    assert results[-1].reason is Reason.ARCHIVE_UNAVAILABLE
    assert results[-1].bytes_there == 5 * BLOCK_BYTES
    # One block more came at first: silence counts from there.
    assert 600 <= sum(clock) < 700
    clock.clear()
    assert fetch(folder.fetcher, archive)[-1].reason is Reason.ARCHIVE_UNAVAILABLE
    assert sum(clock) < 60
    http_server.chance = lambda request: None
    (*_, last) = fetch(folder.fetcher, archive)
    assert (last.is_whole, last.bytes_there) == (True, SIZE)


@pytest.mark.slow
def test_a_server_that_comes_and_goes_is_outlasted(
    http_server: HttpServer, folder: Staged, clock: list[float]
) -> None:
    """Away for five minutes after each block: an hour in all."""
    archive = serve_archive(http_server)
    down_until = [0.0]

    def choose(request: object) -> object:
        if sum(clock) < down_until[0]:
            return busy(503)
        down_until[0] = sum(clock) + 300
        return None

    http_server.chance = choose  # type: ignore[assignment]
    assert fetch(folder.fetcher, archive)[-1].is_whole
    assert sum(clock) > 3000
