"""Directories of archives from servers without ranges: kept, small, and enough to plan with."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from etl.core.rejects import Reason
from etl.io.places import BlobRefused
from etl.io.retries import default_settings
from etl.release.archives import index_archives
from etl.release.sources import ArchiveEntry
from etl.staging.directories import DirectoryFetcher, EndFile, open_kept_end
from etl.staging.fetch import RemoteArchive
from tests.support.fetching import Staged, archive_bytes, looked_at
from tests.support.http_faults import PAGE, Cut, Fault, Stall, WrongLength, busy
from tests.support.servers import HttpServer

pytestmark = pytest.mark.usefixtures("impatient")

SLICES = range(1, 401)


def zipped(comment: bytes = b"") -> bytes:
    """An archive of slices that do not compress, about 800 kB."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.comment = comment
        for index in SLICES:
            content = np.random.default_rng(index).bytes(2000 + index)
            archive.writestr(f"Images_png/000001_01_01/{index:03d}.png", content)
    return data.getvalue()


CONTENT = zipped()


def serve(server: HttpServer, content: bytes = CONTENT, sha256: str = "") -> RemoteArchive:
    server.has_ranges = False
    archive = looked_at(server.put("/a.zip", content), sha256)
    assert not archive.has_ranges
    server.requests.clear()
    return archive


def indexed(archive: RemoteArchive, staged: Staged) -> list[tuple[int, ...]]:
    """Return the slices that a plan is made from, as `index_archives` finds them."""
    index = index_archives([ArchiveEntry(archive.url)], staged.root)
    assert index.unread == ()
    names = ("index", "offset", "end", "stored_bytes", "bytes", "crc32")
    return [tuple(int(row[name]) for name in names) for row in index.slices]


@pytest.mark.parametrize("comment", [b"", bytes(60_000)], ids=["plain", "long comment"])
def test_a_plan_from_what_is_kept_is_that_from_the_whole(
    http_server: HttpServer, staged: Staged, comment: bytes
) -> None:
    content = zipped(comment)
    archive = serve(http_server, content, hashlib.sha256(content).hexdigest())
    result = DirectoryFetcher(staged.root)(archive)
    assert (result.is_whole, result.is_directory, result.bytes_now) == (True, True, len(content))
    assert http_server.ranges("/a.zip") == [None]
    assert staged.area.names("") == [archive.directory_name]
    assert staged.area.part_names("") == []
    assert DirectoryFetcher.least_bytes < (staged.area.size(archive.directory_name) or 0) < len(content) / 3
    kept = indexed(archive, staged)
    http_server.has_ranges = True
    assert kept == indexed(archive, staged)
    assert len(kept) == len(SLICES)


def test_zip64_too(http_server: HttpServer, staged: Staged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50_000)
    content = zipped()
    assert b"PK\x06\x06" in content
    archive = serve(http_server, content)
    assert DirectoryFetcher(staged.root)(archive).is_whole
    assert [index for index, *_ in indexed(archive, staged)] == list(SLICES)


def test_what_is_kept_costs_no_second_pass(http_server: HttpServer, staged: Staged) -> None:
    archive = serve(http_server)
    DirectoryFetcher(staged.root)(archive)
    http_server.requests.clear()
    result = DirectoryFetcher(staged.root)(archive)
    assert (result.is_whole, result.bytes_there, result.bytes_now) == (True, len(CONTENT), 0)
    assert http_server.requests == []


def test_a_whole_archive_is_fetched_next_to_its_directory(http_server: HttpServer, staged: Staged) -> None:
    archive = serve(http_server)
    DirectoryFetcher(staged.root)(archive)
    assert staged.fetcher(archive).is_whole
    assert staged.content(archive) == CONTENT
    assert staged.area.names("") == sorted([archive.directory_name, archive.staged_name])


def test_another_state_takes_the_place_of_the_old_one(http_server: HttpServer, staged: Staged) -> None:
    old = serve(http_server)
    DirectoryFetcher(staged.root)(old)
    new = serve(http_server, zipped(b"changed"))
    assert open_kept_end(staged.area, new) is None
    assert DirectoryFetcher(staged.root)(new).is_whole
    assert staged.area.names("") == [new.directory_name]


@pytest.mark.usefixtures("short_stalls")
@pytest.mark.parametrize("fault", [Cut(300_000), Stall(300_000), busy(), WrongLength(99)])
def test_a_passing_fault_leaves_no_trace(http_server: HttpServer, folder: Staged, fault: Fault) -> None:
    archive = serve(http_server, sha256=hashlib.sha256(CONTENT).hexdigest())
    http_server.faults["/a.zip"] = [fault]
    assert DirectoryFetcher(folder.root)(archive).is_whole
    assert [index for index, *_ in indexed(archive, folder)] == list(SLICES)


@pytest.mark.parametrize(
    ("content", "fault", "reason", "message"),
    [
        (CONTENT, busy(), Reason.ARCHIVE_UNAVAILABLE, "503"),
        (CONTENT, PAGE, Reason.ARCHIVE_UNAVAILABLE, "a web page came instead"),
        (CONTENT, WrongLength(-1000), Reason.ARCHIVE_TRUNCATED, "bytes arrived, announced were"),
        (archive_bytes(400_000), None, Reason.ARCHIVE_TRUNCATED, "without a readable directory"),
        (b"<html>" * 1000, None, Reason.ARCHIVE_NOT_ZIP, "begins with b'<html>"),
        (b"", None, Reason.ARCHIVE_NOT_ZIP, "is empty"),
    ],
    ids=["busy", "page", "cut short", "no directory", "no zip", "empty"],
)
def test_a_lasting_fault_is_a_reason_and_nothing_is_kept(
    http_server: HttpServer,
    staged: Staged,
    content: bytes,
    fault: Fault | None,
    reason: Reason,
    message: str,
) -> None:
    archive = serve(http_server, content)
    http_server.chance = lambda request: fault
    result = DirectoryFetcher(staged.root)(archive)
    assert (result.reason, result.is_whole, result.is_directory) == (reason, False, True)
    assert message in result.message
    assert "/a.zip" in result.message
    staged.assert_is_empty()


def test_a_wrong_checksum_is_a_reason(http_server: HttpServer, staged: Staged) -> None:
    result = DirectoryFetcher(staged.root)(serve(http_server, sha256="0" * 64))
    assert result.reason is Reason.ARCHIVE_CHECKSUM
    staged.assert_is_empty()


@pytest.mark.parametrize("most_bytes", [100_000, 10_000])
def test_no_more_than_the_bound_is_held(http_server: HttpServer, folder: Staged, most_bytes: int) -> None:
    """The directory takes about 35 kB: within a bound above it is found, below it the archive is refused."""
    archive = serve(http_server)
    small = replace(default_settings(), block_bytes=10_000)
    result = DirectoryFetcher(folder.root, most_bytes, least_bytes=0, settings=small)(archive)
    if most_bytes == 100_000:
        assert result.is_whole
        assert (folder.area.size(archive.directory_name) or 0) < 40_000
        assert [index for index, *_ in indexed(archive, folder)] == list(SLICES)
    else:
        assert result.reason is Reason.ARCHIVE_UNAVAILABLE
        assert "more than 10,000 bytes; remedy: keep_archives: true" in result.message
        folder.assert_is_empty()


def test_the_end_of_a_file_reads_as_the_file_does() -> None:
    data = bytes(range(256))
    end = EndFile(data[200:], len(data))
    for start, size in [(200, 56), (200, 1), (230, 100), (255, 1), (256, 5)]:
        end.seek(start)
        assert end.read(size) == data[start : start + size]
    end.seek(199)
    with pytest.raises(BlobRefused, match=r"byte 199 of 256 is not here, only those from 200"):
        end.read(1)


def test_size_is_not_known_before(http_server: HttpServer, folder: Staged) -> None:
    archive = replace(serve(http_server), bytes=None)
    result = DirectoryFetcher(folder.root)(archive)
    assert (result.is_whole, result.bytes_there) == (True, len(CONTENT))
    kept = open_kept_end(folder.area, archive)
    assert kept is not None
    assert kept.size == len(CONTENT)
