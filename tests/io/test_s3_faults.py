"""Objects in buckets: one request a look and one a read, and what goes wrong on the way.

The server is an S3-compatible one, whose answers are spoilt where a test wants it.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from etl.io.bucket_blobs import S3Blob
from etl.io.places import BlobChanged, BlobRefused
from tests.support.faulty_s3 import FaultyS3, S3Request, at_object, serve_faulty_s3
from tests.support.http_faults import PAGE, Answer, Cut, Fault, NoRange, Stall, WrongLength, busy
from tests.support.processes import LIMIT_SECONDS, ROOT
from tests.support.s3_server import Bucket, use_s3
from tests.support.transfers import IMPATIENT, USUAL

CONTENT = b"PK\x03\x04" + random.Random(1).randbytes(600_000)
OTHER = b"PK\x03\x04" + random.Random(2).randbytes(600_000)
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def faulty(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, impatient: None) -> Iterator[FaultyS3]:
    """The bucket behind a server with faults."""
    s3_bucket.put("a.zip", CONTENT)
    with serve_faulty_s3() as server:
        use_s3(monkeypatch, server.url)
        yield server


@pytest.fixture
def short_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver waits half a second for bytes. Only where something stalls: so does a slow machine."""
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.5)


@pytest.fixture
def blob(s3_bucket: Bucket) -> S3Blob:
    return S3Blob(f"{s3_bucket.url}/a.zip")


@pytest.fixture
def path(s3_bucket: Bucket) -> str:
    return f"/{s3_bucket.name}/a.zip"


def test_a_look_and_a_read_are_one_request_each(faulty: FaultyS3, blob: S3Blob, path: str) -> None:
    tag = blob.info().tag
    assert blob.read(100, 500_000, tag) == CONTENT[100:500_000]
    assert faulty.ranges(path) == [(0, 4), (100, 500_000)]
    assert len(faulty.requests) == 2
    assert faulty.requests[1].if_match == tag


def test_a_cut_body_goes_on_from_where_it_stopped(faulty: FaultyS3, blob: S3Blob, path: str) -> None:
    faulty.choose = at_object(path, Cut(100_000), busy(500), Cut(0), Cut(200_000))
    assert blob.read(0, SIZE) == CONTENT
    starts = [asked[0] for asked in faulty.ranges(path) if asked]
    assert starts == [0, 100_000, 100_000, 100_000, 300_000]


@pytest.mark.slow
def test_a_reset_goes_on_from_where_it_stopped(faulty: FaultyS3, blob: S3Blob, path: str) -> None:
    faulty.choose = at_object(path, Cut(100_000, is_reset=True))
    assert blob.read(0, SIZE) == CONTENT
    assert len(faulty.ranges(path)) == 2


def test_a_change_on_the_way_is_noticed(faulty: FaultyS3, blob: S3Blob, path: str, s3_bucket: Bucket) -> None:
    cut = at_object(path, Cut(100_000))

    def choose(request: S3Request) -> Fault | None:
        fault = cut(request)
        if fault is None and request.method == "GET":
            s3_bucket.put("a.zip", OTHER)
        return fault

    faulty.choose = choose
    with pytest.raises(BlobChanged):
        blob.read(0, SIZE)


def test_a_server_that_stays_busy_fails_in_the_end(faulty: FaultyS3, blob: S3Blob) -> None:
    faulty.choose = lambda request: busy(503)
    with pytest.raises(ConnectionError, match=r"/a\.zip: .*Service Unavailable"):
        blob.info()
    assert len(faulty.requests) == USUAL.attempts


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_refusal_is_not_tried_again(faulty: FaultyS3, blob: S3Blob, status: int) -> None:
    faulty.choose = lambda request: Answer(status)
    with pytest.raises(BlobRefused, match=r"s3://.*/a\.zip"):
        blob.read(0, 10)
    assert len(faulty.requests) == 1


def test_nobody_listens(blob: S3Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        use_s3(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConnectionError, match=r"/a\.zip: EndpointConnectionError"):
            blob.info()


def test_without_credentials_it_is_refused(blob: S3Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BlobRefused, match=r"credentials.*`Other buckets` in docs/operations\.md"):
        blob.info()


@pytest.mark.slow
def test_public_and_requester_pays_buckets_are_named_in_the_environment(
    blob: S3Blob, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsspec reads these variables when it is imported, so they need a process of their own."""
    s3_bucket.client.put_object_acl(Bucket=s3_bucket.name, Key="a.zip", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("FSSPEC_S3_ANON", "true")
    monkeypatch.setenv("FSSPEC_S3_REQUESTER_PAYS", "true")
    script = (
        "import sys; from etl.io.drivers import s3_driver; from etl.io.opening import open_blob\n"
        "assert open_blob(sys.argv[1]).read(0, 4) == b'PK\\x03\\x04'\n"
        "assert s3_driver().req_kw == {'RequestPayer': 'requester'}"
    )
    subprocess.run([sys.executable, "-c", script, blob.url], check=True, timeout=LIMIT_SECONDS)
    text = (ROOT / "docs" / "operations.md").read_text()
    for words in ("## Other buckets", "FSSPEC_S3_ANON", "FSSPEC_S3_REQUESTER_PAYS", "AWS_ENDPOINT_URL"):
        assert words in text


@pytest.mark.usefixtures("short_stalls")
def test_a_stalled_body_goes_on_from_where_it_stopped(faulty: FaultyS3, blob: S3Blob, path: str) -> None:
    faulty.choose = at_object(path, Stall(), Stall(100_000))
    assert blob.read(0, SIZE) == CONTENT
    starts = [asked[0] for asked in faulty.ranges(path) if asked]
    assert starts == [0, 0, 100_000]


@pytest.mark.slow
@pytest.mark.usefixtures("short_stalls")
def test_a_bucket_that_stalls_for_ever_fails_in_the_end(faulty: FaultyS3, blob: S3Blob) -> None:
    faulty.choose = lambda request: Stall()
    with pytest.raises(ConnectionError, match=r"s3://.*/a\.zip: "):
        blob.info()
    assert len(faulty.requests) == USUAL.attempts


@pytest.mark.parametrize("by", [1000, -1000])
def test_a_wrong_content_length_does_no_harm(faulty: FaultyS3, blob: S3Blob, path: str, by: int) -> None:
    faulty.choose = at_object(path, WrongLength(by))
    assert blob.read(1000, SIZE - 1000) == CONTENT[1000:-1000]
    # All that was asked for has come before the connection ends too early.
    assert len(faulty.requests) == (1 if by > 0 else 2)


@pytest.mark.slow
@pytest.mark.parametrize("question", ["info", "read"])
@pytest.mark.parametrize("fault", [PAGE, NoRange()], ids=["a web page", "no ranges"])
def test_what_comes_whole_where_a_part_was_asked_for_is_refused(
    faulty: FaultyS3, blob: S3Blob, fault: Answer | NoRange, question: str
) -> None:
    faulty.choose = lambda request: fault
    with pytest.raises(BlobRefused, match=r"s3://.*/a\.zip: requested a range, .* came whole"):
        blob.info() if question == "info" else blob.read(10, 20)
    assert len(faulty.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded(
    faulty: FaultyS3, blob: S3Blob, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("etl.io.retries.sleep", waits.append)
    faulty.choose = at_object(path, busy(status, "7"), busy(status, "soon"), busy(status))
    assert blob.read(0, 10) == CONTENT[:10]
    assert waits[0] == 7
    assert max(waits[1:]) <= IMPATIENT.longest_wait_s < 7
