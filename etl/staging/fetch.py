"""Fetch archives into a place that all workers reach, in blocks. Only whole archives have their names.

What arrived is never fetched again: an interrupted archive goes on from where it stopped, on whichever worker
continues it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import monotonic
from urllib.parse import urlsplit

from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import blob_name, host_of, public_url
from etl.io.blobs import BlobError, open_blob, reject_reason
from etl.io.retries import Patience, long_patience, waiting
from etl.io.staging_areas import PartGoneError, StagingArea, open_staging

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
        silent_seconds: for which nothing more of it came, when it was last tried.
    """

    url: str = field(repr=False)  # the log of a failed task shows its arguments; a URL may be signed
    name: str
    bytes: int | None = None
    sha256: str = ""
    tag: str = ""
    has_ranges: bool = True
    silent_seconds: float = field(default=0.0, compare=False)

    @property
    def patience(self) -> Patience:
        """With its place."""
        return long_patience(host_of(self.url))

    @property
    def staged_name(self) -> str:
        """Its name in the staging area: another one when the source's size or tag changes."""
        return f"{self._state_name}.zip"

    @property
    def directory_name(self) -> str:
        """The name beside it of its directory alone, where its server gives no ranges."""
        return f"{self._state_name}.directory"

    @property
    def _state_name(self) -> str:
        return f"{self.staged_prefix}{_short(f'{self.bytes} {self.tag}')}"

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
        is_directory: it passed by, and its directory alone was to be kept.
        delay: why nothing came for a while, in a line; empty where something did. It is asked again.
    """

    archive: RemoteArchive
    bytes_there: int
    bytes_now: int
    is_whole: bool
    reason: Reason | None = None
    message: str = ""
    is_directory: bool = False
    delay: str = ""

    @property
    def reject(self) -> Reject | None:
        """What `rejects` says of an archive that can't be had."""
        if self.reason is None:
            return None
        return Reject(Kind.ARCHIVE, self.reason, self.archive.name, self.message)


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
        there, now, silent_seconds = area.part_bytes(name), 0, archive.silent_seconds
        archive, since = replace(archive, silent_seconds=0.0), monotonic()
        try:
            stop = there + self.block_bytes * self.blocks_a_task
            patience = archive.patience.for_a_while
            for block in archive_blocks(archive, there, self.block_bytes, patience, stop):
                area.append(name, there, block)
                there += len(block)
                now += len(block)
                silent_seconds, since = 0.0, monotonic()
            if archive.has_ranges and there < (archive.bytes or 0):
                return Fetched(archive, there, now, False)
            check_size(archive, there)
            if archive.sha256:
                check_sha256(archive, _part_sha256(area, name, there))
            area.finish(name, there)
        except _SpoiltError as spoilt:
            area.discard(name)
            return Fetched(archive, 0, now, False, spoilt.reason, spoilt.message)
        except SilentError as silent:
            silent_seconds += monotonic() - since
            if archive.patience.is_spent(silent_seconds):
                return Fetched(archive, there, now, False, silent.reason, silent.message)
            delay = waiting(silent.message, silent_seconds, archive.patience.seconds)
            archive = replace(archive, silent_seconds=silent_seconds)
            return Fetched(archive, there, now, False, delay=delay)
        except RefusedError as refused:
            return Fetched(archive, there, now, False, refused.reason, refused.message)
        except PartGoneError:
            size = area.size(name)
            return Fetched(archive, size or 0, now, size is not None)
        remove_other_states(area, archive)
        return Fetched(archive, there, now, True)


def archive_blocks(
    archive: RemoteArchive, there: int, block_bytes: int, patience: Patience, stop: int | None = None
) -> Iterator[bytes]:
    """The next blocks, from byte `there` to `stop`, or to the end where the server has no ranges.

    Raises:
        RefusedError: the source does not give them, or gives something else.
        SilentError: the source gives nothing, and the patience is at its end.
    """
    blob, where = open_blob(archive.url, patience), public_url(archive.url)
    try:
        if archive.has_ranges and archive.bytes is not None:
            end = archive.bytes if stop is None else min(stop, archive.bytes)
            blocks: Iterator[bytes] = (
                blob.read(at, min(at + block_bytes, end), archive.tag)
                for at in range(there, end, block_bytes)
            )
        else:
            blocks = _joined(blob.stream(there, archive.tag), block_bytes)
        for number, block in enumerate(blocks):
            if number == there == 0 and not block.startswith(_ZIP_STARTS):
                raise RefusedError(
                    Reason.ARCHIVE_NOT_ZIP, f"{where} begins with {block[:16]!r}, a zip with b'PK'"
                )
            yield block
    except BlobError as error:
        raise RefusedError(reject_reason(error), str(error)) from error
    except OSError as error:
        raise SilentError(reject_reason(error), str(error)) from error


class RefusedError(Exception):
    """The archive can't be had now. What is there of it stays."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(reason, message)


class SilentError(RefusedError):
    """Its place gives nothing. Another try may help."""


class _SpoiltError(RefusedError):
    """What is there is wrong."""


def check_size(archive: RemoteArchive, there: int) -> None:
    """Raises RefusedError where another number of bytes arrived than was announced, or none."""
    where = public_url(archive.url)
    if not there:
        raise RefusedError(Reason.ARCHIVE_NOT_ZIP, f"{where} is empty")
    if archive.bytes is not None and there != archive.bytes:
        message = f"{where}: {there:,} bytes arrived, announced were {archive.bytes:,}"
        if there < archive.bytes:
            raise RefusedError(Reason.ARCHIVE_TRUNCATED, message)
        raise _SpoiltError(Reason.ARCHIVE_CHANGED, message)


def check_sha256(archive: RemoteArchive, found: str) -> None:
    """Raises RefusedError where the archive has another SHA-256 than it must have."""
    if archive.sha256 and found != archive.sha256.lower():
        message = f"{public_url(archive.url)}: sha256 is {found}, expected {archive.sha256}"
        raise _SpoiltError(Reason.ARCHIVE_CHECKSUM, message)


def remove_other_states(area: StagingArea, archive: RemoteArchive) -> None:
    """Remove what was staged, or begun, of the archive as it was before it changed."""
    current = (archive.staged_name, archive.directory_name)
    for older in area.names(archive.staged_prefix):
        if older not in current:
            area.remove(older)
    for older in area.part_names(archive.staged_prefix):
        if older not in current:
            area.discard(older)


def _part_sha256(area: StagingArea, name: str, size: int) -> str:
    """Raises PartGoneError where the part is not what was written."""
    digest, read = hashlib.sha256(), 0
    for piece in area.read_part(name):
        digest.update(piece)
        read += len(piece)
    if read != size:
        raise PartGoneError(name)
    return digest.hexdigest()


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
