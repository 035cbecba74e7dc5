"""A remote archive as a file that zipfile can read: its end is fetched at once, the rest as asked for."""

from __future__ import annotations

import io
import os
from typing import Any

from etl.release.blobs import Blob

# An official archive holds about 16,600 members, so its directory takes under 2 MiB: one request.
TAIL_BYTES = 4 * 2**20


class BlobFile(io.RawIOBase):
    """Reads a blob by range.

    Args:
        size: bytes of the blob.
        tag: of the blob when it was looked at; a change raises BlobChanged.
    """

    def __init__(self, blob: Blob, size: int, tag: str) -> None:
        self._blob, self._size, self._tag = blob, size, tag
        self._tail_start = max(0, size - TAIL_BYTES)
        self._tail = blob.read(self._tail_start, size, tag)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        if self._at >= self._tail_start:
            data = self._tail[self._at - self._tail_start : end - self._tail_start]
        else:
            data = self._blob.read(self._at, end, self._tag)
        view[: len(data)] = data
        self._at = end
        return len(data)
