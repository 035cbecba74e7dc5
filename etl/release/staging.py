"""Fetch archives into a place that all workers reach, in blocks. Only whole archives have their names.

What arrived is never fetched again: an interrupted archive goes on from where it stopped, on whichever worker
continues it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from etl.rejects import Reason
from etl.release.blobs import BlobChanged, BlobError, open_blob
from etl.release.staging_areas import PartGoneError, StagingArea, open_staging
from etl.urls import blob_name, public_url

# Large enough that a request's latency does not count, and the least that a bucket takes as a part is 5 MiB.
BLOCK_BYTES = 8 * 2**20
# A task fetches this many blocks and gives its thread back, so that conversions run in between.
BLOCKS_A_TASK = 8

# An archive begins with its first member, or with its directory's end where it has none.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# Parameters of signed URLs (S3, Google, CloudFront, Azure), which are others each time.
_SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|key-pair-id|signature|expires|policy|(access_?)?token"
    r"|s(ig|e|t|p|pr|v|r|rt|ip|koid|ktid|kt|ke|ks|kv)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RemoteArchive:
    """An archive that lies on a server or in a bucket.

    Attributes:
        url: where.
        name: file name, `Images_png_01.zip`.
        bytes: size as announced; None where it is not known.
        sha256: to be verified when it arrives; empty where it is not known.
        tag: ETag or time of change when it was looked at; empty where there is none.
        has_ranges: parts of it can be asked for.
    """

    url: str = field(repr=False)  # the log of a failed task shows its arguments; a URL may be signed
    name: str
    bytes: int | None = None
    sha256: str = ""
    tag: str = ""
    has_ranges: bool = True

    @property
    def staged_name(self) -> str:
        """Its name in the staging area: another one when the source's size or tag changes."""
        return f"{self.staged_prefix}{_short(f'{self.bytes} {self.tag}')}.zip"

    @property
    def staged_prefix(self) -> str:
        """What the staged names of all states of this archive begin with, and those of no other archive."""
        return f"{self.name.removesuffix('.zip')}.{_short(_unsigned(self.url))}."


def remote_archive(url: str, sha256: str = "") -> RemoteArchive:
    """An archive at a URL, not yet looked at."""
    return RemoteArchive(url, blob_name(url), sha256=sha256)


@dataclass(frozen=True)
class Fetched:
    """How far an archive is.

    Attributes:
        archive: which.
        bytes_there: bytes in the staging area.
        bytes_now: of these, fetched by this task.
        is_whole: it is there under its name, verified.
        reason, message: why it can't be had; None and empty while it can.
    """

    archive: RemoteArchive
    bytes_there: int
    bytes_now: int
    is_whole: bool
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True)
class Fetcher:
    """Fetches the next blocks of an archive; a value that travels to workers.

    Attributes:
        staging: folder or bucket URL.
        block_bytes, blocks_a_task: how much is asked for at once, and by one call.
    """

    staging: str
    block_bytes: int = BLOCK_BYTES
    blocks_a_task: int = BLOCKS_A_TASK

    def __call__(self, archive: RemoteArchive) -> Fetched:
        """Fetch up to `blocks_a_task` blocks more, and finish the archive with the last.

        What the source does wrong is a reason in the result.

        Raises:
            OSError: the staging area can't be read or written.
        """
        area, name = open_staging(self.staging), archive.staged_name
        if (size := area.size(name)) is not None:
            if archive.bytes in (None, size):
                area.discard(name)
                return Fetched(archive, size, 0, True)
            area.remove(name)
        there, now = area.part_bytes(name), 0
        try:
            for block in self._blocks(archive, there):
                area.append(name, there, block)
                there += len(block)
                now += len(block)
            if archive.has_ranges and there < (archive.bytes or 0):
                return Fetched(archive, there, now, False)
            _check(area, archive, there)
            area.finish(name, there)
        except _SpoiltError as spoilt:
            area.discard(name)
            return Fetched(archive, 0, now, False, spoilt.reason, spoilt.message)
        except _RefusedError as refused:
            return Fetched(archive, there, now, False, refused.reason, refused.message)
        except PartGoneError:
            size = area.size(name)
            return Fetched(archive, size or 0, now, size is not None)
        for older in area.names(archive.staged_prefix):
            if older != name:
                area.remove(older)
        for older in area.part_names(archive.staged_prefix):
            area.discard(older)
        return Fetched(archive, there, now, True)

    def _blocks(self, archive: RemoteArchive, there: int) -> Iterator[bytes]:
        """The next blocks, from byte `there` on. What the source does wrong is raised as _RefusedError."""
        blob, where = open_blob(archive.url), public_url(archive.url)
        try:
            if archive.has_ranges and archive.bytes is not None:
                stop = min(there + self.block_bytes * self.blocks_a_task, archive.bytes)
                ranges = range(there, stop, self.block_bytes)
                blocks: Iterator[bytes] = (
                    blob.read(at, min(at + self.block_bytes, stop), archive.tag) for at in ranges
                )
            else:
                blocks = _joined(blob.stream(there, archive.tag), self.block_bytes)
            for number, block in enumerate(blocks):
                if number == there == 0 and not block.startswith(_ZIP_STARTS):
                    raise _RefusedError(
                        Reason.ARCHIVE_NOT_ZIP, f"{where} begins with {block[:16]!r}, a zip with b'PK'"
                    )
                yield block
        except BlobChanged as error:
            raise _RefusedError(Reason.ARCHIVE_CHANGED, str(error)) from error
        except (BlobError, OSError) as error:
            raise _RefusedError(Reason.ARCHIVE_UNAVAILABLE, str(error)) from error


class _RefusedError(Exception):
    """The archive can't be had now. What is there of it stays."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(reason, message)


class _SpoiltError(_RefusedError):
    """What is there is wrong."""


def _check(area: StagingArea, archive: RemoteArchive, there: int) -> None:
    """Raises _RefusedError, _SpoiltError or PartGoneError where the part is not the archive."""
    where = public_url(archive.url)
    if not there:
        raise _RefusedError(Reason.ARCHIVE_NOT_ZIP, f"{where} is empty")
    if archive.bytes is not None and there != archive.bytes:
        message = f"{where}: {there:,} bytes arrived, announced were {archive.bytes:,}"
        if there < archive.bytes:
            raise _RefusedError(Reason.ARCHIVE_TRUNCATED, message)
        raise _SpoiltError(Reason.ARCHIVE_CHANGED, message)
    if not archive.sha256:
        return
    digest, read = hashlib.sha256(), 0
    for piece in area.read_part(archive.staged_name):
        digest.update(piece)
        read += len(piece)
    if read != there:
        raise PartGoneError(archive.staged_name)
    if digest.hexdigest() != archive.sha256.lower():
        message = f"{where}: sha256 is {digest.hexdigest()}, expected {archive.sha256}"
        raise _SpoiltError(Reason.ARCHIVE_CHECKSUM, message)


def _joined(pieces: Iterator[bytes], block_bytes: int) -> Iterator[bytes]:
    """Blocks of equal size, but for the last."""
    block = bytearray()
    for piece in pieces:
        block += piece
        while len(block) >= block_bytes:
            yield bytes(block[:block_bytes])
            del block[:block_bytes]
    if block:
        yield bytes(block)


def _unsigned(url: str) -> str:
    """The URL without user and signature: it names the same file when it is signed anew."""
    query = urlsplit(url).query
    named = "&".join(part for part in query.split("&") if not _SIGNATURE.fullmatch(part.partition("=")[0]))
    return f"{public_url(url)}?{named}" if named else public_url(url)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
