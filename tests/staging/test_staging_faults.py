"""Staging in a bucket whose requests fail: what passes leaves no trace, and nothing hangs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from etl.io.buckets import BucketStaging, WriteSettings
from etl.io.places import PartGoneError
from tests.support.faulty_s3 import PASSING, FaultyS3, S3Fault, S3Request, seeded, serve_faulty_s3
from tests.support.fetching import CONTENT, SIZE, Staged, fetch, serve_archive
from tests.support.s3_server import Bucket, use_s3
from tests.support.servers import HttpServer
from tests.support.transfers import transfers_changed

pytestmark = pytest.mark.usefixtures("impatient")
HALF = len(CONTENT) // 2


@pytest.fixture
def faulty(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The bucket behind a server with faults; it joins parts of any size."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.3)
    with serve_faulty_s3() as server:
        server.hang_seconds = 0.6
        use_s3(monkeypatch, server.url)
        yield server


@pytest.fixture
def area(faulty: FaultyS3, s3_bucket: Bucket) -> BucketStaging:
    return BucketStaging(f"{s3_bucket.url}/staging")


def stage(area: BucketStaging) -> None:
    """All that is done with an archive."""
    area.append("a.zip", 0, CONTENT[:HALF])
    assert area.part_bytes("a.zip") == HALF
    area.append("a.zip", HALF, CONTENT[HALF:])
    assert b"".join(area.read_part("a.zip")) == CONTENT
    area.finish("a.zip", SIZE)
    assert area.size("a.zip") == SIZE
    assert (area.names(""), area.part_names("")) == (["a.zip"], [])


def is_join(request: S3Request) -> bool:
    return request.method in ("POST", "PUT") and "upload" in request.query.lower()


def test_a_server_that_takes_no_body_is_not_waited_for(s3_bucket: Bucket, faulty: FaultyS3) -> None:
    area = BucketStaging(f"{s3_bucket.url}/staging", WriteSettings(least_s=1.0))
    faulty.hang_seconds, faulty.deaf_to = 20.0, 1
    area.append("a.zip", 0, b"first")
    assert faulty.deaf_to == 0
    assert b"".join(area.read_part("a.zip")) == b"first"


def test_a_server_that_never_takes_a_body_fails_in_the_end(s3_bucket: Bucket, faulty: FaultyS3) -> None:
    area = BucketStaging(f"{s3_bucket.url}/staging", WriteSettings(least_s=1.0))
    faulty.hang_seconds, faulty.deaf_to = 5.0, 1000
    with (
        transfers_changed(attempts=2),
        pytest.raises(OSError, match=r"s3://test-bucket-\d+/staging: FSTimeoutError"),
    ):
        area.append("a.zip", 0, b"first")
    assert faulty.deaf_to < 1000


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[pytest.mark.campaign] * (fault in (S3Fault.TIMEOUT, S3Fault.LATE_REPLY)))
        for fault in PASSING
    ],
    ids=lambda fault: fault.name,
)
def test_each_request_may_fail_once(fault: S3Fault, area: BucketStaging, faulty: FaultyS3) -> None:
    """Every request of a sort fails at first: each write, listing, copy, and the end of the joining."""
    failed: set[tuple[str, str, str]] = set()

    def choose(request: S3Request) -> S3Fault | None:
        # Each upload has an id of its own.
        sort = (request.method, request.path, request.query.partition("uploadId")[0])
        if sort in failed:
            return None
        failed.add(sort)
        return fault

    faulty.choose = choose
    stage(area)
    assert len(faulty.faults) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("fault", [S3Fault.LOST_REPLY, S3Fault.LATE_REPLY, S3Fault.INTERNAL, S3Fault.RESET])
def test_the_end_of_the_joining_may_fail(fault: S3Fault, area: BucketStaging, faulty: FaultyS3) -> None:
    """The requests that begin and end an upload in parts are POST; the second is its end."""
    area.append("a.zip", 0, CONTENT[:HALF])
    area.append("a.zip", HALF, CONTENT[HALF:])
    posts = itertools.count()
    faulty.choose = lambda request: (
        fault if request.method == "POST" and is_join(request) and next(posts) == 1 else None
    )
    area.finish("a.zip", SIZE)
    assert faulty.faults == [fault]
    faulty.choose = lambda request: None
    assert area.size("a.zip") == SIZE
    assert area.part_names("") == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_any_mix_of_them_leaves_no_trace(
    seed: int, http_server: HttpServer, area: BucketStaging, faulty: FaultyS3
) -> None:
    archive, staged = serve_archive(http_server), Staged(area.root)
    faulty.choose = seeded(seed, 0.2)
    assert fetch(staged.fetcher, archive)[-1].is_whole
    assert faulty.faults
    faulty.choose = lambda request: None
    staged.assert_holds_only(archive)


def test_what_another_run_finished_meanwhile_is_gone(
    area: BucketStaging, faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins and clears up while this run's copies are under way."""
    # The other run works inside one request of this one, which must not time out and be sent again meanwhile.
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 60)
    area.append("a.zip", 0, CONTENT[:HALF])
    area.append("a.zip", HALF, CONTENT[HALF:])
    other = iter([lambda: area.finish("a.zip", SIZE)])

    def choose(request: S3Request) -> None:
        if request.method == "POST" and is_join(request):
            next(other, lambda: None)()

    faulty.choose = choose
    with pytest.raises(PartGoneError):
        area.finish("a.zip", SIZE)
    assert area.size("a.zip") == SIZE


def test_what_does_not_pass_is_raised_at_once(
    area: BucketStaging, faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 60)
    faulty.choose = lambda request: S3Fault.FORBIDDEN
    with pytest.raises(PermissionError):
        area.append("a.zip", 0, b"first")
    assert len(faulty.requests) == 1
