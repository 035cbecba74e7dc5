"""A file anywhere as one that is read by range, for libraries that seek."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from typing import Any, BinaryIO

from etl.core.urls import is_local
from etl.io.opening import open_blob

_BUFFER_BYTES = 1 << 18


class SeekableFile(io.RawIOBase, ABC):
    """Bytes of a known number as a file that is read by range; what reads them is a subclass's.

    Args:
        size: bytes of the whole file.
    """

    def __init__(self, size: int) -> None:
        self.size, self._at = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self.size)
        data = self.read_range(self._at, stop) if stop > self._at else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    @abstractmethod
    def read_range(self, start: int, stop: int) -> bytes:
        """Return some of its bytes, at least one."""


class _Ranges(SeekableFile):
    """A blob as a file that is read by range."""

    def __init__(self, url: str, size: int, tag: str) -> None:
        super().__init__(size)
        self._blob, self._tag = open_blob(url), tag

    def read_range(self, start: int, stop: int) -> bytes:
        return self._blob.read(start, stop, self._tag)


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
