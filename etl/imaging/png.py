"""Decode a 16-bit greyscale PNG.

The whole file is checked first: chunks and their CRCs, the header, the size of the inflated pixel data and
its checksum. No other chunk (gamma, transparency, orientation, animation) can change a value. Plain images
are unfiltered here; interlaced ones go to the image library, as a PNG of only the header and the pixel data.
Source: PNG specification, third edition, W3C 2025, sections 5, 7, 8, 9 and 10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple, cast

import imageio.v3 as imageio
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from etl.imaging.unfilter import unfilter

STORED_ZERO_HU = 32768

# The stub of isal types it as an exception, not as a class of exceptions.
_IsalError = cast("type[Exception]", isal_zlib.error)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ANCILLARY = 0x20  # set in the first byte of a chunk type that a decoder may skip
_BYTES_PER_PIXEL = 2
_CHUNK_START, _CHUNK_CRC = struct.Struct(">I4s"), struct.Struct(">I")
_LAST_FILTER_TYPE = 4
# x start, y start, x step, y step of the passes of an interlaced image
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class PngFault(Enum):
    """Kind of fault of a file."""

    NOT_PNG = auto()
    NOT_16BIT_GREY = auto()
    SIZE_MISMATCH = auto()
    TRUNCATED = auto()
    CORRUPT = auto()


class PngError(ValueError):
    """The file is not a sound PNG of the expected kind and size."""

    def __init__(self, fault: PngFault, message: str) -> None:
        self.fault, self.message = fault, message
        super().__init__(fault, message)


class Header(NamedTuple):
    """Fields of the IHDR chunk."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    compression: int
    filtering: int
    interlace: int


def read_png(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Decode an image.

    Args:
        data: the whole file. Bytes after its end chunk are ignored.
        shape: expected (rows, columns), compared with the header before anything is inflated.

    Returns:
        The values as stored, (rows, columns), native byte order. HU are `stored - STORED_ZERO_HU`.

    Raises:
        PngError: for any other file. Nothing else is raised, and no pixels are made up.
    """
    header, pixel_data = read_chunks(data, shape)
    rows = _inflate(pixel_data, header)
    if header.interlace:
        return _read_interlaced(rows, header)
    pixels = np.empty(shape, np.uint16)
    unfilter(np.frombuffer(rows, np.uint8).reshape(shape[0], -1), pixels)
    return pixels


def _read_interlaced(rows: bytes, header: Header) -> NDArray[np.uint16]:
    # Stored, not compressed: the stream is inflated already.
    bare = b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", *header)),
            _chunk(b"IDAT", zlib.compress(rows, 0)),
            _chunk(b"IEND", b""),
        )
    )
    try:
        image = imageio.imread(bare, plugin="pillow", extension=".png")
    except Exception as error:
        raise PngError(PngFault.NOT_PNG, f"the image library can't decode it: {error}") from error
    if image.shape != (header.height, header.width) or image.dtype != np.uint16:
        raise PngError(
            PngFault.NOT_16BIT_GREY,
            f"decoded to {image.dtype} {image.shape}; expected uint16 {(header.height, header.width)}",
        )
    return image.astype(np.uint16, copy=False)


def read_chunks(data: bytes, shape: tuple[int, int]) -> tuple[Header, bytes]:
    """Return the checked header and the compressed pixel data; arguments and errors as of `read_png`."""
    if not data.startswith(SIGNATURE):
        raise PngError(
            PngFault.NOT_PNG, f"starts with {data[:8].hex(' ') or 'nothing'}, not a PNG's signature"
        )
    header: Header | None = None
    parts: list[memoryview] = []
    previous = b""
    for kind, body in _chunks(data):
        if header is None:
            if kind != b"IHDR":
                raise PngError(PngFault.NOT_PNG, f"first chunk is {kind!r}, not IHDR")
            header = _read_header(body, shape)
        elif kind == b"IDAT":
            if parts and previous != b"IDAT":
                raise PngError(PngFault.NOT_PNG, "IDAT chunks are not consecutive")
            parts.append(body)
        elif kind == b"IEND":
            break
        elif not kind[0] & _ANCILLARY:
            raise PngError(PngFault.NOT_PNG, f"chunk {kind!r} has no place in a greyscale PNG")
        previous = kind
    if header is None or not parts:
        raise PngError(PngFault.TRUNCATED, "holds no pixel data (no IDAT chunk)")
    return header, b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and body of every chunk up to IEND, its CRC checked."""
    view, size = memoryview(data), len(data)
    at = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if size - at < 12:
            raise PngError(PngFault.TRUNCATED, f"ends at byte {size} without an IEND chunk")
        length, kind = _CHUNK_START.unpack_from(data, at)
        end = at + 12 + length
        if end > size:
            raise PngError(
                PngFault.TRUNCATED,
                f"chunk {kind!r} at byte {at} reaches to byte {end}, the data ends at {size}",
            )
        (expected,) = _CHUNK_CRC.unpack_from(data, end - 4)
        actual = isal_zlib.crc32(view[at + 4 : end - 4])
        if actual != expected:
            raise PngError(
                PngFault.CORRUPT,
                f"chunk {kind!r} at byte {at} has CRC-32 {actual:08x}, the file says {expected:08x}",
            )
        yield kind, view[at + 8 : end - 4]
        at = end


def _read_header(body: memoryview, shape: tuple[int, int]) -> Header:
    if len(body) != 13:
        raise PngError(PngFault.NOT_PNG, f"IHDR has {len(body)} bytes, not 13")
    header = Header(*struct.unpack(">IIBBBBB", body))
    if (header.bit_depth, header.colour_type) != (16, 0):
        raise PngError(
            PngFault.NOT_16BIT_GREY,
            f"bit depth {header.bit_depth}, colour type {header.colour_type}; allowed: 16 and 0 (greyscale)",
        )
    if (header.height, header.width) != shape:
        raise PngError(
            PngFault.SIZE_MISMATCH,
            f"{header.height} rows x {header.width} columns; its run has {shape[0]} x {shape[1]}",
        )
    if header.compression != 0 or header.filtering != 0 or header.interlace > 1 or 0 in shape:
        raise PngError(PngFault.NOT_PNG, f"IHDR has values that no PNG has: {header}")
    return header


def _inflate(pixel_data: bytes, header: Header) -> bytes:
    """Return the filtered rows of all passes: as many bytes as the header needs, their checksum checked."""
    passes = list(_passes(header))
    needed = sum(rows * (1 + columns * _BYTES_PER_PIXEL) for rows, columns in passes)
    # isal accepts a preset window, which zlib refuses. Encoders write 0x78 as the first byte.
    library = isal_zlib if pixel_data[:1] == b"\x78" else zlib
    # One byte more than needed, so that end and checksum are read too and a bomb is not inflated.
    inflater = library.decompressobj()
    try:
        rows_data = inflater.decompress(pixel_data, needed + 1)
    except (zlib.error, _IsalError) as error:
        raise PngError(PngFault.CORRUPT, f"pixel data is corrupt: {error}") from error
    if len(rows_data) > needed:
        raise PngError(
            PngFault.SIZE_MISMATCH, f"pixel data inflates to more than the {needed} bytes of its size"
        )
    if len(rows_data) < needed or not inflater.eof:
        raise PngError(
            PngFault.TRUNCATED,
            f"pixel data inflates to {len(rows_data)} of {needed} bytes and ends early",
        )
    at = 0
    for rows, columns in passes:
        stride = 1 + columns * _BYTES_PER_PIXEL
        worst = max(rows_data[at : at + rows * stride : stride])
        if worst > _LAST_FILTER_TYPE:
            raise PngError(PngFault.NOT_PNG, f"a row has filter type {worst}; allowed: 0 to 4")
        at += rows * stride
    return rows_data


def _passes(header: Header) -> Iterator[tuple[int, int]]:
    """Yield (rows, columns) of every pass that has pixels: one, or up to seven of an interlaced image."""
    grid = _ADAM7 if header.interlace else ((0, 0, 1, 1),)
    for x_start, y_start, x_step, y_step in grid:
        rows = -(-(header.height - y_start) // y_step)
        columns = -(-(header.width - x_start) // x_step)
        if rows > 0 and columns > 0:
            yield rows, columns


def _chunk(kind: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", crc)))
