from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from etl.core.rejects import Reason
from etl.io.retries import default_settings
from etl.staging.fetch import Fetcher, RemoteArchive, remote_archive
from tests.support.fetching import (
    BLOCK_BYTES,
    CONTENT,
    RANGES,
    SHA256,
    SIZE,
    Staged,
    archive_bytes,
    fetch,
    looked_at,
    serve_archive,
)
from tests.support.http_faults import (
    PAGE,
    Answer,
    Change,
    Cut,
    Fault,
    NoRange,
    Stall,
    WrongLength,
    busy,
    seeded_faults,
)
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer

pytestmark = pytest.mark.usefixtures("impatient")


class TestNames:
    archive = RemoteArchive("https://host/x/Images_png_01.zip", "Images_png_01.zip", 5, "", '"tag"')

    def test_a_name_says_which_archive_it_is(self) -> None:
        name = self.archive.staged_name
        assert name.startswith("Images_png_01.")
        assert name.startswith(self.archive.staged_prefix)
        assert name.endswith(".zip")
        assert "/" not in name
        assert replace(self.archive, name="x/Images_png_01.zip").staged_name == name

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
    def test_a_link_that_is_signed_again_names_the_same_file(self, url: str) -> None:
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
    content = archive_bytes(default_settings().block_bytes + 1000)
    archive = looked_at(http_server.put("/a.zip", content), hashlib.sha256(content).hexdigest())
    staged = Staged(f"{s3_bucket.url}/staging")
    (result,) = fetch(Fetcher(staged.root), archive)
    assert result.is_whole
    staged.assert_holds_only(archive, content)


def test_no_archive_has_more_blocks_than_a_bucket_joins(http_server: HttpServer, folder: Staged) -> None:
    archive = looked_at(http_server.put("/a.zip", archive_bytes(35_000)))
    tiny = replace(default_settings(), block_bytes=1, blocks_a_task=1)
    assert Fetcher(folder.root, tiny)(archive).bytes_now == 4


@pytest.mark.usefixtures("short_stalls")
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


@pytest.mark.parametrize("fault", [PAGE, NoRange()], ids=["a web page", "ranges ignored"])
def test_one_answer_that_is_no_part_costs_the_archive_for_this_run_only(
    http_server: HttpServer, staged: Staged, fault: Fault
) -> None:
    archive = serve_archive(http_server, *[None] * 5, fault)
    last = fetch(staged.fetcher, archive)[-1]
    assert (last.reason, last.bytes_there) == (Reason.ARCHIVE_UNAVAILABLE, 5 * BLOCK_BYTES)
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


@pytest.mark.slow
def test_a_spoilt_part_is_thrown_away_and_the_next_run_fetches_it_again(
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
    else:  # all bytes arrived; only the checksum shows it
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


class TestChangedSource:
    other = archive_bytes(7 * BLOCK_BYTES, seed=2)

    def test_a_change_on_the_way_is_a_reason(self, http_server: HttpServer, staged: Staged) -> None:
        archive = serve_archive(http_server, *[None] * 5, Change(self.other))
        last = fetch(staged.fetcher, archive)[-1]
        assert (last.reason, last.bytes_there) == (Reason.ARCHIVE_CHANGED, 5 * BLOCK_BYTES)
        assert "changed since it was looked at" in last.message
        assert "secret" not in last.message

    @pytest.mark.slow
    def test_the_new_state_is_fetched_again_and_the_old_one_goes(
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


def test_what_travels_to_workers_travels(http_server: HttpServer, folder: Staged) -> None:
    archive = serve_archive(http_server)
    fetcher, archive = pickle.loads(pickle.dumps((folder.fetcher, archive)))
    result = fetcher(archive)
    assert pickle.loads(pickle.dumps(result)) == result
