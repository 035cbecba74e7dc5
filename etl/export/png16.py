"""Write PNGs of 16 bits a channel; Pillow writes none in colour."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from etl.imaging.png import SIGNATURE, STORED_ZERO_HU

_GREY, _RGB = 0, 2
_UP = 2
"""Filter of every row: the difference from the row above it."""
_LEVEL = 6


def encode_png16(pixels: NDArray[np.uint16]) -> bytes:
    """Return a PNG of grey (y, x) or of three channels (y, x, 3), 16 bits each; equal pixels, equal bytes."""
    height, width = pixels.shape[:2]
    colour = _GREY if pixels.ndim == 2 else _RGB
    # PNG is big-endian, and its filters work on bytes.
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL)), (b"IEND", b"")
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def stored_values(hu: NDArray[np.floating | np.integer]) -> NDArray[np.uint16]:
    """Return HU + 32768, rounded, as the release's own PNGs hold it."""
    return (np.rint(hu).astype(np.int32) + STORED_ZERO_HU).astype(np.uint16)
