"""Peak memory of the conversion of one volume, estimated before any pixel is read.

The estimate is an upper bound: a worker takes as many volumes as fit, and if it is killed it loses them all.
Each term is a maximum, and they are added although they do not all peak together.
"""

from __future__ import annotations

import math

import numpy as np

from etl.core.config import Codec, Volume
from etl.imaging.resample import task_memory_bytes
from etl.release.slices import held_bytes

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

# The size of a PNG file measures the noise of its slice, and noise is what compression leaves. In real series
# a voxel takes 0.7 to 1.1 times the bytes of a pixel with the default codec, up to 1.25 with small chunks or
# with reduced axes without antialiasing; lz4, lz4hc and zlib, shuffled, take 0.1 to 0.3 more.
_ENCODED_PER_PNG, _ENCODED_PER_PNG_FASTER = 1.25, 1.5
# Lower bound of real slices: PNG compresses a ramp to almost nothing, which interpolation turns into noise.
_LEAST_PNG_BYTES_PER_PIXEL = 0.5
_VOXEL_BYTES = 2
# Python objects of an encoded chunk and its checksum, Blosc's header, and the chunk's entry in the index. A
# chunk of 4 x 4 x 4 voxels has fewer bytes than that.
_BYTES_PER_CHUNK = 240
# Pixels of a slice that is decoded: its file's data in one piece, inflated, and unfiltered.
_DECODED_PER_PIXEL = 3 * _VOXEL_BYTES
# Distance within which every codec finds repetitions.
_REPETITION_BYTES = 32 << 10


def conversion_bytes(
    slices: np.ndarray,
    source_shape: Shape,
    source_spacing_mm: Spacing,
    shape: Shape,
    spacing_mm: Spacing,
    volume: Volume,
    *,
    in_bucket: bool,
) -> int:
    """Return the peak bytes above an idle worker: PNG files, a slice, resampling, chunks, encoded shards.

    Args:
        slices: rows of `SLICE_DTYPE` of the run.
        source_shape, source_spacing_mm: (z, y, x) of the run.
        shape, spacing_mm: (z, y, x) of the volume.
        volume: parameters of the volume.
        in_bucket: an object is sent in one piece, so that its encoded bytes are held twice at the end.
    """
    resampling = task_memory_bytes(
        source_shape, source_spacing_mm, spacing_mm, volume.interpolation, volume.antialias
    )
    per_voxel = _encoded_bytes_per_voxel(int(slices["bytes"].sum()) / math.prod(source_shape), volume.codec)
    layers = encoded = 0
    for level in range(volume.pyramid_levels):
        z, y, x = volume.chunk
        counts = tuple(-(-n // c) for n, c in zip(shape, volume.chunk, strict=True))
        layers += _VOXEL_BYTES * z * (counts[1] * y) * (counts[2] * x)
        planes = shape[0]
        if volume.interpolation == "nearest" and _VOXEL_BYTES * y * x <= _REPETITION_BYTES:
            # Within a chunk repeated slices are encoded once; above the first level, so are means of two.
            planes = min(planes, (1 if level == 0 else 2) * source_shape[0] + -(-planes // z))
        encoded += int(per_voxel * planes * math.prod(shape[1:])) + _BYTES_PER_CHUNK * math.prod(counts)
        if level + 1 < volume.pyramid_levels:
            # Two planes are halved at a time: the first, both stacked, and their mean are held.
            layers += 4 * _VOXEL_BYTES * math.prod(shape[1:])
        shape = ((shape[0] + 1) // 2, (shape[1] + 1) // 2, (shape[2] + 1) // 2)
    decoding = _DECODED_PER_PIXEL * math.prod(source_shape[1:])
    working = held_bytes(slices) + decoding + resampling + layers + encoded
    return max(working, 2 * encoded) if in_bucket else working


def _encoded_bytes_per_voxel(png_bytes_per_pixel: float, codec: Codec) -> float:
    if codec.shuffle == "noshuffle":
        return _VOXEL_BYTES
    factor = _ENCODED_PER_PNG if codec.name == "zstd" else _ENCODED_PER_PNG_FASTER
    return min(_VOXEL_BYTES, factor * max(png_bytes_per_pixel, _LEAST_PNG_BYTES_PER_PIXEL))
