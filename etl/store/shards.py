"""One level of a volume -> the bytes of its only shard, as zarr-python's sharding codec lays them out.

zarr-python takes half as long again as the compression itself: every chunk passes through an event loop and a
thread. The bytes are the same; the tests compare them. Source: Zarr v3 sharding codec, version 1.0.
"""

from __future__ import annotations

import itertools

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from numpy.typing import NDArray


def shard_bytes(
    voxels: NDArray[np.int16], chunk: tuple[int, int, int], codec: Blosc, fill_hu: int
) -> bytearray:
    """Encode a volume whose chunks all lie in one shard: chunks in Morton order, then index and CRC-32C.

    Args:
        voxels: int16 (z, y, x), not empty.
        chunk: voxels along each axis of an inner chunk; those at the far ends are padded with `fill_hu`.
        codec: compresses each chunk on its own.
    """
    counts = tuple(-(-n // c) for n, c in zip(voxels.shape, chunk, strict=True))
    index = np.empty((*counts, 2), "<u8")
    padded = np.empty(chunk, "<i2")
    shard = bytearray()
    for at in _morton_order(counts):
        part = voxels[tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, chunk, strict=True))]
        if part.shape != chunk:
            padded[...] = fill_hu
        padded[tuple(map(slice, part.shape))] = part
        encoded = codec.encode(padded)
        index[at] = len(shard), len(encoded)
        shard += encoded
    end = index.tobytes()
    shard += end
    shard += google_crc32c.value(end).to_bytes(4, "little")
    return shard


def _morton_order(counts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All positions in a grid, along the compressed Morton code: the first axis has the lowest bit."""
    bits = [(n - 1).bit_length() for n in counts]
    places = [(bit, axis) for bit in range(max(bits)) for axis in range(len(counts)) if bit < bits[axis]]

    def code(at: tuple[int, ...]) -> int:
        return sum((at[axis] >> bit & 1) << place for place, (bit, axis) in enumerate(places))

    return sorted(itertools.product(*map(range, counts)), key=code)
