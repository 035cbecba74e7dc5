from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from etl.io.http import BUSY, HttpBlob
from etl.io.places import BlobChanged, BlobInfo, BlobRefused
from etl.io.retries import RetryBudget
from tests.support.http_archive import CONTENT, OTHER, SECRET, SIZE, put
from tests.support.http_faults import (
    PAGE,
    Answer,
    Change,
    Cut,
    ShortRange,
    Stall,
    Trickle,
    WrongLength,
    busy,
    seeded_faults,
)
from tests.support.servers import HttpServer
from tests.support.transfers import IMPATIENT, USUAL

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("after", [0, 1, 700_001])
def test_a_cut_body_goes_on_from_where_it_stopped(
    http_server: HttpServer, after: int, is_reset: bool
) -> None:
    blob = put(http_server, Cut(after, is_reset))
    assert blob.read(100, SIZE) == CONTENT[100:]
    # What a reset throws away on its way is unknown; an orderly end loses nothing.
    (_, again) = http_server.ranges("/a.zip")
    assert again is not None
    assert again[1] == SIZE
    assert 100 <= again[0] <= 100 + after if is_reset else again[0] == 100 + after


def test_a_transfer_that_moves_on_is_given_new_attempts(http_server: HttpServer) -> None:
    many = 4 * USUAL.attempts
    blob = put(http_server, *[Cut(100_000)] * many)
    assert blob.read(0, SIZE) == CONTENT
    assert [r and r[0] for r in http_server.ranges("/a.zip")] == [100_000 * n for n in range(many + 1)]


def test_without_a_byte_more_it_fails_in_the_end(http_server: HttpServer) -> None:
    blob = put(http_server, Cut(1000), *[Cut(0)] * 50)
    with pytest.raises(ConnectionError, match=r"/a\.zip") as caught:
        blob.read(0, SIZE)
    assert SECRET not in str(caught.value)
    assert len(http_server.requests) == USUAL.attempts
    assert http_server.ranges("/a.zip")[1:] == [(1000, SIZE)] * (USUAL.attempts - 1)


@pytest.mark.parametrize("status", BUSY)
def test_a_burst_of_busy_answers_is_waited_out(http_server: HttpServer, status: int) -> None:
    blob = put(http_server, *[busy(status)] * (USUAL.attempts - 1))
    assert blob.read(0, 10) == CONTENT[:10]
    assert len(http_server.requests) == USUAL.attempts


@pytest.mark.parametrize("question", ["info", "read", "stream"])
def test_a_server_that_stays_busy_fails_in_the_end(http_server: HttpServer, question: str) -> None:
    blob = put(http_server, *[busy(503)] * 50)
    with pytest.raises(
        ConnectionError, match=r"/a\.zip: the server answers 503 Service Unavailable"
    ) as caught:
        ask(blob, question)
    assert SECRET not in str(caught.value)
    assert len(http_server.requests) == USUAL.attempts


def ask(blob: HttpBlob, question: str) -> object:
    if question == "info":
        return blob.info()
    return blob.read(0, SIZE) if question == "read" else b"".join(blob.stream())


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0.01),
        ("soon", 0, 0.01),
        ("100000", USUAL.longest_retry_after_s, USUAL.longest_retry_after_s),
        (format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True), 300, 300),
        (format_datetime(datetime.now(UTC) - timedelta(days=2), usegmt=True), 0, 0.01),
    ],
    ids=["seconds", "none", "no number", "too long", "a day to come", "a day gone by"],
)
def test_retry_after_is_heeded_within_a_bound(
    http_server: HttpServer, monkeypatch: pytest.MonkeyPatch, retry_after: str, least: float, most: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("etl.io.retries.sleep", waits.append)
    blob = put(http_server, busy(429, retry_after))
    assert blob.read(0, 10) == CONTENT[:10]
    (wait,) = waits
    assert least <= wait <= most


@pytest.mark.usefixtures("short_stalls")
def test_a_stalled_body_goes_on_from_where_it_stopped(http_server: HttpServer) -> None:
    blob = put(http_server, Stall(500_000), Stall(None))
    assert blob.read(0, SIZE) == CONTENT
    assert http_server.ranges("/a.zip") == [(0, SIZE), (500_000, SIZE), (500_000, SIZE)]


def test_a_server_that_stalls_for_ever_fails_in_the_end(http_server: HttpServer) -> None:
    url = http_server.put("/a.zip", CONTENT, *[Stall()] * 50)
    blob = HttpBlob(url, RetryBudget(settings=replace(IMPATIENT, stall_s=0.05)))
    with pytest.raises(ConnectionError, match=r"/a\.zip: ReadTimeoutError"):
        blob.info()
    assert len(http_server.requests) == USUAL.attempts


def test_a_slow_body_is_not_cut_off(http_server: HttpServer) -> None:
    url = http_server.put("/a.zip", CONTENT, Trickle(2000, 0.02))
    blob = HttpBlob(url, RetryBudget(settings=replace(IMPATIENT, stall_s=0.5)))
    assert blob.read(0, 60_000) == CONTENT[:60_000]
    assert len(http_server.requests) == 1


def test_a_trickle_counts_as_stalled_and_goes_on_elsewhere(
    http_server: HttpServer,
) -> None:
    settings = replace(IMPATIENT, stall_s=0.1, least_bytes_per_s=1000)
    blob = HttpBlob(http_server.put("/a.zip", CONTENT, Trickle(1, 0.03)), RetryBudget(settings=settings))
    assert blob.read(0, SIZE) == CONTENT
    first, second = http_server.ranges("/a.zip")
    assert first == (0, SIZE)
    assert second is not None
    assert 0 < second[0] < 1000


@pytest.mark.parametrize("by", [1000, -1000])
def test_a_wrong_content_length_does_no_harm(http_server: HttpServer, by: int) -> None:
    blob = put(http_server, WrongLength(by), WrongLength(by))
    assert blob.read(0, 200_000) == CONTENT[:200_000]
    assert blob.read(200_000, 400_000) == CONTENT[200_000:400_000]
    assert blob.read(400_000, 600_000) == CONTENT[400_000:600_000]


def test_a_shorter_range_than_asked_for_is_gone_on_with(http_server: HttpServer) -> None:
    blob = put(http_server, ShortRange(1000), ShortRange(1000))
    assert blob.read(0, 5000) == CONTENT[:5000]
    assert http_server.ranges("/a.zip") == [(0, 5000), (1000, 5000), (2000, 5000)]


@pytest.mark.parametrize("tagged", ["etag", "time"])
def test_a_changed_file_is_noticed(http_server: HttpServer, tagged: str) -> None:
    http_server.tagged = tagged
    blob = put(http_server)
    tag = blob.info().tag
    http_server.files["/a.zip"] = OTHER
    with pytest.raises(BlobChanged, match=r"/a\.zip changed since it was looked at") as caught:
        blob.read(0, 100, tag)
    with pytest.raises(BlobChanged):
        next(iter(blob.stream(0, tag)))
    assert SECRET not in str(caught.value)
    assert len(http_server.requests) == 3
    assert blob.read(0, 100) == OTHER[:100]


@pytest.mark.parametrize("tagged", ["etag", "time"])
@pytest.mark.parametrize("question", ["read", "stream"])
def test_a_file_that_changes_on_the_way_is_never_mixed(
    http_server: HttpServer, tagged: str, question: str
) -> None:
    http_server.tagged = tagged
    blob = put(http_server, Cut(1_000_000), Change(OTHER))
    with pytest.raises(BlobChanged):
        ask(blob, question)


@pytest.mark.parametrize("question", ["read", "stream"])
def test_without_tags_a_change_of_size_is_noticed(http_server: HttpServer, question: str) -> None:
    http_server.tagged = ""
    blob = put(http_server)
    tag = blob.info().tag
    http_server.files["/a.zip"] = CONTENT + b"more"
    with pytest.raises(BlobChanged):
        blob.read(0, SIZE, tag) if question == "read" else b"".join(blob.stream(0, tag))


@pytest.mark.parametrize(("start", "end"), [(SIZE - 10, SIZE + 1), (SIZE, SIZE + 1), (2 * SIZE, 3 * SIZE)])
def test_a_file_that_is_too_short_has_changed(http_server: HttpServer, start: int, end: int) -> None:
    with pytest.raises(BlobChanged, match=f"expected at least {end:,}"):
        put(http_server).read(start, end)
    assert len(http_server.requests) == 1


def test_an_empty_file_has_no_bytes(http_server: HttpServer) -> None:
    blob = HttpBlob(http_server.put("/empty.zip", b""))
    info = blob.info()
    assert info == BlobInfo(0, info.tag, True, b"")
    assert list(blob.stream()) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
@pytest.mark.parametrize("question", ["info", "read", "stream"])
def test_a_refusal_is_not_tried_again(http_server: HttpServer, status: int, question: str) -> None:
    blob = put(http_server, Answer(status, {"Content-Type": "text/html"}, b"<h1>No</h1>"))
    with pytest.raises(BlobRefused, match=rf"/a\.zip: the server answers {status} ") as caught:
        ask(blob, question)
    assert SECRET not in str(caught.value)
    assert len(http_server.requests) == 1


def test_a_web_page_in_place_of_the_file_is_named(http_server: HttpServer) -> None:
    blob = put(http_server, PAGE, PAGE, PAGE)
    info = blob.info()
    assert (info.has_ranges, info.head) == (False, b"<!DO")
    with pytest.raises(BlobRefused, match=r"a web page came .*the link may have expired"):
        blob.read(0, 100)
    with pytest.raises(BlobRefused, match="a web page came instead; the link may have expired"):
        blob.read(0, 100, '"some tag"')


def test_a_link_that_expires_on_the_way_is_named(http_server: HttpServer) -> None:
    with pytest.raises(BlobRefused, match="a web page came instead"):
        put(http_server, Cut(1000), PAGE).read(0, SIZE)


@pytest.mark.parametrize("seed", range(5))
def test_any_mix_of_passing_faults_gives_the_right_bytes(http_server: HttpServer, seed: int) -> None:
    blob = put(http_server)
    http_server.chance = seeded_faults(
        seed,
        0.5,
        [
            Cut(0),
            Cut(50_000),
            Cut(90_000, is_reset=True),
            busy(500),
            busy(429, "0"),
            WrongLength(10),
            WrongLength(-10),
        ],
    )
    dice = random.Random(seed)
    tag = blob.info().tag
    for _ in range(20):
        start = dice.randrange(SIZE)
        end = min(SIZE, start + dice.randrange(1, 300_000))
        assert blob.read(start, end, tag) == CONTENT[start:end]
    assert len(http_server.requests) > 21  # some went wrong
