from __future__ import annotations

import errno
import hashlib
import os
import pickle
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from etl.rejects import Reason
from etl.release.blobs import open_blob
from etl.release.staging import BLOCK_BYTES as REAL_BLOCK_BYTES
from etl.release.staging import Fetcher, RemoteArchive, remote_archive
from etl.release.staging_areas import StagingArea, open_staging
from tests.release.fetching import (
    BLOCK_BYTES,
    archive_bytes,
    fetch,
    looked_at,
    start_fetching,
    wait_until,
)
from tests.servers import (
    PAGE,
    Answer,
    Bucket,
    Change,
    Cut,
    Fault,
    HttpServer,
    Stall,
    Trickle,
    WrongLength,
    busy,
    seeded_faults,
)

pytestmark = pytest.mark.usefixtures("impatient")

# 12 blocks, the last one shorter.
CONTENT = archive_bytes(11 * BLOCK_BYTES + 1234)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RANGES = [(at, min(at + BLOCK_BYTES, SIZE)) for at in range(0, SIZE, BLOCK_BYTES)]


@dataclass(frozen=True)
class Staged:
    """A staging area and what fetches into it."""

    root: str

    @property
    def fetcher(self) -> Fetcher:
        return Fetcher(self.root, BLOCK_BYTES, 4)

    @property
    def area(self) -> StagingArea:
        return open_staging(self.root)

    def content(self, archive: RemoteArchive) -> bytes:
        url = self.area.url(archive.staged_name)
        return open_blob(url).read(0, self.area.size(archive.staged_name) or 0)

    def assert_holds_only(self, archive: RemoteArchive, content: bytes = CONTENT) -> None:
        assert self.content(archive) == content
        assert self.area.names("") == [archive.staged_name]
        assert self.area.part_names("") == []

    def assert_is_empty(self) -> None:
        assert self.area.names("") == self.area.part_names("") == []


@pytest.fixture
def folder(tmp_path: Path) -> Staged:
    return Staged(str(tmp_path / "staging"))


@pytest.fixture(params=["folder", "bucket"])
def staged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Staged]:
    if request.param == "folder":
        yield request.getfixturevalue("folder")
    else:
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
        yield Staged(f"{bucket.url}/staging")


def serve_archive(server: HttpServer, *faults: Fault | None, sha256: str = SHA256) -> RemoteArchive:
    """Put the archive on the server, look at it, forget the look, and let the next requests fail."""
    archive = looked_at(server.put("/a.zip", CONTENT) + "?sig=secret", sha256)
    server.requests.clear()
    server.faults["/a.zip"] = list(faults)
    return archive


class TestNames:
    archive = RemoteArchive("https://host/x/Images_png_01.zip", "Images_png_01.zip", 5, "", '"tag"')

    def test_a_name_says_which_archive_it_is(self) -> None:
        name = self.archive.staged_name
        assert name.startswith("Images_png_01.")
        assert name.startswith(self.archive.staged_prefix)
        assert name.endswith(".zip")
        assert "/" not in name

    @pytest.mark.parametrize("change", [{"bytes": 6}, {"tag": '"other"'}, {"bytes": None}])
    def test_another_state_has_another_name_with_the_same_beginning(self, change: dict[str, object]) -> None:
        changed = replace(self.archive, **change)  # type: ignore[arg-type]
        assert changed.staged_name != self.archive.staged_name
        assert changed.staged_prefix == self.archive.staged_prefix

    @pytest.mark.parametrize(
        "url",
        [
            "https://host/x/Images_png_01.zip?X-Amz-Date=2&X-Amz-Signature=abc",
            "https://host/x/Images_png_01.zip?Expires=1&Signature=a%2Fb&Key-Pair-Id=K",
            "https://host/x/Images_png_01.zip?sv=2022&se=2026&sr=b&sp=r&sig=abc",
            "https://me:word@host/x/Images_png_01.zip",
        ],
    )
    def test_a_link_that_is_signed_anew_names_the_same_file(self, url: str) -> None:
        assert replace(self.archive, url=url).staged_name == self.archive.staged_name

    def test_links_that_differ_in_anything_else_are_other_archives(self) -> None:
        urls = ["https://host/get?id=1", "https://host/get?id=2", "https://host/get", "https://other/get"]
        archives = [remote_archive(url) for url in urls]
        assert {archive.name for archive in archives} == {"get"}
        assert len({archive.staged_prefix for archive in archives}) == 4


def test_an_archive_is_fetched_block_by_block_each_byte_once(http_server: HttpServer, staged: Staged) -> None:
    archive = serve_archive(http_server)
    results = fetch(staged.fetcher, archive)
    assert http_server.ranges("/a.zip") == RANGES
    assert sum(request.sent for request in http_server.requests) == SIZE
    assert [(result.bytes_there, result.bytes_now, result.is_whole) for result in results] == [
        (4 * BLOCK_BYTES, 4 * BLOCK_BYTES, False),
        (8 * BLOCK_BYTES, 4 * BLOCK_BYTES, False),
        (SIZE, SIZE - 8 * BLOCK_BYTES, True),
    ]
    assert {(result.archive, result.reason, result.message) for result in results} == {(archive, None, "")}
    staged.assert_holds_only(archive)


def test_a_staged_archive_costs_no_request(http_server: HttpServer, staged: Staged) -> None:
    archive = serve_archive(http_server)
    fetch(staged.fetcher, archive)
    http_server.requests.clear()
    (result,) = fetch(staged.fetcher, archive)
    assert (result.bytes_there, result.bytes_now, result.is_whole) == (SIZE, 0, True)
    assert http_server.requests == []


def test_nothing_has_the_name_before_it_is_whole(http_server: HttpServer, staged: Staged) -> None:
    archive = serve_archive(http_server)
    staged.fetcher(archive)
    assert staged.area.names("") == []
    assert staged.area.size(archive.staged_name) is None


def test_archives_come_from_buckets_and_disks_too(s3_bucket: Bucket, folder: Staged, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(CONTENT)
    for url in (s3_bucket.put("mirror/a.zip", CONTENT), str(tmp_path / "b.zip")):
        archive = looked_at(url, SHA256)
        assert fetch(folder.fetcher, archive)[-1].is_whole
        assert folder.content(archive) == CONTENT


def test_blocks_of_the_real_size_are_joined_by_a_real_bucket(
    http_server: HttpServer, s3_bucket: Bucket
) -> None:
    content = archive_bytes(REAL_BLOCK_BYTES + 1000)
    archive = looked_at(http_server.put("/a.zip", content), hashlib.sha256(content).hexdigest())
    staged = Staged(f"{s3_bucket.url}/staging")
    (result,) = fetch(Fetcher(staged.root), archive)
    assert result.is_whole
    staged.assert_holds_only(archive, content)


@pytest.mark.parametrize(
    "fault",
    [
        Cut(0),
        Cut(9000),
        Cut(9000, is_reset=True),
        Stall(9000),
        busy(500),
        busy(429, "0"),
        WrongLength(5),
        WrongLength(-5),
    ],
)
def test_a_passing_fault_leaves_no_trace(http_server: HttpServer, folder: Staged, fault: Fault) -> None:
    archive = serve_archive(http_server, None, fault, None, fault)
    results = fetch(folder.fetcher, archive)
    assert [result.reason for result in results] == [None] * 3
    folder.assert_holds_only(archive)


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_of_passing_faults_leaves_no_trace(
    http_server: HttpServer, staged: Staged, seed: int
) -> None:
    archive = serve_archive(http_server)
    http_server.chance = seeded_faults(
        seed, 0.6, [Cut(0), Cut(40_000), Cut(9, is_reset=True), busy(503), WrongLength(7), WrongLength(-7)]
    )
    assert fetch(staged.fetcher, archive)[-1].is_whole
    assert len(http_server.requests) > len(RANGES)  # some went wrong
    staged.assert_holds_only(archive)


@pytest.mark.parametrize(
    ("fault", "reason", "message"),
    [
        (busy(503), Reason.ARCHIVE_UNAVAILABLE, "the server answers 503"),
        (Cut(0), Reason.ARCHIVE_UNAVAILABLE, "IncompleteRead"),
        (Answer(404), Reason.ARCHIVE_UNAVAILABLE, "the server answers 404"),
        (PAGE, Reason.ARCHIVE_UNAVAILABLE, "a web page came instead"),
    ],
)
def test_a_lasting_fault_is_a_reason_and_the_next_run_goes_on(
    http_server: HttpServer, staged: Staged, fault: Fault, reason: Reason, message: str
) -> None:
    archive = serve_archive(http_server, *[None] * 5, *[fault] * 6)
    last = fetch(staged.fetcher, archive)[-1]
    assert (last.reason, last.is_whole, last.bytes_there) == (reason, False, 5 * BLOCK_BYTES)
    assert message in last.message
    assert "/a.zip" in last.message
    assert "secret" not in last.message
    assert staged.area.names("") == []
    http_server.faults.clear()
    http_server.requests.clear()
    assert fetch(staged.fetcher, archive)[-1].is_whole
    assert http_server.ranges("/a.zip") == RANGES[5:]
    staged.assert_holds_only(archive)


def test_a_wrong_checksum_is_refused_and_nothing_stays(http_server: HttpServer, staged: Staged) -> None:
    archive = serve_archive(http_server, sha256="0" * 64)
    last = fetch(staged.fetcher, archive)[-1]
    assert (last.reason, last.is_whole, last.bytes_there) == (Reason.ARCHIVE_CHECKSUM, False, 0)
    assert last.message.endswith(f"/a.zip: sha256 is {SHA256}, expected {'0' * 64}")
    staged.assert_is_empty()


def test_a_checksum_in_capitals_is_the_same(http_server: HttpServer, folder: Staged) -> None:
    assert fetch(folder.fetcher, serve_archive(http_server, sha256=SHA256.upper()))[-1].is_whole


def test_a_spoilt_part_is_thrown_away_and_the_next_run_fetches_it_anew(
    http_server: HttpServer, staged: Staged
) -> None:
    archive = serve_archive(http_server)
    staged.fetcher(archive)
    staged.area.append(archive.staged_name, 0, bytes(BLOCK_BYTES))
    assert fetch(staged.fetcher, archive)[-1].reason is Reason.ARCHIVE_CHECKSUM
    assert fetch(staged.fetcher, archive)[-1].is_whole
    staged.assert_holds_only(archive)


@pytest.mark.parametrize("announced", [SIZE - 1000, SIZE + 1000])
def test_another_size_than_announced_is_refused(
    http_server: HttpServer, folder: Staged, announced: int
) -> None:
    """Official sizes are known before anybody looks, so there is no tag."""
    archive = replace(serve_archive(http_server), bytes=announced, tag="")
    last = fetch(folder.fetcher, archive)[-1]
    if announced > SIZE:
        assert last.reason is Reason.ARCHIVE_CHANGED
        assert f"has {SIZE:,} bytes, expected at least {announced:,}" in last.message
    else:  # what was asked for has come; only the checksum tells
        assert last.reason is Reason.ARCHIVE_CHECKSUM
    assert folder.area.names("") == []


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>Log in.</p>" * 9999, b"\x1f\x8b" * 99_999])
def test_what_is_no_zip_is_noticed_at_its_first_block(
    http_server: HttpServer, staged: Staged, content: bytes
) -> None:
    archive = looked_at(http_server.put("/a.zip", content))
    (result,) = fetch(staged.fetcher, archive)
    assert result.reason is Reason.ARCHIVE_NOT_ZIP
    assert f"begins with {content[:16]!r}" in result.message
    assert len(http_server.requests) == 2
    staged.assert_is_empty()


def test_an_empty_archive_is_no_zip(http_server: HttpServer, staged: Staged) -> None:
    (result,) = fetch(staged.fetcher, looked_at(http_server.put("/a.zip", b"")))
    assert (result.reason, result.is_whole) == (Reason.ARCHIVE_NOT_ZIP, False)
    assert result.message.endswith("/a.zip is empty")
    staged.assert_is_empty()


class TestWithoutRanges:
    @pytest.fixture
    def archive(self, http_server: HttpServer) -> RemoteArchive:
        http_server.has_ranges = False
        archive = serve_archive(http_server)
        assert not archive.has_ranges
        return archive

    def test_it_comes_whole_in_one_request(
        self, http_server: HttpServer, staged: Staged, archive: RemoteArchive
    ) -> None:
        (result,) = fetch(staged.fetcher, archive)
        assert (result.is_whole, result.bytes_now) == (True, SIZE)
        assert http_server.ranges("/a.zip") == [None]
        staged.assert_holds_only(archive)

    @pytest.mark.parametrize("fault", [Cut(300_000), Stall(300_000), busy(), WrongLength(99)])
    def test_a_passing_fault_leaves_no_trace(
        self, http_server: HttpServer, folder: Staged, archive: RemoteArchive, fault: Fault
    ) -> None:
        http_server.faults["/a.zip"] = [fault]
        assert fetch(folder.fetcher, archive)[-1].is_whole
        folder.assert_holds_only(archive)

    def test_the_next_run_passes_over_what_is_there(
        self, http_server: HttpServer, staged: Staged, archive: RemoteArchive
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
        self, http_server: HttpServer, staged: Staged, archive: RemoteArchive
    ) -> None:
        http_server.faults["/a.zip"] = [WrongLength(-1000)]
        (result,) = fetch(staged.fetcher, archive)
        assert (result.reason, result.bytes_there) == (Reason.ARCHIVE_TRUNCATED, SIZE - 1000)
        assert f"{SIZE - 1000:,} bytes arrived, announced were {SIZE:,}" in result.message
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)

    def test_one_that_is_longer_than_announced_is_thrown_away(
        self, staged: Staged, archive: RemoteArchive
    ) -> None:
        (result,) = fetch(staged.fetcher, replace(archive, bytes=SIZE - 1))
        assert (result.reason, result.bytes_there) == (Reason.ARCHIVE_CHANGED, 0)
        staged.assert_is_empty()

    def test_one_of_unknown_size_is_taken_as_it_comes(self, staged: Staged, archive: RemoteArchive) -> None:
        (result,) = fetch(staged.fetcher, unknown := replace(archive, bytes=None, sha256=""))
        assert result.is_whole
        staged.assert_holds_only(unknown)

    def test_a_web_page_is_no_zip(
        self, http_server: HttpServer, staged: Staged, archive: RemoteArchive
    ) -> None:
        http_server.faults["/a.zip"] = [PAGE]
        (result,) = fetch(staged.fetcher, replace(archive, tag=""))
        assert result.reason is Reason.ARCHIVE_NOT_ZIP
        assert "<!DOCTYPE" in result.message
        staged.assert_is_empty()


class TestChangedSource:
    other = archive_bytes(7 * BLOCK_BYTES, seed=2)

    def test_a_change_on_the_way_is_a_reason(self, http_server: HttpServer, staged: Staged) -> None:
        archive = serve_archive(http_server, *[None] * 5, Change(self.other))
        last = fetch(staged.fetcher, archive)[-1]
        assert (last.reason, last.bytes_there) == (Reason.ARCHIVE_CHANGED, 5 * BLOCK_BYTES)
        assert "changed since it was looked at" in last.message
        assert "secret" not in last.message

    def test_the_new_state_is_fetched_anew_and_the_old_one_goes(
        self, http_server: HttpServer, staged: Staged
    ) -> None:
        old = serve_archive(http_server)
        fetch(staged.fetcher, old)
        half = replace(old, tag='"a state that was never finished"')
        staged.area.append(half.staged_name, 0, CONTENT[:BLOCK_BYTES])
        neighbour = looked_at(http_server.put("/a2.zip", self.other))
        fetch(staged.fetcher, neighbour)

        new = looked_at(http_server.put("/a.zip", self.other) + "?sig=another")
        assert new.staged_name != old.staged_name
        http_server.requests.clear()
        assert fetch(staged.fetcher, new)[-1].is_whole
        assert len(http_server.requests) == 7
        assert staged.area.names("") == sorted([new.staged_name, neighbour.staged_name])
        assert staged.area.part_names("") == []
        assert staged.content(new) == self.other


class TestTwoRuns:
    def test_one_that_is_late_finds_the_archive_whole(self, http_server: HttpServer, staged: Staged) -> None:
        """Both begin; one finishes between two blocks of the other."""
        archive = serve_archive(http_server)
        staged.fetcher(archive)
        blocks = staged.fetcher._blocks(archive, 4 * BLOCK_BYTES)
        late = next(blocks)
        assert fetch(staged.fetcher, archive)[-1].is_whole

        class Late(Fetcher):
            def _blocks(self, archive: RemoteArchive, there: int) -> Iterator[bytes]:
                yield late

        # What it saw before: no file, four blocks.
        area = staged.area
        area.remove(archive.staged_name)
        for at in range(0, 4 * BLOCK_BYTES, BLOCK_BYTES):
            area.append(archive.staged_name, at, CONTENT[at : at + BLOCK_BYTES])

        class Racing(Late):
            def _blocks(self, archive: RemoteArchive, there: int) -> Iterator[bytes]:
                assert fetch(staged.fetcher, archive)[-1].is_whole  # the other run, meanwhile
                yield late
                yield from staged.fetcher._blocks(archive, there + BLOCK_BYTES)

        result = Racing(staged.root, BLOCK_BYTES, 8)(archive)
        assert (result.reason, result.is_whole, result.bytes_there) == (None, True, SIZE)
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)

    def test_two_processes_at_once_make_one_sound_file(self, http_server: HttpServer, staged: Staged) -> None:
        archive = serve_archive(http_server)
        http_server.chance = seeded_faults(1, 0.5, [Trickle(BLOCK_BYTES // 3, 0.01)])
        processes = [start_fetching(staged.fetcher, archive) for _ in range(2)]
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        assert len({request.connection for request in http_server.requests}) >= 2
        assert fetch(staged.fetcher, archive)[-1].is_whole
        staged.assert_holds_only(archive)


class TestKilled:
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
            wait_until(lambda: RANGES[kill_at] in http_server.ranges("/a.zip"))  # noqa: B023
            process.kill()
            process.join(60)
            assert http_server.ranges("/a.zip") == RANGES[done : kill_at + 1]
            assert staged.area.names("") == []
        http_server.requests.clear()
        assert fetch(staged.fetcher, archive)[-1].is_whole
        assert http_server.ranges("/a.zip") == RANGES[11:]
        staged.assert_holds_only(archive)

    @pytest.mark.parametrize("seed", range(3))
    def test_at_random_moments_what_is_there_is_always_right(
        self, http_server: HttpServer, folder: Staged, seed: int
    ) -> None:
        archive = serve_archive(http_server)
        http_server.chance = lambda request: Trickle(1000, 0.0002)
        dice = random.Random(seed)
        process = start_fetching(folder.fetcher, archive)
        wait_until(lambda: sum(request.sent for request in http_server.requests) > dice.randrange(SIZE))
        process.kill()
        process.join(60)
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


def test_a_file_of_another_size_under_the_name_is_fetched_anew(
    http_server: HttpServer, folder: Staged
) -> None:
    archive = serve_archive(http_server)
    fetch(folder.fetcher, archive)
    os.truncate(folder.area.url(archive.staged_name), 1000)
    assert fetch(folder.fetcher, archive)[-1].is_whole
    folder.assert_holds_only(archive)


class TestNoRoom:
    """What the staging area does wrong is nobody's reason: it passes as OSError, and the run can go on later."""

    def test_a_write_that_is_refused_stops_the_fetcher(self, http_server: HttpServer, folder: Staged) -> None:
        archive = serve_archive(http_server)
        process = start_fetching(folder.fetcher, archive, largest_file_bytes=5 * BLOCK_BYTES + 100)
        process.join(60)
        assert process.exitcode == 28
        assert folder.area.part_bytes(archive.staged_name) == 5 * BLOCK_BYTES + 100
        assert folder.area.names("") == []
        assert fetch(folder.fetcher, archive)[-1].is_whole
        folder.assert_holds_only(archive)

    def test_a_full_disk_stops_the_fetcher(self, http_server: HttpServer, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("needs to mount a small file system, which this user may not")
        try:
            staged, archive = Staged(str(disk)), serve_archive(http_server)
            with pytest.raises(OSError, match="No space left on device") as caught:
                fetch(staged.fetcher, archive)
            assert caught.value.errno == errno.ENOSPC
            assert staged.area.names("") == []
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            http_server.requests.clear()
            assert fetch(staged.fetcher, archive)[-1].is_whole
            first = http_server.ranges("/a.zip")[0]
            assert first is not None
            assert first[0] >= 2 * BLOCK_BYTES
            staged.assert_holds_only(archive)
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_a_bucket_that_is_gone_is_an_oserror(self, http_server: HttpServer, s3_bucket: Bucket) -> None:
        archive = serve_archive(http_server)
        with pytest.raises(OSError, match="bucket"):
            Fetcher(f"{s3_bucket.url}-missing/staging", BLOCK_BYTES)(archive)


def test_what_travels_to_workers_travels(http_server: HttpServer, folder: Staged) -> None:
    archive = serve_archive(http_server)
    fetcher, archive = pickle.loads(pickle.dumps((folder.fetcher, archive)))
    result = fetcher(archive)
    assert pickle.loads(pickle.dumps(result)) == result
