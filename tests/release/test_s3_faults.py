"""Objects in buckets: one request a look and one a read, and what goes wrong on the way.

The HTTP server speaks enough S3 for GetObject, counts requests and can fail.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import fsspec
import pytest
import s3fs

from etl import retries
from etl.release.blobs import BlobChanged, BlobRefused
from etl.release.buckets import S3Blob
from tests.http_faults import PAGE, Answer, Change, Cut, NoRange, Stall, WrongLength, busy
from tests.s3_server import use_s3
from tests.servers import HttpServer

CONTENT = b"PK\x03\x04" + random.Random(1).randbytes(600_000)
OTHER = b"PK\x03\x04" + random.Random(2).randbytes(600_000)
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def endpoint(http_server: HttpServer, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    use_s3(monkeypatch, http_server.url)
    # The drivers wait between their own attempts: leave it to ours.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    http_server.put("/bucket/a.zip", CONTENT)


@pytest.fixture
def blob() -> S3Blob:
    return S3Blob("s3://bucket/a.zip")


def test_a_look_and_a_read_are_one_request_each(http_server: HttpServer, blob: S3Blob) -> None:
    tag = blob.info().tag
    assert blob.read(100, 500_000, tag) == CONTENT[100:500_000]
    assert http_server.ranges("/bucket/a.zip") == [(0, 4), (100, 500_000)]
    assert http_server.requests[1].headers["If-Match"] == tag


def test_a_cut_body_goes_on_from_where_it_stopped(http_server: HttpServer, blob: S3Blob) -> None:
    http_server.faults["/bucket/a.zip"] = [Cut(100_000), busy(500), Cut(0), Cut(200_000)]
    assert blob.read(0, SIZE) == CONTENT
    starts = [asked[0] for asked in http_server.ranges("/bucket/a.zip") if asked]
    assert starts == [0, 100_000, 100_000, 100_000, 300_000]


def test_a_change_on_the_way_is_noticed(http_server: HttpServer, blob: S3Blob) -> None:
    http_server.faults["/bucket/a.zip"] = [Cut(100_000), Change(OTHER)]
    with pytest.raises(BlobChanged):
        blob.read(0, SIZE)


def test_a_server_that_stays_busy_is_given_up(http_server: HttpServer, blob: S3Blob) -> None:
    http_server.faults["/bucket/a.zip"] = [busy(503)] * 50
    with pytest.raises(ConnectionError, match=r"s3://bucket/a\.zip: .*Service Unavailable"):
        blob.info()
    assert len(http_server.requests) == retries.ATTEMPTS


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_refusal_is_not_tried_again(http_server: HttpServer, blob: S3Blob, status: int) -> None:
    http_server.faults["/bucket/a.zip"] = [Answer(status)] * 50
    with pytest.raises(BlobRefused, match=r"s3://bucket/a\.zip"):
        blob.read(0, 10)
    assert len(http_server.requests) == 1


def test_nobody_listens(blob: S3Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        use_s3(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(ConnectionError, match=r"s3://bucket/a\.zip: EndpointConnectionError"):
            blob.info()


def test_without_credentials_it_is_refused(blob: S3Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BlobRefused, match="credentials"):
        blob.info()


@pytest.fixture
def soon_stalled(endpoint: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The driver takes a connection for stalled after half a second, not after its minute."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.5}})
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("soon_stalled")
def test_a_stalled_body_goes_on_from_where_it_stopped(http_server: HttpServer, blob: S3Blob) -> None:
    http_server.faults["/bucket/a.zip"] = [Stall(), Stall(100_000)]
    assert blob.read(0, SIZE) == CONTENT
    starts = [asked[0] for asked in http_server.ranges("/bucket/a.zip") if asked]
    assert starts == [0, 0, 100_000]


@pytest.mark.usefixtures("soon_stalled")
def test_a_bucket_that_stalls_for_ever_is_given_up(http_server: HttpServer, blob: S3Blob) -> None:
    http_server.chance = lambda request: Stall()
    with pytest.raises(ConnectionError, match=r"s3://bucket/a\.zip: "):
        blob.info()
    assert len(http_server.requests) == retries.ATTEMPTS


@pytest.mark.parametrize("by", [1000, -1000])
def test_a_wrong_content_length_does_no_harm(http_server: HttpServer, blob: S3Blob, by: int) -> None:
    http_server.faults["/bucket/a.zip"] = [WrongLength(by)]
    assert blob.read(1000, SIZE - 1000) == CONTENT[1000:-1000]
    # All that was asked for has come before the connection ends too early.
    assert len(http_server.requests) == (1 if by > 0 else 2)


@pytest.mark.parametrize("question", ["info", "read"])
@pytest.mark.parametrize("fault", [PAGE, NoRange()], ids=["a web page", "no ranges"])
def test_what_comes_whole_where_a_part_was_asked_for_is_refused(
    http_server: HttpServer, blob: S3Blob, fault: Answer | NoRange, question: str
) -> None:
    http_server.chance = lambda request: fault
    with pytest.raises(BlobRefused, match=r"s3://bucket/a\.zip: asked for a part, .* came whole"):
        blob.info() if question == "info" else blob.read(10, 20)
    assert len(http_server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_heeded(
    http_server: HttpServer, blob: S3Blob, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("etl.retries.time.sleep", waits.append)
    http_server.faults["/bucket/a.zip"] = [busy(status, "7"), busy(status, "soon"), busy(status)]
    assert blob.read(0, 10) == CONTENT[:10]
    assert waits[0] == 7
    assert max(waits[1:]) <= retries.LONGEST_WAIT_SECONDS < 7
