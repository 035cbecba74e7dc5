"""Objects in buckets as blobs: S3, and whatever else fsspec has a driver for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from etl.core.errors import ConfigError
from etl.core.urls import public_url
from etl.io.drivers import PastTheEndError, as_blob_errors, s3_driver
from etl.io.globs import matching
from etl.io.places import STREAM_BYTES, BlobChanged, BlobInfo, BlobRefused
from etl.io.retries import RetryBudget, retried


@dataclass(frozen=True)
class S3Blob:
    """An object in an S3 bucket: one request for `info`, one for `read`. See `etl.io.places.Blob`."""

    url: str
    budget: RetryBudget = field(default_factory=RetryBudget)

    def info(self) -> BlobInfo:
        def look() -> BlobInfo:
            head = _Arrived()
            try:
                self._get(head, "bytes=0-3")
            except PastTheEndError:
                return BlobInfo(0, "0 bytes", True, b"")
            return BlobInfo(head.total, head.tag, True, bytes(head.data))

        return retried(look, self.budget)

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        arrived = _Arrived(tag)

        def read_on() -> None:
            at = start + len(arrived.data)
            if at >= end:
                return  # the connection broke after the last byte
            try:
                self._get(arrived, f"bytes={at}-{end - 1}")
            except PastTheEndError:
                raise BlobChanged(f"{self} ends before byte {at:,}, expected at least {end:,}") from None
            there = start + len(arrived.data)
            if there < min(end, arrived.total or 0):
                raise ConnectionError(f"{self}: ended after {there:,} of {end:,} bytes")

        if start < end:
            retried(read_on, self.budget, lambda: len(arrived.data))
        there = start + len(arrived.data)
        if there < end:
            raise BlobChanged(f"{self} ends at byte {there:,}, expected at least {end:,}")
        return bytes(arrived.data[: end - start])

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return _stream_by_ranges(self, start, tag)

    def _get(self, arrived: _Arrived, byte_range: str) -> None:
        from fsspec.asyn import sync

        with as_blob_errors(self.url):
            driver = s3_driver(request_attempts=1)
            sync(driver.loop, _get_object, driver, self.url, byte_range, arrived)

    def __str__(self) -> str:
        return public_url(self.url)


@dataclass
class _Arrived:
    """The bytes of an object that have arrived; they stay when a body is cut."""

    tag: str = ""
    total: int | None = None
    data: bytearray = field(default_factory=bytearray)


async def _get_object(driver: Any, url: str, byte_range: str, arrived: _Arrived) -> None:
    bucket, key, _ = driver.split_path(url)
    # The bucket itself refuses where the object no longer has this ETag.
    condition = {"IfMatch": arrived.tag} if arrived.tag else {}
    answer = await driver._call_s3("get_object", Bucket=bucket, Key=key, Range=byte_range, **condition)
    body = answer["Body"]
    try:
        total = answer.get("ContentRange", "").rpartition("/")[2]
        if not total.isdigit():
            kind = answer.get("ContentType", "something")
            raise BlobRefused(
                f"{public_url(url)}: requested a range, {kind} came whole; no bucket answers so"
            )
        arrived.tag, arrived.total = arrived.tag or answer.get("ETag", ""), int(total)
        while piece := await body.read(STREAM_BYTES):
            arrived.data += piece
    finally:
        body.close()


@dataclass(frozen=True)
class FsspecBlob:
    """A file that another driver of fsspec reads: gs://, memory:// and others. See `etl.io.places.Blob`.

    These drivers have no conditional reads, so a read with a tag costs one request more.
    """

    url: str
    budget: RetryBudget = field(default_factory=RetryBudget)

    @classmethod
    def checked(cls, url: str, budget: RetryBudget) -> FsspecBlob:
        """Return the blob at a URL. Raises ConfigError where fsspec has no driver for it."""
        import fsspec

        try:
            fsspec.get_filesystem_class(urlsplit(url).scheme)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                "nothing here reads this kind of URL",
                value=public_url(url),
                allowed="a path, http(s)://, s3://, and every scheme that fsspec has a driver for",
                remedy=str(error),
            ) from error
        return cls(url, budget)

    def info(self) -> BlobInfo:
        def look() -> BlobInfo:
            size, tag = self._size_and_tag()
            driver, path = _driver_and_path(self.url)
            with as_blob_errors(self.url):
                return BlobInfo(size, tag, True, driver.cat_file(path, start=0, end=min(4, size)))

        return retried(look, self.budget)

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        def read_range() -> bytes:
            if tag and self._size_and_tag()[1] != tag:
                raise BlobChanged(f"{self} changed since it was looked at")
            driver, path = _driver_and_path(self.url)
            with as_blob_errors(self.url):
                data: bytes = driver.cat_file(path, start=start, end=end)
            return data

        data = retried(read_range, self.budget) if start < end else b""
        if len(data) != max(0, end - start):
            raise BlobChanged(f"{self} ends at byte {start + len(data):,}, expected at least {end:,}")
        return data

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return _stream_by_ranges(self, start, tag)

    def _size_and_tag(self) -> tuple[int, str]:
        driver, path = _driver_and_path(self.url)
        with as_blob_errors(self.url):
            driver.invalidate_cache()
            details = driver.info(path)
        if details["type"] != "file":
            raise BlobRefused(f"{self} is a {details['type']}")
        size = int(details["size"])
        changes = (details.get(key) for key in ("ETag", "etag", "mtime", "modified", "created"))
        return size, next((f"{size} {change}" for change in changes if change), f"{size} bytes")

    def __str__(self) -> str:
        return public_url(self.url)


def _driver_and_path(url: str) -> tuple[Any, str]:
    import fsspec

    driver, path = fsspec.core.url_to_fs(url)
    return driver, path


def _stream_by_ranges(blob: S3Blob | FsspecBlob, start: int, tag: str) -> Iterator[bytes]:
    info = blob.info()
    size = info.bytes or 0
    if (tag and info.tag != tag) or size < start:
        raise BlobChanged(f"{blob} changed since it was looked at")
    step = 16 * STREAM_BYTES
    for at in range(start, size, step):
        yield blob.read(at, min(at + step, size), info.tag)


def matching_urls(pattern: str) -> list[str]:
    """Return the URLs that match a glob in a bucket, sorted. Raises OSError."""
    driver, path = _driver_and_path(pattern)

    def names_in(folder: str) -> Iterator[str]:
        paths = (entry["name"].rstrip("/").rpartition("/") for entry in driver.ls(folder, detail=True))
        # The listing of a file is the file itself.
        return (name for parent, _, name in paths if parent == folder)

    with as_blob_errors(pattern):
        driver.invalidate_cache()
        return [driver.unstrip_protocol(match) for match in matching(path, names_in)]
