from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import ConfigError
from etl.core.urls import blob_name, is_local, public_url
from etl.io.bucket_blobs import FsspecBlob, S3Blob
from etl.io.local import LocalBlob
from etl.io.opening import open_blob
from etl.io.places import Blob, BlobChanged, BlobInfo, BlobRefused
from tests.support.s3_server import Bucket
from tests.support.servers import HttpServer

CONTENT = b"PK\x03\x04" + random.Random(1).randbytes(600_000)
OTHER = b"PK\x03\x04" + random.Random(2).randbytes(600_000)
SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("url", "local", "name", "public"),
    [
        ("/data/Images_png_01.zip", True, "Images_png_01.zip", "/data/Images_png_01.zip"),
        ("release/a?b#c.zip", True, "a?b#c.zip", "release/a?b#c.zip"),
        ("file:///data/a.zip", True, "a.zip", "file:///data/a.zip"),
        ("https://host/static/a.zip?sig=s#part", False, "a.zip", "https://host/static/a.zip"),
        ("https://me:pw@host:8443/a.zip", False, "a.zip", "https://host:8443/a.zip"),
        ("https://host/", False, "archive.zip", "https://host/"),
        ("https://host?id=a/b.zip", False, "archive.zip", "https://host"),
        ("s3://bucket/mirror/a.zip", False, "a.zip", "s3://bucket/mirror/a.zip"),
    ],
)
def test_names_of_places(url: str, local: bool, name: str, public: str) -> None:
    assert (is_local(url), blob_name(url), public_url(url)) == (local, name, public)


@given(st.text(max_size=40))
def test_a_name_is_never_a_path(path: str) -> None:
    assert "/" not in blob_name(f"/data/{path}")
    assert blob_name(f"/data/{path}")


def test_each_scheme_has_its_reader() -> None:
    assert open_blob("file:///data/a.zip") == LocalBlob("/data/a.zip")
    assert open_blob("s3://bucket/a.zip") == S3Blob("s3://bucket/a.zip")
    assert open_blob("memory://a.zip") == FsspecBlob("memory://a.zip")


@pytest.mark.parametrize("url", ["nowhere://host/a.zip?sig=secret", "http://[host/a.zip?sig=secret"])
def test_a_url_that_nothing_reads_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_blob(url)
    assert "host/a.zip" in str(caught.value)
    assert "secret" not in str(caught.value)


class Place:
    """One kind of place: what puts content there, and the blob."""

    def __init__(self, url: str, put: Callable[[bytes], object]) -> None:
        self.url, self.put = url, put
        put(CONTENT)

    @property
    def blob(self) -> Blob:
        return open_blob(self.url)


@pytest.fixture(params=["file", "http", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "file":
        path = tmp_path / "a.zip"

        def write(content: bytes) -> None:
            path.write_bytes(content)
            # Clocks of file systems are coarse: the next state is another second.
            os.utime(path, ns=(0, hash(content) % 2**30 * 10**9))

        yield Place(str(path), write)
    elif request.param == "http":
        server: HttpServer = request.getfixturevalue("http_server")
        yield Place(f"{server.url}/a.zip", lambda content: server.put("/a.zip", content))
    elif request.param == "s3":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        yield Place(f"{bucket.url}/folder/a.zip", lambda content: bucket.put("folder/a.zip", content))
    else:
        memory = fsspec.filesystem("memory")
        yield Place("memory://folder/a.zip", lambda content: memory.pipe_file("/folder/a.zip", content))
        memory.rm("/folder", recursive=True)


def test_a_place_has_size_tag_and_head(place: Place) -> None:
    info = place.blob.info()
    assert info == BlobInfo(SIZE, info.tag, True, CONTENT[:4])
    assert info.tag
    assert place.blob.info() == info


def test_empty_and_tiny_blobs_are_described(place: Place) -> None:
    for content in (b"", b"PK"):
        place.put(content)
        info = place.blob.info()
        assert (info.bytes, info.has_ranges, info.head) == (len(content), True, content)
        assert b"".join(place.blob.stream()) == content
        assert place.blob.read(0, len(content)) == content


@given(start=st.integers(0, SIZE), length=st.one_of(st.integers(-10, 10), st.integers(0, SIZE)))
def test_a_read_is_a_slice(place: Place, start: int, length: int) -> None:
    end = min(start + length, SIZE)
    assert place.blob.read(start, end) == CONTENT[start : max(start, end)]


@pytest.mark.parametrize("start", [0, 1, 300_000, SIZE])
def test_a_stream_is_the_rest(place: Place, start: int) -> None:
    assert b"".join(place.blob.stream(start)) == CONTENT[start:]


def test_a_read_past_the_end_is_a_change(place: Place) -> None:
    for start, end in [(SIZE - 5, SIZE + 5), (SIZE, SIZE + 5), (2 * SIZE, 3 * SIZE)]:
        with pytest.raises(BlobChanged, match=r"a\.zip.*expected at least|a\.zip changed"):
            place.blob.read(start, end)
    with pytest.raises(BlobChanged):
        list(place.blob.stream(SIZE + 1))


def test_a_changed_blob_is_noticed_by_its_tag(place: Place) -> None:
    tag = place.blob.info().tag
    assert place.blob.read(5, 10, tag) == CONTENT[5:10]
    place.put(OTHER)
    with pytest.raises(BlobChanged, match=r"a\.zip changed since it was looked at"):
        place.blob.read(5, 10, tag)
    with pytest.raises(BlobChanged, match=r"a\.zip changed since it was looked at"):
        list(place.blob.stream(0, tag))
    assert place.blob.read(5, 10) == OTHER[5:10]
    assert place.blob.info().tag != tag


def test_a_missing_blob_is_refused(place: Place) -> None:
    missing = open_blob(place.url.replace("a.zip", "b.zip"))
    for ask in (missing.info, lambda: missing.read(0, 5), lambda: list(missing.stream())):
        with pytest.raises(BlobRefused, match=r"b\.zip"):
            ask()


def test_blobs_travel(place: Place) -> None:
    assert pickle.loads(pickle.dumps(place.blob)) == place.blob


def test_a_folder_is_no_blob(tmp_path: Path) -> None:
    with pytest.raises(BlobRefused, match="Is a directory"):
        LocalBlob(str(tmp_path)).info()
    fsspec.filesystem("memory").mkdir("/folder")
    with pytest.raises(BlobRefused):
        FsspecBlob("memory://folder").info()
