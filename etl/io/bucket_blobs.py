"""Objects in buckets, and what else fsspec reaches by a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.asyn import sync

from etl.core.errors import ConfigError
from etl.core.urls import public_url
from etl.io import s3
from etl.io.blobs import STREAM_BYTES, BlobChanged, BlobError, BlobInfo, BlobRefused
from etl.io.drivers import only_oserrors
from etl.io.retries import QUICK, BusyError, Patience, retried

# Of what passes, those after which it may say when to come back.
_BUSY = (429, 503)


def open_object(url: str, patience: Patience = QUICK) -> S3Blob | FsspecBlob:
    """The object at a URL such as s3://bucket/key.

    Raises:
        ConfigError: fsspec has no driver for it.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        return S3Blob(url, patience)
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            "nothing here reads this kind of URL",
            value=public_url(url),
            allowed="a path, http(s)://, s3://, and what fsspec has a driver for",
            remedy=str(error),
        ) from error
    return FsspecBlob(url, patience)


@dataclass(frozen=True)
class S3Blob:
    """An object in an S3 bucket: one request for a look and one for a read. See `etl.io.blobs.Blob`.

    Endpoint, region and credentials come from the environment: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
    """

    url: str
    patience: Patience = QUICK

    def info(self) -> BlobInfo:
        def look() -> BlobInfo:
            head = _Arrived()
            try:
                self._get(head, "bytes=0-3")
            except _PastTheEndError:
                return BlobInfo(0, "0 bytes", True, b"")
            return BlobInfo(head.total, head.tag, True, bytes(head.data))

        return retried(look, patience=self.patience)

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        arrived = _Arrived(tag)

        def go_on() -> None:
            at = start + len(arrived.data)
            if at >= end:
                return  # the connection broke after the last byte
            try:
                self._get(arrived, f"bytes={at}-{end - 1}")
            except _PastTheEndError:
                raise BlobChanged(f"{self} ends before byte {at:,}, expected at least {end:,}") from None
            there = start + len(arrived.data)
            if there < min(end, arrived.total or 0):
                raise ConnectionError(f"{self}: ended after {there:,} of {end:,} bytes")

        if start < end:
            retried(go_on, lambda: len(arrived.data), self.patience)
        there = start + len(arrived.data)
        if there < end:
            raise BlobChanged(f"{self} ends at byte {there:,}, expected at least {end:,}")
        return bytes(arrived.data[: end - start])

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return _by_ranges(self, start, tag)

    def _get(self, arrived: _Arrived, byte_range: str) -> None:
        with driver_errors(self.url):
            filesystem = s3.driver(request_attempts=1)
            sync(filesystem.loop, _get_object, filesystem, self.url, byte_range, arrived)

    def __str__(self) -> str:
        return public_url(self.url)


@dataclass
class _Arrived:
    """What has come of an object so far; stays when a body is cut."""

    tag: str = ""
    total: int | None = None
    data: bytearray = field(default_factory=bytearray)


async def _get_object(filesystem: Any, url: str, byte_range: str, arrived: _Arrived) -> None:
    bucket, key, _ = filesystem.split_path(url)
    # The bucket itself refuses where the object is no longer the one with this ETag.
    condition = {"IfMatch": arrived.tag} if arrived.tag else {}
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, Range=byte_range, **condition)
    body = answer["Body"]
    try:
        found = answer.get("ContentRange", "").rpartition("/")[2]
        if not found.isdigit():
            kind = answer.get("ContentType", "something")
            raise BlobRefused(f"{public_url(url)}: asked for a part, {kind} came whole; no bucket answers so")
        arrived.tag, arrived.total = arrived.tag or answer.get("ETag", ""), int(found)
        while piece := await body.read(STREAM_BYTES):
            arrived.data += piece
    finally:
        body.close()


@dataclass(frozen=True)
class FsspecBlob:
    """What another driver of fsspec reads: gs://, memory:// and the like. See `etl.io.blobs.Blob`.

    These have no conditional reads, so a read with a tag costs a look first.
    """

    url: str
    patience: Patience = QUICK

    def info(self) -> BlobInfo:
        def look() -> BlobInfo:
            size, tag = self._size_and_tag()
            filesystem, path = fsspec.core.url_to_fs(self.url)
            with driver_errors(self.url):
                return BlobInfo(size, tag, True, filesystem.cat_file(path, start=0, end=min(4, size)))

        return retried(look, patience=self.patience)

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        def ask() -> bytes:
            if tag and self._size_and_tag()[1] != tag:
                raise BlobChanged(f"{self} changed since it was looked at")
            filesystem, path = fsspec.core.url_to_fs(self.url)
            with driver_errors(self.url):
                data: bytes = filesystem.cat_file(path, start=start, end=end)
            return data

        data = retried(ask, patience=self.patience) if start < end else b""
        if len(data) != max(0, end - start):
            raise BlobChanged(f"{self} ends at byte {start + len(data):,}, expected at least {end:,}")
        return data

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return _by_ranges(self, start, tag)

    def _size_and_tag(self) -> tuple[int, str]:
        filesystem, path = fsspec.core.url_to_fs(self.url)
        with driver_errors(self.url):
            filesystem.invalidate_cache()
            details = filesystem.info(path)
        if details["type"] != "file":
            raise BlobRefused(f"{self} is a {details['type']}")
        size = int(details["size"])
        changes = (details.get(key) for key in ("ETag", "etag", "mtime", "modified", "created"))
        return size, next((f"{size} {change}" for change in changes if change), f"{size} bytes")

    def __str__(self) -> str:
        return public_url(self.url)


def _by_ranges(blob: S3Blob | FsspecBlob, start: int, tag: str) -> Iterator[bytes]:
    info = blob.info()
    size = info.bytes or 0
    if (tag and info.tag != tag) or size < start:
        raise BlobChanged(f"{blob} changed since it was looked at")
    step = 16 * STREAM_BYTES
    for at in range(start, size, step):
        yield blob.read(at, min(at + step, size), info.tag)


class _PastTheEndError(BlobError):
    """A range was asked for that begins at or after the end."""


@contextmanager
def driver_errors(url: str) -> Iterator[None]:
    """Turn what fsspec's drivers raise into BlobError and OSError, by what another try can change."""
    where = public_url(url)
    try:
        with only_oserrors(where):
            yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BlobRefused(f"{where}: {type(error).__name__}: {error}") from error
    except OSError as error:
        status = s3.status_of(error)
        if status == 412:
            raise BlobChanged(f"{where} changed since it was looked at") from error
        if status == 416:
            raise _PastTheEndError(f"{where} ends before what was asked for") from error
        if 300 <= status < 500 and status not in s3.PASSING_STATUS:
            raise BlobRefused(f"{where}: {error}") from error
        if str(error).startswith(where):
            raise
        if status in _BUSY:
            raise BusyError(f"{where}: {error}", _retry_after(error)) from error
        raise ConnectionError(f"{where}: {error}") from error


def _retry_after(error: OSError) -> float:
    """Seconds that the answer behind an error of s3fs names, or 0."""
    headers = s3.answer_of(error).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    seconds = str(headers.get("retry-after", ""))
    return float(seconds) if seconds.isdecimal() else 0.0
