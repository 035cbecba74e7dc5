"""Bytes in a place: the protocols that local disks, buckets and web servers have in common, and their errors.

    Blob          one file or object, read by range; anywhere
    Objects       a folder of whole objects, each written at once or not at all: a store
    StagingArea   Objects whose parts grow until they are whole: archives on their way

`etl.io.opening` gives the one for a path or URL. Whatever goes wrong is an OSError:

    OSError                             the place fails now; another try may help
    +-- ConnectionError, TimeoutError   it does not answer, after retries
    +-- PartGoneError                   another run finished or removed the part
    +-- BlobError                       another try does not help
        +-- BlobChanged                 the blob is not the one that was looked at
        +-- BlobRefused                 the place answers otherwise: not found, forbidden, an error page
"""

from __future__ import annotations

import builtins
import errno
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from etl.core.errors import StoreError
from etl.core.rejects import Reason

PARTIAL = ".partial"
"""Folder of a store or staging area that holds what is not whole yet."""

STREAM_BYTES = 1 << 18
"""Bytes of a piece of a stream."""


class BlobError(OSError):
    """The place does not give the bytes, and trying again now does not help."""


class BlobChanged(BlobError):  # noqa: N818
    """The bytes are not those that were looked at before."""


class BlobRefused(BlobError):  # noqa: N818
    """The place answers with something else: not found, forbidden, an error page."""


class PartGoneError(OSError):
    """The part is not what was written: another run finished it, or discarded it, in the meantime."""


# Errors of the system about what lies at a path, also of a disk that lost a part of it.
_OF_OBJECTS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO),
    *(errno.EIO, errno.EBADMSG),
)


def is_outage(error: BaseException) -> bool:
    """Return whether an error is one of the place or the machine, and no evidence about what was read.

    Libraries raise an OSError without a number for bytes that they can't decode.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _OF_OBJECTS
    return isinstance(error, MemoryError | ConnectionError | TimeoutError | PermissionError | BlobError)


def reject_reason(error: OSError) -> Reason:
    """Return the reason for rejecting an archive that failed with this error."""
    return Reason.ARCHIVE_CHANGED if isinstance(error, BlobChanged) else Reason.ARCHIVE_UNAVAILABLE


@dataclass(frozen=True)
class BlobInfo:
    """A place's description of a blob.

    Attributes:
        bytes: its size; None where the server does not say.
        tag: ETag or time of change, different after each change; empty where there is none.
        has_ranges: parts of it can be read.
        head: its first bytes, up to 4.
    """

    bytes: int | None
    tag: str
    has_ranges: bool
    head: builtins.bytes


class Blob(Protocol):
    """One file or object, read only. All methods raise OSError where the place fails, or BlobRefused."""

    @property
    def url(self) -> str:
        """Path or URL; its query may hold secrets."""

    def info(self) -> BlobInfo:
        """Return the blob's description, from one request."""

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        """Return exactly the bytes [start, end), from one request where nothing goes wrong.

        Args:
            tag: from an earlier `info`; empty to accept any state.

        Raises:
            BlobChanged: the blob has another tag, or is shorter than `end`.
        """

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        """Yield the bytes from `start` on in small pieces; the way to read from a server without ranges.

        Raises:
            BlobChanged: the blob has another tag, changes on the way, or is shorter than `start`.
        """


@dataclass(frozen=True)
class ObjectInfo:
    """One object: path relative to where it is listed, size in bytes, SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Listed:
    """One entry of a listing: size in bytes, and the time of writing in seconds since 1970.

    The time comes from the store's clock: compare it with other objects', never with this machine's.
    """

    bytes: int
    written_s: float


def object_info(path: str, *pieces: bytes) -> ObjectInfo:
    """Return size and SHA-256 of an object's bytes, which may come in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return ObjectInfo(path, sum(map(len, pieces)), digest.hexdigest())


def checked_name(name: str) -> tuple[str, ...]:
    """Return the parts of an object's name. Raises StoreError where it would lead out of the store."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise StoreError("not the name of an object", value=name, allowed="a relative path inside the store")
    return parts


class Objects(Protocol):
    """A folder of whole objects. All methods raise OSError where the place fails."""

    @property
    def root(self) -> str:
        """Absolute path, or URL, of the folder."""

    def url(self, name: str) -> str:
        """Return the object's path or URL, for `open_blob`."""

    def read(self, name: str) -> bytes:
        """Return the object's bytes. Raises FileNotFoundError where there is none."""

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`. Raises FileNotFoundError where there is no object."""

    def read_end(self, name: str, count: int) -> bytes:
        """Return the object's last `count` bytes, or all where it has fewer. Raises FileNotFoundError."""

    def read_ranges(
        self, name: str, ranges: Sequence[tuple[int, int]], requests: int
    ) -> Sequence[bytes | memoryview]:
        """Return the bytes of each range [start, stop); fewer where the object ends before.

        Args:
            ranges: ascending, none within another.
            requests: most requests to a remote place, which then also sends what lies between some ranges.

        Raises:
            FileNotFoundError: there is no object.
        """

    def size(self, name: str) -> int | None:
        """Return the object's size in bytes, or None where there is none."""

    def listed(self, prefix: str) -> dict[str, Listed]:
        """Return all objects below a folder, by their names in it."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the sizes in bytes of all objects below a folder, by their names in it."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the names of all objects below a folder, sorted; none where there is no such folder."""

    def write(self, name: str, *pieces: bytes) -> None:
        """Write an object whole, replacing one of that name; its bytes may come in pieces."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object atomically if none of that name exists, and return True; else return False."""

    def remove(self, name: str) -> None:
        """Delete an object, if it exists."""

    def remove_all(self, names: Sequence[str]) -> None:
        """Delete many objects, those that exist, in batches where the place has them; and emptied folders.

        Raises:
            OSError: some could not be deleted.
        """

    def check_writable(self) -> None:
        """Write, read back and delete one object, and check that an exclusive create is exclusive.

        Raises:
            StoreError: with the system's answer.
        """

    def free_bytes(self) -> int | None:
        """Return the bytes free in the place; None where it has no such number."""


class StagingArea(Objects, Protocol):
    """Objects that arrive in parts. A part grows from its beginning; `finish` makes it an object at once.

    Two runs may fetch the same archive at once: they write the same bytes to the same places.
    """

    def names(self, prefix: str) -> Sequence[str]:
        """Return the names of objects directly in the root that begin with `prefix`, sorted."""

    def part_names(self, prefix: str) -> Sequence[str]:
        """Return the names of parts that begin with `prefix`, sorted."""

    def part_bytes(self, name: str) -> int:
        """Return how many bytes of the part are there, from its beginning without a gap."""

    def append(self, name: str, at: int, block: bytes) -> None:
        """Add a block to the part, which has `at` bytes. Raises PartGoneError."""

    def read_part(self, name: str) -> Iterator[bytes]:
        """Yield the part's bytes, in order. Raises PartGoneError."""

    def finish(self, name: str, size: int) -> None:
        """Turn the part, which has `size` bytes, into the object of its name. Raises PartGoneError."""

    def discard(self, name: str) -> None:
        """Delete the part, if it exists."""
