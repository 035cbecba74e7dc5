"""A bucket whose requests fail now and then: what passes is tried again, what doesn't is raised at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from etl.io.buckets import BucketObjects, BucketStaging, WriteSettings
from etl.io.drivers import REQUEST_ATTEMPTS
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.store.versions import publish_version, version_numbers
from tests.store.test_versions import body
from tests.support.faulty_s3 import ERROR, PASSING, FaultyS3, S3Fault, S3Request, serve_faulty_s3
from tests.support.http_faults import Answer
from tests.support.s3_server import Bucket, use_s3
from tests.support.transfers import USUAL

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def faulty(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The bucket behind a server with faults."""
    with serve_faulty_s3() as server:
        use_s3(monkeypatch, server.url)
        yield server


@pytest.fixture
def objects(faulty: FaultyS3, s3_bucket: Bucket) -> Objects:
    return open_objects(f"{s3_bucket.url}/store")


def once(fault: S3Fault, method: str = "") -> Callable[[S3Request], S3Fault | None]:
    """The first request, or the first of a method, fails."""
    left = [fault]
    return lambda request: left.pop() if left and method in ("", request.method) else None


CALLS: dict[str, Callable[[Objects], object]] = {
    "read": lambda objects: objects.read("a/there") == b"there",
    "size": lambda objects: objects.size("a/there") == 5,
    "sizes": lambda objects: objects.sizes("a") == {"there": 5},
    "write": lambda objects: objects.write("new", b"new") is None and objects.read("new") == b"new",
    "remove": lambda objects: objects.remove("a/there") is None and objects.size("a/there") is None,
    "check_writable": lambda objects: objects.check_writable() is None,
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_what_passes_is_tried_again(
    fault: S3Fault, objects: Objects, faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only here is an answer waited for in vain: elsewhere a slow machine would make new requests.
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.5)
    faulty.hang_seconds = 1.0
    objects.write("a/there", b"there")
    for name, call in CALLS.items():
        faulty.faults.clear()
        faulty.choose = once(fault)
        assert call(objects), name
        assert faulty.faults == [fault], name


@pytest.mark.slow
@pytest.mark.parametrize("fault", [S3Fault.LOST_REPLY, S3Fault.CONFLICT, S3Fault.SLOW_DOWN])
def test_a_version_is_published_once(fault: S3Fault, objects: Objects, faulty: FaultyS3) -> None:
    faulty.choose = once(fault, "PUT")
    version = publish_version(objects, "mine", lambda parent: body("mine"))
    assert faulty.faults == [fault]
    assert (version["version"], version["run_id"]) == (1, "mine")
    assert version_numbers(objects) == [1]


@pytest.mark.slow
def test_a_lost_reply_to_the_end_of_an_upload_in_parts(
    objects: Objects, faulty: FaultyS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or a slow machine makes the driver send a part twice.
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 15)
    data = bytes(range(256)) * (2 * WriteSettings().part_bytes // 256 + 1)
    posts = iter([None, S3Fault.LOST_REPLY])
    faulty.choose = lambda request: next(posts, None) if request.method == "POST" else None
    objects.write("table", data)
    assert objects.read("table") == data
    parts = [request for request in faulty.requests if "partNumber" in request.query]
    assert faulty.faults == [S3Fault.LOST_REPLY]
    assert len(parts) in (3, 6)  # with a server that forgets what it has completed, all over again


@pytest.mark.slow
def test_a_server_that_does_not_take_the_body_is_not_waited_for(faulty: FaultyS3, s3_bucket: Bucket) -> None:
    objects = BucketObjects(f"{s3_bucket.url}/store", WriteSettings(least_s=1.0))
    faulty.hang_seconds, faulty.deaf_to = 20.0, 1
    objects.write("new", b"new")
    assert faulty.deaf_to == 0
    assert objects.read("new") == b"new"


def test_a_refusal_is_raised_at_once(objects: Objects, faulty: FaultyS3) -> None:
    faulty.choose = lambda request: S3Fault.FORBIDDEN
    with pytest.raises(PermissionError):
        objects.write("new", b"new")
    assert len(faulty.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "MissingContentMD5"), (400, "InvalidDigest"), (405, "MethodNotAllowed"), (501, "NotImplemented")],
)
def test_where_a_bucket_refuses_batches_objects_are_deleted_one_by_one(
    faulty: FaultyS3, s3_bucket: Bucket, status: int, code: str
) -> None:
    refusal = Answer(status, {"Content-Type": "application/xml"}, ERROR.format(code, "no batch").encode())
    faulty.choose = lambda request: refusal if "delete" in request.query else None
    store = BucketObjects(f"{s3_bucket.url}/store", WriteSettings(deleted_at_once=2))
    names = [f"a/{number}[1] b" for number in range(5)]
    for name in [*names, "a/stays"]:
        store.write(name, b"x")
    store.remove_all([*names, "a/never there"])
    assert list(store.list("a")) == ["a/stays"]
    area = BucketStaging(f"{s3_bucket.url}/staging")
    area.append("a.zip", 0, b"12345")
    area.append("a.zip", 5, b"678")
    area.discard("a.zip")
    assert area.part_names("") == []
    faulty.choose = lambda request: S3Fault.FORBIDDEN
    with pytest.raises(PermissionError):
        store.remove_all(["a/stays"])


def test_what_is_not_there_is_asked_for_once(objects: Objects, faulty: FaultyS3) -> None:
    for read in (
        lambda: objects.read("nothing"),
        lambda: objects.read_ranges("nothing", [(0, 1), (5, 9)], 1),
    ):
        faulty.requests.clear()
        with pytest.raises(FileNotFoundError):
            read()
        assert [request.method for request in faulty.requests] == ["GET"]


def test_what_does_not_pass_fails_in_the_end(objects: Objects, faulty: FaultyS3) -> None:
    faulty.choose = lambda request: S3Fault.SLOW_DOWN
    with pytest.raises(OSError, match="as the test wants it"):
        objects.read("there")
    assert len(faulty.requests) == USUAL.attempts * REQUEST_ATTEMPTS
