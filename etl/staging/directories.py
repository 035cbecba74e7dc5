"""The directories of zip archives, and how one is had from a server without ranges.

Such a server sends an archive from its beginning only, and the directory lies at the end. Where archives must
not all lie in the staging area at once, each passes through a worker that keeps the end of it there, which is
all that a plan needs. The archive is fetched again when its volumes are converted.
"""

from __future__ import annotations

import errno
import hashlib
import io
import struct
import zipfile
from collections import deque
from dataclasses import dataclass
from typing import BinaryIO, cast

from etl.core.rejects import Reason
from etl.core.urls import public_url
from etl.io.blob_file import EndFile
from etl.io.blobs import BlobError, open_blob
from etl.io.staging_areas import PartGoneError, StagingArea, open_staging
from etl.staging.fetch import (
    BLOCK_BYTES,
    Fetched,
    RefusedError,
    RemoteArchive,
    archive_blocks,
    check_sha256,
    check_size,
    remove_other_states,
)

# The directory of the whole release, in one archive, would take about 100 MB.
MOST_BYTES = 128 * 2**20
# zipfile looks for the directory's end in this many bytes, and a comment may fill them.
LEAST_BYTES = 1 << 17
# The archive's size comes before the end that is kept: positions in it count from the archive's beginning.
_SIZE = struct.Struct("<Q")


def read_directory(file: BinaryIO | io.RawIOBase) -> tuple[list[zipfile.ZipInfo], int]:
    """The members and where the directory starts. Raises BadZipFile where there is no sound directory."""
    try:
        with zipfile.ZipFile(cast("BinaryIO", file)) as archive:
            return archive.infolist(), archive.start_dir
    except (NotImplementedError, ValueError, struct.error, EOFError, OverflowError, MemoryError) as error:
        raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("its directory points outside the file") from error


def open_kept_end(area: StagingArea, archive: RemoteArchive) -> EndFile | None:
    """The end of an archive that passed through; None where none is kept.

    Raises:
        OSError, BlobError: the staging area can't be read.
    """
    size = area.size(archive.directory_name)
    if size is None:
        return None
    kept = open_blob(area.url(archive.directory_name)).read(0, size)
    return EndFile(kept[_SIZE.size :], *_SIZE.unpack_from(kept))


@dataclass(frozen=True)
class DirectoryFetcher:
    """Lets an archive pass by and keeps its directory; a value that travels to workers.

    Attributes:
        staging: folder or bucket URL.
    """

    staging: str

    def __call__(self, archive: RemoteArchive) -> Fetched:
        """Read the archive from its beginning to its end.

        What the source does wrong is a reason in the result.

        Raises:
            OSError: the staging area can't be read or written.
        """
        area, name = open_staging(self.staging), archive.directory_name
        if area.size(name) is not None:
            return Fetched(archive, archive.bytes or 0, 0, True, is_directory=True)
        try:
            end, size = _end_of(archive)
        except RefusedError as refused:
            return Fetched(archive, 0, 0, False, refused.reason, refused.message, is_directory=True)
        try:
            area.append(name, 0, kept := _SIZE.pack(size) + end)
            area.finish(name, len(kept))
        except PartGoneError:
            if area.size(name) is None:
                raise OSError(f"{area.url(name)} was removed while it was written") from None
        remove_other_states(area, archive)
        return Fetched(archive, size, size, True, is_directory=True)


def _end_of(archive: RemoteArchive) -> tuple[bytes, int]:
    """(the archive from its directory on, its size). Raises RefusedError."""
    window: deque[bytes] = deque()
    digest, size, held = hashlib.sha256(), 0, 0
    for block in archive_blocks(archive, 0, BLOCK_BYTES, archive.patience):
        window.append(block)
        digest.update(block)
        size, held = size + len(block), held + len(block)
        while held - len(window[0]) >= MOST_BYTES:
            held -= len(window.popleft())
    check_size(archive, size)
    check_sha256(archive, digest.hexdigest())
    end = b"".join(window)
    where = public_url(archive.url)
    try:
        _, start = read_directory(EndFile(end, size))
    except zipfile.BadZipFile as error:
        message = f"{where}: {size:,} bytes without a readable directory at their end: {error}"
        raise RefusedError(Reason.ARCHIVE_TRUNCATED, message) from error
    except BlobError as error:
        message = f"{where}: its directory takes more than {MOST_BYTES:,} bytes; remedy: keep_archives: true"
        raise RefusedError(Reason.ARCHIVE_UNAVAILABLE, message) from error
    start = max(0, min(start, size - LEAST_BYTES))
    return end[start - (size - held) :], size
