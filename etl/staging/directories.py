"""The directories of zip archives, read from wherever the archives lie.

From a server with ranges, or from a disk, the end of the archive is read. A server without ranges sends an
archive from its beginning only, and the directory lies at the end. Where archives must not all lie in the
staging area at once, each passes through a worker that keeps its end there, which is all that a plan needs;
the archive is fetched again when its volumes are converted.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections import deque
from dataclasses import dataclass, field

from etl.core.rejects import Reason
from etl.core.urls import public_url
from etl.io.opening import open_blob, open_staging
from etl.io.places import Blob, BlobError, BlobRefused, PartGoneError, StagingArea
from etl.io.ranged_file import SeekableFile
from etl.io.retries import TransferSettings, archive_budget, default_settings
from etl.staging.fetch import (
    Fetched,
    RefusedError,
    RemoteArchive,
    archive_blocks,
    check_sha256,
    check_size,
    remove_other_states,
)
from etl.staging.zip_directory import read_directory

# The kept end begins with the archive's size: positions in it count from the archive's beginning.
_SIZE = struct.Struct("<Q")


class EndFile(SeekableFile):
    """A file of which only the end is here; a read before it raises BlobRefused.

    Args:
        end: the last bytes of the file.
        size: bytes of the whole file.
    """

    def __init__(self, end: bytes, size: int) -> None:
        super().__init__(size)
        self._end, self._end_start = end, size - len(end)

    def read_range(self, start: int, stop: int) -> bytes:
        if start < self._end_start:
            return self._read_before_end(start, stop)
        return self._end[start - self._end_start : stop - self._end_start]

    def _read_before_end(self, start: int, stop: int) -> bytes:
        raise BlobRefused(f"byte {start:,} of {self.size:,} is not here, only those from {self._end_start:,}")


class BlobFile(EndFile):
    """A remote blob as a file: its end is read at once, the rest by range.

    Args:
        size: bytes of the blob.
        tag: from the blob's info; a change raises BlobChanged.
    """

    def __init__(self, blob: Blob, size: int, tag: str) -> None:
        super().__init__(blob.read(max(0, size - default_settings().tail_bytes), size, tag), size)
        self._blob, self._tag = blob, tag

    def _read_before_end(self, start: int, stop: int) -> bytes:
        return self._blob.read(start, stop, self._tag)


def open_kept_end(area: StagingArea, archive: RemoteArchive) -> EndFile | None:
    """Return the kept end of an archive that passed through; None where there is none.

    Raises:
        OSError: the staging area can't be read.
    """
    size = area.size(archive.directory_name)
    if size is None:
        return None
    kept = open_blob(area.url(archive.directory_name)).read(0, size)
    return EndFile(kept[_SIZE.size :], *_SIZE.unpack_from(kept))


@dataclass(frozen=True)
class DirectoryFetcher:
    """Fetcher of an archive's directory alone; a value that travels to workers.

    Attributes:
        staging: folder or bucket URL.
        most_bytes: most of an archive's end that is held in memory. The directory of the whole release, in
            one archive, would take about 100 MB.
        least_bytes: least of the end that is kept: the directory's end is looked for in 64 KiB, and a
            comment may fill them.
        settings: of the transfer.
    """

    staging: str
    most_bytes: int = 128 << 20
    least_bytes: int = 128 << 10
    settings: TransferSettings = field(default_factory=default_settings)

    def __call__(self, archive: RemoteArchive) -> Fetched:
        """Read the archive from its beginning to its end and keep the end.

        A fault of the source becomes a reason in the result.

        Raises:
            OSError: the staging area can't be read or written.
        """
        area, name = open_staging(self.staging), archive.directory_name
        if area.size(name) is not None:
            return Fetched(archive, archive.bytes or 0, 0, True, is_directory=True)
        try:
            end, size = self._end_of(archive)
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

    def _end_of(self, archive: RemoteArchive) -> tuple[bytes, int]:
        """Return the archive from its directory on, and its size. Raises RefusedError."""
        window: deque[bytes] = deque()
        digest, size, held = hashlib.sha256(), 0, 0
        budget = archive_budget(archive.url, self.settings)
        for block in archive_blocks(archive, 0, self.settings.block_bytes, budget):
            window.append(block)
            digest.update(block)
            size, held = size + len(block), held + len(block)
            while held - len(window[0]) >= self.most_bytes:
                held -= len(window.popleft())
        check_size(archive, size)
        check_sha256(archive, digest.hexdigest())
        end = b"".join(window)
        where = public_url(archive.url)
        try:
            start = read_directory(EndFile(end, size)).start
        except zipfile.BadZipFile as error:
            message = f"{where}: {size:,} bytes without a readable directory at their end: {error}"
            raise RefusedError(Reason.ARCHIVE_TRUNCATED, message) from error
        except BlobError as error:
            message = (
                f"{where}: its directory takes more than {self.most_bytes:,} bytes; "
                "remedy: keep_archives: true"
            )
            raise RefusedError(Reason.ARCHIVE_UNAVAILABLE, message) from error
        start = max(0, min(start, size - self.least_bytes))
        return end[start - (size - held) :], size
