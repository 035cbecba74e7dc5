"""The central directory of a zip, kept as its bytes and arrays: a member takes about 150 bytes, no object.

Source: PKWARE, .ZIP File Format Specification 6.3.10, sections 4.3.12 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

ZipSource = BinaryIO | io.RawIOBase

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_MOST_COMMENT_BYTES = 0xFFFF
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_SIGNATURE = b"PK\x06\x07"
_END_64 = struct.Struct("<4sQ2H2L4Q")
_END_64_SIGNATURE = b"PK\x06\x06"

_MEMBER_SIGNATURE = b"PK\x01\x02"
_LENGTHS = struct.Struct("<3H")
_LENGTHS_AT = 28
_MEMBER = np.dtype(
    {
        "names": ("version", "flags", "method", "crc32", "stored_bytes", "bytes", "offset"),
        "formats": ("<u2", "<u2", "<u2", "<u4", "<u4", "<u4", "<u4"),
        "offsets": (6, 8, 10, 16, 20, 24, 42),
        "itemsize": 46,
    }
)
_NEWEST_VERSION = 63
_IS_UTF_8 = 0x800
_IN_EXTRA = 0xFFFF_FFFF
_ZIP_64 = 1

FARTHEST = 1 << 62
"""Stands for all larger numbers that a directory may hold; no file is that large."""

MOST_DIRECTORY_BYTES = 512 << 20
"""The directory of the whole release, in one archive, would take about 100 MB."""


@dataclass(frozen=True, eq=False)
class ZipDirectory:
    """The members of a zip, in the order of its directory; one element of each array a member.

    Attributes:
        raw: the bytes of the directory.
        start: where it begins in the file.
        added: bytes before the zip, that its offsets do not count; they are added to `offsets`.
        positions: of the members in `raw`.
        flags, methods, crc32: as the directory has them.
        stored_bytes, plain_bytes: sizes compressed and not.
        offsets: of the local headers in the file.
    """

    raw: bytes
    start: int
    added: int
    positions: np.ndarray
    flags: np.ndarray
    methods: np.ndarray
    crc32: np.ndarray
    stored_bytes: np.ndarray
    plain_bytes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def raw_name(self, at: int) -> bytes:
        """Return the name of a member as the file has it."""
        position = int(self.positions[at])
        (length, _, _) = _LENGTHS.unpack_from(self.raw, position + _LENGTHS_AT)
        first = position + _MEMBER.itemsize
        return self.raw[first : first + length]

    def names(self) -> Iterator[str]:
        """Yield the name of each member, up to a NUL if there is one."""
        for at in range(len(self)):
            encoding = "utf-8" if self.flags[at] & _IS_UTF_8 else "cp437"
            yield self.raw_name(at).decode(encoding).partition("\0")[0]


def read_directory(file: ZipSource, most_bytes: int = MOST_DIRECTORY_BYTES) -> ZipDirectory:
    """Return the directory of a zip. Raise BadZipFile where it is damaged, absent or longer than that.

    Raises:
        OSError: the file can't be read.
    """
    start, size, offset = _find(file)
    if size > most_bytes:
        raise zipfile.BadZipFile(f"its directory takes {size:,} bytes; allowed: {most_bytes:,}")
    raw = _read(file, start, size)
    positions = np.fromiter(_positions(raw), np.int64)
    packed = np.frombuffer(raw, np.uint8)
    heads = np.empty(len(positions), _MEMBER)
    as_bytes = heads.view(np.uint8).reshape(len(positions), _MEMBER.itemsize)
    for byte in range(_MEMBER.itemsize):
        as_bytes[:, byte] = packed[positions + byte]
    newest = int(heads["version"].max(initial=0))
    if newest > _NEWEST_VERSION:
        raise zipfile.BadZipFile(
            f"it needs version {newest / 10} of the format; known: {_NEWEST_VERSION / 10}"
        )
    sizes = {name: heads[name].astype(np.int64) for name in ("bytes", "stored_bytes", "offset")}
    is_in_extra = np.any(np.stack([column == _IN_EXTRA for column in sizes.values()]), axis=0)
    for at in np.flatnonzero(is_in_extra).tolist():
        _read_zip_64(raw, int(positions[at]), at, sizes)
    added = start - offset
    if not 0 <= offset < FARTHEST:
        raise zipfile.BadZipFile("Bad offset for central directory")
    directory = ZipDirectory(
        raw,
        start,
        added,
        positions,
        heads["flags"].copy(),
        heads["method"].copy(),
        heads["crc32"].copy(),
        sizes["stored_bytes"],
        sizes["bytes"],
        np.where(sizes["offset"] < FARTHEST, sizes["offset"] + added, FARTHEST),
    )
    for at in np.flatnonzero(directory.flags & _IS_UTF_8).tolist():
        try:
            directory.raw_name(at).decode()
        except UnicodeDecodeError as error:
            raise zipfile.BadZipFile(f"a name is no UTF-8: {error}") from error
    return directory


def _find(file: ZipSource) -> tuple[int, int, int]:
    """Return where the directory starts, its size, and the start that the zip itself gives."""
    length = file.seek(0, io.SEEK_END)
    tail_start = max(0, length - _END.size)
    tail, at = _read(file, tail_start, _END.size), 0
    # Without a comment the record is at the very end.
    if tail[:4] != _END_SIGNATURE or tail[-2:] != b"\0\0":
        tail_start = max(0, tail_start - _MOST_COMMENT_BYTES)
        tail = _read(file, tail_start, length - tail_start)
        at = tail.rfind(_END_SIGNATURE)
    if at < 0 or at + _END.size > len(tail):
        raise zipfile.BadZipFile("File is not a zip file")
    _, _, _, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    found = _find_64(file, end) if end >= _LOCATOR.size + _END_64.size else None
    end, size, offset = found or (end, size, offset)
    if size > end:
        raise zipfile.BadZipFile("Bad offset for central directory")
    return end - size, size, offset


def _find_64(file: ZipSource, end: int) -> tuple[int, int, int] | None:
    """Return where the directory ends, its size and its start as the zip gives it; None without zip64."""
    locator = _read(file, end - _LOCATOR.size, _LOCATOR.size)
    signature, disk, place, disks = _LOCATOR.unpack(locator)
    if signature != _LOCATOR_SIGNATURE:
        return None
    if disk or disks > 1:
        raise zipfile.BadZipFile("zipfiles that span multiple disks are not supported")
    # The place does not count bytes before the zip, and the record may have more at its end.
    for at in (end - _LOCATOR.size - _END_64.size, place):
        if 0 <= at <= end - _LOCATOR.size - _END_64.size:
            record = _END_64.unpack(_read(file, at, _END_64.size))
            if record[0] == _END_64_SIGNATURE:
                return at, record[8], record[9]
    return None


def _positions(raw: bytes) -> Iterator[int]:
    """Yield where each member begins in the directory."""
    at = 0
    while at < len(raw):
        if raw[at : at + 4] != _MEMBER_SIGNATURE:
            raise zipfile.BadZipFile("Bad magic number for central directory")
        if at + _MEMBER.itemsize > len(raw):
            raise zipfile.BadZipFile("Truncated central directory")
        yield at
        at += _MEMBER.itemsize + sum(_LENGTHS.unpack_from(raw, at + _LENGTHS_AT))


def _read_zip_64(raw: bytes, position: int, at: int, sizes: dict[str, np.ndarray]) -> None:
    """Replace the sizes and the offset of one member that are in its extra field."""
    name, extra, _ = _LENGTHS.unpack_from(raw, position + _LENGTHS_AT)
    field = position + _MEMBER.itemsize + name
    end = min(field + extra, len(raw))
    while field + 4 <= end:
        kind, length = struct.unpack_from("<2H", raw, field)
        field += 4
        if kind != _ZIP_64:
            field += length
            continue
        for column in sizes.values():
            if column[at] != _IN_EXTRA:
                continue
            if length < 8 or field + 8 > end:
                raise zipfile.BadZipFile("Corrupt zip64 extra field")
            column[at] = min(struct.unpack_from("<Q", raw, field)[0], FARTHEST)
            field, length = field + 8, length - 8
        return


def _read(file: ZipSource, start: int, size: int) -> bytes:
    """Return bytes of a file, fewer where it ends before."""
    file.seek(start)
    pieces, left = [], size
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
