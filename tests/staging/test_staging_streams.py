"""Archives from servers without ranges, which send the whole or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etl.core.rejects import Reason
from etl.staging.fetch import RemoteArchive
from tests.support.fetching import (
    BLOCK_BYTES,
    SIZE,
    Staged,
    fetch,
    serve_archive,
)
from tests.support.http_faults import PAGE, Cut, Fault, Stall, WrongLength, busy
from tests.support.servers import HttpServer

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def archive(http_server: HttpServer) -> RemoteArchive:
    http_server.has_ranges = False
    archive = serve_archive(http_server)
    assert not archive.has_ranges
    return archive


def test_it_comes_whole_in_one_request(
    http_server: HttpServer, staged: Staged, archive: RemoteArchive
) -> None:
    (result,) = fetch(staged.fetcher, archive)
    assert (result.is_whole, result.bytes_now) == (True, SIZE)
    assert http_server.ranges("/a.zip") == [None]
    staged.assert_holds_only(archive)


@pytest.mark.usefixtures("short_stalls")
@pytest.mark.parametrize("fault", [Cut(300_000), Stall(300_000), busy(), WrongLength(99)])
def test_a_passing_fault_leaves_no_trace(
    http_server: HttpServer, folder: Staged, archive: RemoteArchive, fault: Fault
) -> None:
    http_server.faults["/a.zip"] = [fault]
    assert fetch(folder.fetcher, archive)[-1].is_whole
    folder.assert_holds_only(archive)


def test_the_next_run_passes_over_what_is_there(
    http_server: HttpServer, staged: Staged, archive: RemoteArchive
) -> None:
    http_server.faults["/a.zip"] = [Cut(300_000)] * 6
    (result,) = fetch(staged.fetcher, archive)
    assert result.reason is Reason.ARCHIVE_UNAVAILABLE
    there = staged.area.part_bytes(archive.staged_name)
    assert there == result.bytes_there == 300_000 // BLOCK_BYTES * BLOCK_BYTES
    (result,) = fetch(staged.fetcher, archive)
    assert (result.is_whole, result.bytes_now) == (True, SIZE - there)
    staged.assert_holds_only(archive)


def test_one_that_ends_early_is_truncated_and_goes_on(
    http_server: HttpServer, staged: Staged, archive: RemoteArchive
) -> None:
    http_server.faults["/a.zip"] = [WrongLength(-1000)]
    (result,) = fetch(staged.fetcher, archive)
    assert (result.reason, result.bytes_there) == (Reason.ARCHIVE_TRUNCATED, SIZE - 1000)
    assert f"{SIZE - 1000:,} bytes arrived, announced were {SIZE:,}" in result.message
    assert fetch(staged.fetcher, archive)[-1].is_whole
    staged.assert_holds_only(archive)


def test_one_that_is_longer_than_announced_is_thrown_away(staged: Staged, archive: RemoteArchive) -> None:
    (result,) = fetch(staged.fetcher, replace(archive, bytes=SIZE - 1))
    assert (result.reason, result.bytes_there) == (Reason.ARCHIVE_CHANGED, 0)
    staged.assert_is_empty()


def test_one_of_unknown_size_is_taken_as_it_comes(staged: Staged, archive: RemoteArchive) -> None:
    (result,) = fetch(staged.fetcher, unknown := replace(archive, bytes=None, sha256=""))
    assert result.is_whole
    staged.assert_holds_only(unknown)


def test_a_web_page_is_no_zip(http_server: HttpServer, staged: Staged, archive: RemoteArchive) -> None:
    http_server.faults["/a.zip"] = [PAGE]
    (result,) = fetch(staged.fetcher, replace(archive, tag=""))
    assert result.reason is Reason.ARCHIVE_NOT_ZIP
    assert "<!DOCTYPE" in result.message
    staged.assert_is_empty()
