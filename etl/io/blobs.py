"""Bytes that lie somewhere: a local file, an HTTP server, a bucket. Read by range, checked, retried.

OSError                             the place can't be read now; worth another try later
+-- ConnectionError, TimeoutError   it does not answer, after retries
BlobError                           another try does not help
+-- BlobChanged                     it is not what it was when it was looked at
+-- BlobRefused                     it answers, but not with these bytes: not found, forbidden, an error page
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from etl.core.errors import ConfigError
from etl.core.rejects import Reason
from etl.core.urls import is_local
from etl.io.retries import QUICK, Patience

STREAM_BYTES = 1 << 18


class BlobError(Exception):
    """The bytes can't be had from this place, and trying again now does not help."""


class BlobChanged(BlobError):  # noqa: N818
    """The bytes are not those that were looked at before."""


class BlobRefused(BlobError):  # noqa: N818
    """The place answers with something else: not found, forbidden, an error page."""


def reject_reason(error: BlobError | OSError) -> Reason:
    """Why an archive is rejected that gave this error."""
    return Reason.ARCHIVE_CHANGED if isinstance(error, BlobChanged) else Reason.ARCHIVE_UNAVAILABLE


@dataclass(frozen=True)
class BlobInfo:
    """What a place says of a blob.

    Attributes:
        bytes: its size, or None where the server does not tell.
        tag: what changes when the blob does: ETag, or time of change; empty where there is none.
        has_ranges: parts of it can be asked for.
        head: its first bytes, up to 4.
    """

    bytes: int | None
    tag: str
    has_ranges: bool
    head: builtins.bytes


class Blob(Protocol):
    """One file or object. All methods raise BlobRefused, and OSError where the place can't be read now."""

    @property
    def url(self) -> str:
        """Where it is; may hold secrets in its query."""

    def info(self) -> BlobInfo:
        """Look at it, in one request."""

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        """Exactly the bytes [start, end), in one request where nothing goes wrong.

        Args:
            tag: of an earlier `info`; empty to take what is there now.

        Raises:
            BlobChanged: it changed since, or is shorter than `end`.
        """

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        """Its bytes from `start` on, in small pieces, for servers without ranges, which send the rest too.

        Raises:
            BlobChanged: it changed since `tag` or on the way, or is shorter than `start`.
        """


def open_blob(url: str, patience: Patience = QUICK) -> Blob:
    """The blob at a path or URL: http(s) and s3 with retries of their own, any other scheme through fsspec.

    Args:
        patience: with a place that gives nothing.

    Raises:
        ConfigError: it is no URL, or nothing here reads this kind.
    """
    if is_local(url):
        return LocalBlob(url.removeprefix("file://"))
    try:
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise ConfigError("not a URL", value=url.partition("?")[0], allowed=str(error)) from error
    if scheme in ("http", "https"):
        from etl.io.http import HttpBlob

        return HttpBlob(url, patience)
    from etl.io.bucket_blobs import open_object

    return open_object(url, patience)


@dataclass(frozen=True)
class LocalBlob:
    """A file. See `Blob`."""

    url: str

    def info(self) -> BlobInfo:
        with self._open() as file:
            state = os.fstat(file.fileno())
            return BlobInfo(state.st_size, _file_tag(state), True, file.read(4))

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        data = next(self._pieces(start, end - start, tag), b"") if start < end else b""
        if len(data) < end - start:
            raise BlobChanged(f"{self.url} ends at byte {start + len(data):,}, expected at least {end:,}")
        return data

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return self._pieces(start, STREAM_BYTES, tag)

    def _pieces(self, start: int, size: int, tag: str) -> Iterator[bytes]:
        with self._open() as file:
            state = os.fstat(file.fileno())
            if (tag and _file_tag(state) != tag) or state.st_size < start:
                raise BlobChanged(f"{self.url} changed since it was looked at")
            file.seek(start)
            while piece := file.read(size):
                yield piece

    def _open(self) -> BinaryIO:
        try:
            return open(self.url, "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
            raise BlobRefused(f"{self.url}: {error.strerror}") from error


def _file_tag(state: os.stat_result) -> str:
    return f"{state.st_size}-{state.st_mtime_ns}"
