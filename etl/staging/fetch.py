"""Fetch archives block by block into a staging area that all workers reach.

An archive has its name there once it is whole. No byte is fetched twice: an interrupted archive continues
from where it stopped, on whichever worker takes it up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from time import monotonic
from urllib.parse import urlsplit

from etl.core.errors import ConfigError, explained
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import blob_name, public_url
from etl.io.opening import open_blob, open_staging
from etl.io.places import BlobError, PartGoneError, StagingArea, reject_reason
from etl.io.retries import RetryBudget, TransferSettings, archive_budget, default_settings, silence_message

# The signature of a first member, of the directory's end in an empty archive, and of a spanned archive.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# More parts a bucket does not join.
_MOST_BLOCKS = 10_000
# Parameters of signed URLs (S3, Google, CloudFront, Azure), which differ with each signature.
_SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|key-pair-id|signature|expires|policy|(access_?)?token"
    r"|s(ig|e|t|p|pr|v|r|rt|ip|koid|ktid|kt|ke|ks|kv)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RemoteArchive:
    """An archive on a server or in a bucket.

    Attributes:
        url: its URL.
        name: file name, `Images_png_01.zip`; with folders before it where several archives have that.
        bytes: size as announced; None where it is not known.
        sha256: expected SHA-256 in hex; empty where it is not known.
        tag: ETag or time of change when it was looked at; empty where there is none.
        has_ranges: the server sends parts of it.
        silent_seconds: seconds without a new byte at the end of the last attempt.
    """

    url: str = field(repr=False)  # the log of a failed task shows its arguments; a URL may be signed
    name: str
    bytes: int | None = None
    sha256: str = ""
    tag: str = ""
    has_ranges: bool = True
    silent_seconds: float = field(default=0.0, compare=False)

    @property
    def staged_name(self) -> str:
        """Name of the copy in the staging area; it changes with the source's size and tag."""
        return f"{self._state_name}.zip"

    @property
    def directory_name(self) -> str:
        """Name in the staging area of the directory alone, kept where the server sends no ranges."""
        return f"{self._state_name}.directory"

    @property
    def _state_name(self) -> str:
        return f"{self.staged_prefix}{_short(f'{self.bytes} {self.tag}')}"

    @property
    def staged_prefix(self) -> str:
        """Beginning of the staged names of all states of this archive, and of no other archive."""
        own_name = self.name.rpartition("/")[2]
        return f"{own_name.removesuffix('.zip')}.{_short(_unsigned(self.url))}."


def staging_readable(staging: str) -> AbstractContextManager[None]:
    """Turn an OSError while a staging area is read into a ConfigError."""
    return explained(
        ConfigError,
        "the staging area can't be read",
        where=f"source.staging: {staging}",
        remedy="change its permissions, or set source.staging to another place",
    )


def remote_archive(url: str, sha256: str = "") -> RemoteArchive:
    """Return the archive at a URL, not yet looked at."""
    return RemoteArchive(url, blob_name(url), sha256=sha256)


@dataclass(frozen=True)
class Fetched:
    """Result of one task of a Fetcher or DirectoryFetcher.

    Attributes:
        archive: the archive, with its silent seconds so far.
        bytes_there: bytes in the staging area.
        bytes_now: bytes that this task fetched.
        is_whole: it is there under its name, verified.
        reason, message: why the archive is rejected; None and empty otherwise.
        is_directory: the task kept the archive's directory alone.
        delay: log line about a silent host; empty where bytes came. The archive is tried again.
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
        """Row of `rejects` for an archive that is rejected; None for any other."""
        if self.reason is None:
            return None
        return Reject(Kind.ARCHIVE, self.reason, self.archive.name, self.message)


@dataclass(frozen=True)
class Fetcher:
    """Fetcher of an archive's next blocks; a value that travels to workers.

    Attributes:
        staging: folder or bucket URL.
        settings: of the transfer.
    """

    staging: str
    settings: TransferSettings = field(default_factory=default_settings)

    def __call__(self, archive: RemoteArchive) -> Fetched:
        """Fetch up to `settings.blocks_a_task` more blocks, and finish the archive with the last.

        A fault of the source becomes a reason in the result.

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
        budget = archive_budget(archive.url, self.settings)
        block_bytes = max(self.settings.block_bytes, -(-(archive.bytes or 0) // _MOST_BLOCKS))
        try:
            stop = there + block_bytes * self.settings.blocks_a_task
            for block in archive_blocks(archive, there, block_bytes, budget.until_next_log, stop):
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
            if budget.is_exhausted(silent_seconds):
                return Fetched(archive, there, now, False, silent.reason, silent.message)
            delay = silence_message(silent.message, silent_seconds, budget.seconds)
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
    archive: RemoteArchive, there: int, block_bytes: int, budget: RetryBudget, stop: int | None = None
) -> Iterator[bytes]:
    """Yield the next blocks, from byte `there` to `stop`, or to the end where the server has no ranges.

    Raises:
        RefusedError: the source sends something else, or refuses.
        SilentError: the source sends nothing, and the budget is used up.
    """
    blob, where = open_blob(archive.url, budget), public_url(archive.url)
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
    """The source does not send the archive. Its staged bytes stay."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(reason, message)


class SilentError(RefusedError):
    """The source sends nothing. Another try may help."""


class _SpoiltError(RefusedError):
    """The staged bytes are wrong and must go."""


def check_size(archive: RemoteArchive, there: int) -> None:
    """Raise RefusedError where another number of bytes arrived than was announced, or none."""
    where = public_url(archive.url)
    if not there:
        raise RefusedError(Reason.ARCHIVE_NOT_ZIP, f"{where} is empty")
    if archive.bytes is not None and there != archive.bytes:
        message = f"{where}: {there:,} bytes arrived, announced were {archive.bytes:,}"
        if there < archive.bytes:
            raise RefusedError(Reason.ARCHIVE_TRUNCATED, message)
        raise _SpoiltError(Reason.ARCHIVE_CHANGED, message)


def check_sha256(archive: RemoteArchive, found: str) -> None:
    """Raise RefusedError where the archive does not have the expected SHA-256."""
    if archive.sha256 and found != archive.sha256.lower():
        message = f"{public_url(archive.url)}: sha256 is {found}, expected {archive.sha256}"
        raise _SpoiltError(Reason.ARCHIVE_CHECKSUM, message)


def remove_other_states(area: StagingArea, archive: RemoteArchive) -> None:
    """Remove copies and parts of the archive as it was before it changed."""
    current = (archive.staged_name, archive.directory_name)
    for older in area.names(archive.staged_prefix):
        if older not in current:
            area.remove(older)
    for older in area.part_names(archive.staged_prefix):
        if older not in current:
            area.discard(older)


def _part_sha256(area: StagingArea, name: str, size: int) -> str:
    """Return the part's SHA-256. Raises PartGoneError where the part is not what was written."""
    digest, read = hashlib.sha256(), 0
    for piece in area.read_part(name):
        digest.update(piece)
        read += len(piece)
    if read != size:
        raise PartGoneError(name)
    return digest.hexdigest()


def _joined(pieces: Iterator[bytes], block_bytes: int) -> Iterator[bytes]:
    """Yield blocks of equal size, the last one shorter."""
    block = bytearray()
    for piece in pieces:
        block += piece
        while len(block) >= block_bytes:
            yield bytes(block[:block_bytes])
            del block[:block_bytes]
    if block:
        yield bytes(block)


def _unsigned(url: str) -> str:
    """Return the URL without user and signature, which stays the same when the link is signed again."""
    query = urlsplit(url).query
    named = "&".join(part for part in query.split("&") if not _SIGNATURE.fullmatch(part.partition("=")[0]))
    return f"{public_url(url)}?{named}" if named else public_url(url)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
