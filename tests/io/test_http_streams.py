"""Servers without ranges, which send the whole or nothing."""

from __future__ import annotations

import pytest

from etl.io.http import HttpBlob
from etl.io.places import BlobChanged, BlobInfo, BlobRefused
from tests.support.http_archive import CONTENT, SIZE, put
from tests.support.http_faults import (
    Cut,
    Fault,
    NoRange,
    Stall,
    WrongLength,
    busy,
)
from tests.support.servers import HttpServer
from tests.support.transfers import USUAL

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def blob(http_server: HttpServer) -> HttpBlob:
    http_server.has_ranges = False
    return put(http_server)


def test_a_look_fetches_no_more_than_the_beginning(http_server: HttpServer, blob: HttpBlob) -> None:
    http_server.files["/a.zip"] = CONTENT * 20
    info = blob.info()
    assert info == BlobInfo(20 * SIZE, info.tag, False, CONTENT[:4])


def test_a_chunked_answer_has_no_size(http_server: HttpServer) -> None:
    http_server.tagged = ""
    blob = put(http_server, NoRange(is_chunked=True), NoRange(is_chunked=True))
    assert blob.info() == BlobInfo(None, "", False, CONTENT[:4])
    assert b"".join(blob.stream()) == CONTENT


def test_a_read_is_refused(blob: HttpBlob) -> None:
    with pytest.raises(BlobRefused, match="the server has no ranges"):
        blob.read(0, 100)


def test_a_stream_is_one_request(http_server: HttpServer, blob: HttpBlob) -> None:
    assert b"".join(blob.stream()) == CONTENT
    assert http_server.ranges("/a.zip") == [None]


@pytest.mark.parametrize("start", [0, 1, 1_234_567, SIZE])
def test_a_stream_can_begin_later(blob: HttpBlob, start: int) -> None:
    assert b"".join(blob.stream(start)) == CONTENT[start:]


def test_a_stream_can_not_begin_past_the_end(blob: HttpBlob) -> None:
    with pytest.raises(BlobChanged, match="has 3,000,004 bytes"):
        list(blob.stream(SIZE + 1))


@pytest.mark.parametrize(
    "fault",
    [
        Cut(1_000_000),
        Cut(1_000_000, is_reset=True),
        Stall(1_000_000),
        busy(),
        WrongLength(1000),
        NoRange(is_chunked=True, after=1_000_000),
    ],
)
def test_a_stream_that_breaks_passes_over_what_it_gave(
    http_server: HttpServer, fault: Fault, request: pytest.FixtureRequest
) -> None:
    if isinstance(fault, Stall):
        request.getfixturevalue("short_stalls")
    http_server.has_ranges = False
    assert b"".join(put(http_server, fault).stream()) == CONTENT
    assert len(http_server.requests) == 2


def test_a_stream_without_a_byte_more_fails_in_the_end(http_server: HttpServer) -> None:
    blob = put(http_server, *[Cut(1000)] * 50)
    with pytest.raises(ConnectionError, match=r"/a\.zip"):
        list(blob.stream())
    assert len(http_server.requests) == USUAL.attempts
