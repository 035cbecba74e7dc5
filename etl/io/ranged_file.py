"""A file anywhere as one that is read by range, for libraries that seek."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from etl.core.urls import is_local
from etl.io.opening import open_blob

_BUFFER_BYTES = 1 << 18


class _Ranges(io.RawIOBase):
    """A blob as a file that is read by range."""

    def __init__(self, url: str, size: int, tag: str) -> None:
        self._blob, self._size, self._tag, self._at = open_blob(url), size, tag, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._at + len(buffer), self._size)
        data = self._blob.read(self._at, stop, self._tag) if stop > self._at else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_ranges(url: str, size: int, tag: str) -> BinaryIO:
    """Open a file anywhere to be read and sought in, by range.

    Args:
        url: path or URL of a file whose server takes ranges.
        size: its bytes.
        tag: of the state that is read; empty where none is known.

    Raises:
        OSError: it can't be read, or changed.
    """
    if is_local(url):
        return open(url.removeprefix("file://"), "rb")
    return io.BufferedReader(_Ranges(url, size, tag), _BUFFER_BYTES)
