"""One level of a volume, plane by plane -> the bytes of its only shard. Source: Zarr v3 sharding codec, 1.0.

zarr-python takes half as long again as the compression itself, since every chunk passes through an event loop
and a thread, and needs the whole volume at once. The encoded chunks are the same; the tests compare them.
A CRC-32C follows each chunk and the index, so that a reader finds a changed byte in what it reads.
"""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

from etl.imaging.kernels import compiled


@compiled
def _place(plane: Any, tiles: Any) -> None:
    """Lay a plane, (rows, columns), into its part of each chunk: (chunks along y, along x, y, x)."""
    rows, columns = tiles.shape[2], tiles.shape[3]
    for y in range(plane.shape[0]):
        for block in range(tiles.shape[1]):
            # Of two slices, not of x plus an offset: only so the loop is vectorised.
            source = plane[y, block * columns : (block + 1) * columns]
            target = tiles[y // rows, block, y % rows]
            for x in range(source.shape[0]):
                target[x] = source[x]


class ShardEncoder:
    """Encodes a volume whose chunks all lie in one shard, in the order of z, y, x, its index at the end.

    It holds one layer of chunks and what is encoded.

    Args:
        shape: (z, y, x) of the volume, not empty.
        chunk: voxels along each axis of an inner chunk; those at the far ends are padded with `fill_hu`.
        codec: compresses each chunk on its own.
    """

    def __init__(
        self, shape: tuple[int, int, int], chunk: tuple[int, int, int], codec: Blosc, fill_hu: int
    ) -> None:
        self._shape, self._codec, self._fill_hu = shape, codec, fill_hu
        counts = tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))
        self._slab = np.full((*counts[1:], *chunk), fill_hu, "<i2")
        self._index = np.empty((*counts, 2), "<u8")
        # In pieces: what grows in one piece is moved as it grows, and takes its memory twice meanwhile.
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._planes = 0

    def add(self, plane: NDArray[np.int16]) -> None:
        """Take the next plane, int16 (y, x).

        Raises:
            ValueError: it has another shape, or the volume was complete.
        """
        if plane.shape != self._shape[1:] or self._planes == self._shape[0]:
            raise ValueError(f"plane {self._planes} is {plane.shape}; the volume is {self._shape}")
        depth = self._slab.shape[2]
        _place(plane, self._slab[:, :, self._planes % depth])
        self._planes += 1
        if self._planes % depth == 0:
            self._encode(self._planes // depth - 1)

    def finish(self) -> tuple[bytes, ...]:
        """Return the shard in pieces. Raise ValueError if planes are missing."""
        if self._planes != self._shape[0]:
            raise ValueError(f"{self._planes} planes came; the volume is {self._shape}")
        depth = self._slab.shape[2]
        if left := self._planes % depth:
            self._slab[:, :, left:] = self._fill_hu
            self._encode(self._planes // depth)
        end = self._index.tobytes()
        return (*self._pieces, end, self.checksum(end))

    @staticmethod
    def checksum(data: bytes) -> bytes:
        """Return the CRC-32C of bytes, which Zarr's codec `crc32c` puts behind them."""
        return google_crc32c.value(data).to_bytes(4, "little")

    def _encode(self, layer: int) -> None:
        for at in np.ndindex(self._slab.shape[:2]):
            encoded = self._codec.encode(self._slab[at])
            end = self.checksum(encoded)
            size = len(encoded) + len(end)
            self._index[(layer, *at)] = self._bytes, size
            self._pieces += (encoded, end)
            self._bytes += size
