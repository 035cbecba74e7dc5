"""A remote archive as a file that zipfile can read: its end is fetched at once, the rest as asked for."""

from __future__ import annotations

import io
import os
from typing import Any

from etl.io.blobs import Blob, BlobRefused

# An official archive holds about 16,600 members, so its directory takes under 2 MiB: one request.
TAIL_BYTES = 4 * 2**20


class EndFile(io.RawIOBase):
    """A file of which only the end is at hand; a read before it raises BlobRefused.

    Args:
        end: the last bytes of the file.
        size: bytes of the whole file.
    """

    def __init__(self, end: bytes, size: int) -> None:
        self._end, self.size, self.end_start = end, size, size - len(end)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self.size)
        if stop <= self._at:
            return 0
        if self._at >= self.end_start:
            data = self._end[self._at - self.end_start : stop - self.end_start]
        else:
            data = self._read_before_end(self._at, stop)
        view[: len(data)] = data
        self._at = stop
        return len(data)

    def _read_before_end(self, start: int, stop: int) -> bytes:
        raise BlobRefused(
            f"byte {start:,} of {self.size:,} is not at hand, only those from {self.end_start:,}"
        )


class BlobFile(EndFile):
    """Reads a blob by range.

    Args:
        size: bytes of the blob.
        tag: of the blob when it was looked at; a change raises BlobChanged.
    """

    def __init__(self, blob: Blob, size: int, tag: str) -> None:
        super().__init__(blob.read(max(0, size - TAIL_BYTES), size, tag), size)
        self._blob, self._tag = blob, tag

    def _read_before_end(self, start: int, stop: int) -> bytes:
        return self._blob.read(start, stop, self._tag)
