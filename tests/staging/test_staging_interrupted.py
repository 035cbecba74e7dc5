from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etl.io.local import LocalStaging
from etl.staging.fetch import Fetcher, RemoteArchive, archive_blocks
from tests.support.fetching import (
    BLOCK_BYTES,
    CONTENT,
    RANGES,
    SHA256,
    SIZE,
    Staged,
    fetch,
    serve_archive,
    start_fetching,
)
from tests.support.http_faults import Fault, Request, Stall, Trickle
from tests.support.processes import LIMIT_SECONDS, wait_until
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer
from tests.support.small_disks import mounted, remount

pytestmark = pytest.mark.usefixtures("impatient")


class TestTwoRuns:
    @pytest.mark.slow
    @pytest.mark.parametrize("sha256", [SHA256, ""])
    def test_one_that_is_late_finds_the_archive_whole(
        self, http_server: HttpServer, staged: Staged, sha256: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both have four blocks; one finishes while the other waits for its fifth."""
        archive = serve_archive(http_server, sha256=sha256)
        staged.fetcher(archive)
        began_late: list[int] = []

        def late(archive: RemoteArchive, there: int, *rest: Any) -> Iterator[bytes]:
            monkeypatch.setattr("etl.staging.fetch.archive_blocks", archive_blocks)
            blocks = archive_blocks(archive, there, *rest)
            fifth = next(blocks)
            assert fetch(staged.fetcher, archive)[-1].is_whole
            began_late.append(there)
            yield fifth
            yield from blocks

        monkeypatch.setattr("etl.staging.fetch.archive_blocks", late)
        result = staged.fetcher_of(100)(archive)
        assert began_late == [4 * BLOCK_BYTES]
        # A folder's part is missed at the next block, a bucket's when its blocks are to be read or joined.
        is_folder = isinstance(staged.area, LocalStaging)
        assert result.bytes_now == (0 if is_folder else SIZE - 4 * BLOCK_BYTES)
        assert (result.reason, result.is_whole, result.bytes_there) == (None, True, SIZE)
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)

    @pytest.mark.slow
    def test_two_processes_at_once_make_one_sound_file(self, http_server: HttpServer, staged: Staged) -> None:
        archive = serve_archive(http_server)

        def slowly_once_both_are_there(request: Request) -> Fault:
            requests = http_server.requests
            wait_until(lambda: len({one.connection for one in requests}) == 2, "both processes ask")
            return Trickle(BLOCK_BYTES // 3, 0.005)

        http_server.chance = slowly_once_both_are_there
        # Half a second in which this process has no core would be an outage for both.
        patient = replace(staged.fetcher.settings, stall_s=30.0, outage_s=60.0)
        processes = [start_fetching(Fetcher(staged.root, patient), archive) for _ in range(2)]
        for process in processes:
            process.join(LIMIT_SECONDS)
        assert [process.exitcode for process in processes] == [0, 0]
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)


class TestKilled:
    @pytest.mark.slow
    def test_at_any_moment_the_next_run_goes_on_after_the_last_whole_block(
        self, http_server: HttpServer, staged: Staged
    ) -> None:
        archive = serve_archive(http_server)
        for kill_at in (0, 1, 3, 8, 11):
            # The process is in the middle of a block when it is killed.
            done = staged.area.part_bytes(archive.staged_name) // BLOCK_BYTES
            http_server.requests.clear()
            http_server.faults["/a.zip"] = [*[None] * (kill_at - done), Stall(1000)]
            process = start_fetching(staged.fetcher, archive)
            wait_until(lambda: RANGES[kill_at] in http_server.ranges("/a.zip"), "it asks for the range")  # noqa: B023
            process.kill()
            process.join(LIMIT_SECONDS)
            assert http_server.ranges("/a.zip") == RANGES[done : kill_at + 1]
            assert staged.area.names("") == []
        http_server.requests.clear()
        assert fetch(staged.fetcher, archive)[-1].is_whole
        assert http_server.ranges("/a.zip") == RANGES[11:]
        staged.assert_holds_only(archive)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(3))
    def test_at_random_moments_what_is_there_is_always_right(
        self, http_server: HttpServer, folder: Staged, seed: int
    ) -> None:
        archive = serve_archive(http_server)
        http_server.chance = lambda request: Trickle(1000, 0.0002)
        enough = random.Random(seed).randrange(SIZE)
        process = start_fetching(folder.fetcher, archive)
        wait_until(lambda: sum(request.sent for request in http_server.requests) > enough, "a part came")
        process.kill()
        process.join(LIMIT_SECONDS)
        there = folder.area.part_bytes(archive.staged_name)
        if process.exitcode != 0:
            assert b"".join(folder.area.read_part(archive.staged_name) if there else []) == CONTENT[:there]
        assert fetch(folder.fetcher, archive)[-1].is_whole
        folder.assert_holds_only(archive)

    def test_with_all_blocks_there_nothing_is_asked_for(
        self, http_server: HttpServer, staged: Staged
    ) -> None:
        archive = serve_archive(http_server)
        for start, end in RANGES:
            staged.area.append(archive.staged_name, start, CONTENT[start:end])
        (result,) = fetch(staged.fetcher, archive)
        assert (result.is_whole, result.bytes_there, result.bytes_now) == (True, SIZE, 0)
        assert http_server.requests == []
        staged.assert_holds_only(archive)

    def test_between_joining_and_clearing_up_the_next_run_clears_up(
        self, http_server: HttpServer, staged: Staged
    ) -> None:
        archive = serve_archive(http_server)
        fetch(staged.fetcher, archive)
        staged.area.append(archive.staged_name, 0, CONTENT[:BLOCK_BYTES])
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)


def test_a_file_of_another_size_under_the_name_is_fetched_again(
    http_server: HttpServer, folder: Staged
) -> None:
    archive = serve_archive(http_server)
    fetch(folder.fetcher, archive)
    os.truncate(folder.area.url(archive.staged_name), 1000)
    assert fetch(folder.fetcher, archive)[-1].is_whole
    folder.assert_holds_only(archive)


class TestNoRoom:
    """A fault of the staging area is an OSError and no reject, and a later run continues."""

    @pytest.mark.slow
    def test_a_write_that_is_refused_stops_the_fetcher(self, http_server: HttpServer, folder: Staged) -> None:
        archive = serve_archive(http_server)
        process = start_fetching(folder.fetcher, archive, largest_file_bytes=5 * BLOCK_BYTES + 100)
        process.join(LIMIT_SECONDS)
        assert process.exitcode == 28
        assert folder.area.part_bytes(archive.staged_name) == 5 * BLOCK_BYTES + 100
        assert folder.area.names("") == []
        assert fetch(folder.fetcher, archive)[-1].is_whole
        folder.assert_holds_only(archive)

    def test_a_full_disk_stops_the_fetcher(self, http_server: HttpServer, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        with mounted(disk, "256k"):
            staged, archive = Staged(str(disk)), serve_archive(http_server)
            with pytest.raises(OSError, match="No space left on device") as caught:
                fetch(staged.fetcher, archive)
            assert caught.value.errno == errno.ENOSPC
            assert staged.area.names("") == []
            remount(disk, "size=4m")
            http_server.requests.clear()
            assert fetch(staged.fetcher, archive)[-1].is_whole
            first = http_server.ranges("/a.zip")[0]
            assert first is not None
            assert first[0] >= 2 * BLOCK_BYTES
            staged.assert_holds_only(archive)

    def test_a_bucket_that_is_gone_is_an_oserror(self, http_server: HttpServer, s3_bucket: Bucket) -> None:
        archive = serve_archive(http_server)
        with pytest.raises(OSError, match="bucket"):
            Fetcher(f"{s3_bucket.url}-missing/staging")(archive)
