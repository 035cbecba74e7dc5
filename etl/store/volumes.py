"""One volume in the store: an OME-Zarr 0.5 image with one shard per level.

The objects are built in memory and written in this order: shards, metadata, receipt, which lies next to
the group. A volume without a valid receipt does not exist. Each `zarr.json` holds a checksum of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numcodecs.blosc
import numpy as np
import zarr
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from etl.imaging.geometry import voxel_to_lps_mm
from etl.imaging.hounsfield import HuStatistics
from etl.imaging.pyramid import halve_planes
from etl.io.places import Objects, object_info
from etl.store.layout import (
    AXES,
    CONTRACT_VERSION,
    SHARD,
    Shape,
    Spacing,
    receipt_path,
    volume_path,
)
from etl.store.ome import multiscale, sealed_metadata
from etl.store.receipts import Receipt
from etl.store.shards import ShardEncoder

Pieces = tuple[bytes, ...]
"""The bytes of an object in pieces, to be written in order."""

WINDOW_HU = (-175, 275)
"""Window in which viewers show a volume at first; the usual one for soft tissue."""


@dataclass(frozen=True)
class Encoding:
    """The layout of voxels: inner chunk (z, y, x), Blosc settings, fill value in HU."""

    chunk: Shape
    codec: Literal["zstd", "lz4", "lz4hc", "zlib"]
    level: int
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"]
    fill_hu: int


@dataclass(frozen=True)
class Description:
    """The metadata of a volume. Shapes and spacings are (z, y, x).

    Attributes:
        processing: the parameters of the config that change voxels: interpolation, antialias, clip_hu.
    """

    volume_id: str
    series_id: str
    fingerprint: str
    slice_first: int
    slice_last: int
    source_shape: Shape
    source_spacing_mm: Spacing
    spacing_mm: Spacing
    processing: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution of a volume: shape (z, y, x) and the bytes of its shard, in pieces."""

    shape: Shape
    shard: Pieces


def blosc(encoding: Encoding) -> Blosc:
    """Return the compressor of an encoding's chunks."""
    shuffles = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
    return Blosc(
        encoding.codec,
        encoding.level,
        shuffles[encoding.shuffle],
        blocksize=chunk_bytes(encoding.chunk),
        typesize=2,
    )


def chunk_bytes(chunk: Shape) -> int:
    """Return the bytes of a chunk before compression, which is also the Blosc block.

    No reader reads less than a chunk. Smaller blocks, as Blosc chooses them, need more bytes and more time.
    """
    return 2 * math.prod(chunk)


def encode_levels(
    planes: Iterable[np.ndarray], shape: Shape, level_count: int, encoding: Encoding
) -> tuple[Level, ...]:
    """Encode a volume that arrives plane by plane, and its coarser levels.

    Args:
        planes: shape[0] planes of HU, int16 (y, x); the next may overwrite the last.
        shape: (z, y, x) of the volume.
        level_count: levels at least 1; each is half of the one before.

    Raises:
        ValueError: too few or too many planes, or one of another shape.
    """
    # With several threads, Blosc stores blocks in the order in which they finish, so bytes would vary.
    numcodecs.blosc.use_threads = False
    codec = blosc(encoding)
    encoders: list[tuple[Shape, ShardEncoder]] = []
    for _ in range(level_count):
        encoder = ShardEncoder(shape, encoding.chunk, codec, encoding.fill_hu)
        planes = _passed(halve_planes(planes) if encoders else planes, encoder)
        encoders.append((shape, encoder))
        shape = _shape((n + 1) // 2 for n in shape)
    for _ in planes:
        pass
    return tuple(Level(shape, encoder.finish()) for shape, encoder in encoders)


def _passed(planes: Iterable[np.ndarray], encoder: ShardEncoder) -> Iterator[np.ndarray]:
    for plane in planes:
        encoder.add(plane)
        yield plane


def write_volume(
    objects: Objects,
    levels: Sequence[Level],
    description: Description,
    encoding: Encoding,
    hu: HuStatistics,
    slice_hu: Sequence[HuStatistics],
    slice_masks: np.ndarray,
) -> Receipt:
    """Write a volume and, last, its receipt; overwrite the rest of an interrupted attempt.

    Args:
        levels: result of `encode_levels`, full resolution first.
        hu: statistics of the voxels.
        slice_hu, slice_masks: statistics and masks of each source slice; `SLICE_MASKS_DTYPE`, (slices,).

    Raises:
        OSError: the store can't be written; no receipt was.
    """
    path = volume_path(description.volume_id, description.fingerprint)
    built = _build(levels, description, encoding)
    names = sorted(built, key=lambda name: (name.endswith("zarr.json"), -len(name), name))
    # Checksums are computed in a thread while this one waits for the disk or bucket. Writing stays in the
    # main thread, because a signal interrupts only that.
    with ThreadPoolExecutor(1) as aside:
        infos = aside.submit(lambda: tuple(object_info(name, *built[name]) for name in names))
        for name in names:
            objects.write(f"{path}/{name}", *built[name])
    receipt = Receipt(
        description.volume_id,
        description.fingerprint,
        levels[0].shape,
        description.spacing_mm,
        hu,
        tuple(slice_hu),
        slice_masks,
        infos.result(),
    )
    objects.write(receipt_path(path), receipt.to_bytes())
    return receipt


def _build(levels: Sequence[Level], description: Description, encoding: Encoding) -> dict[str, Pieces]:
    """Return all objects of the OME-Zarr group by name."""
    memory: dict[str, Any] = {}
    group = zarr.create_group(
        MemoryStore(memory), zarr_format=3, attributes=_attributes(description, len(levels))
    )
    for number, level in enumerate(levels):
        shard = [-(-n // c) * c for n, c in zip(level.shape, encoding.chunk, strict=True)]
        group.create_array(
            str(number),
            shape=level.shape,
            dtype=np.dtype("<i2"),
            chunks=encoding.chunk,
            shards=tuple(shard),
            compressors=(
                BloscCodec(
                    cname=encoding.codec,
                    clevel=encoding.level,
                    shuffle=encoding.shuffle,
                    typesize=2,
                    blocksize=chunk_bytes(encoding.chunk),
                ),
                Crc32cCodec(),
            ),
            fill_value=encoding.fill_hu,
            dimension_names=AXES,
        )
    built: dict[str, Pieces] = {
        # Laid out as zarr does.
        name: (sealed_metadata(json.loads(buffer.to_bytes()), indent=2),)
        for name, buffer in memory.items()
    }
    return built | {f"{number}/{SHARD}": level.shard for number, level in enumerate(levels)}


def _attributes(description: Description, level_count: int) -> dict[str, Any]:
    spacing = description.spacing_mm
    image = multiscale(description.volume_id, spacing, level_count)
    if level_count > 1:
        image["type"] = "mean"
        image["metadata"] = {"description": "each level is the mean of 2x2x2 voxels of the one before"}
    return {
        "ome": {"version": "0.5", "multiscales": [image], "omero": _omero(description)},
        "deeplesion": {
            "contract_version": CONTRACT_VERSION,
            "volume_id": description.volume_id,
            "series_id": description.series_id,
            "slice_first": description.slice_first,
            "slice_last": description.slice_last,
            "source_shape": list(description.source_shape),
            "source_spacing_mm": list(description.source_spacing_mm),
            "unit": "HU",
            "voxel_to_lps_mm": [list(row) for row in voxel_to_lps_mm(spacing)],
            "voxel_to_lps_mm_note": (
                "maps (z, y, x, 1) of level 0 to (L, P, S, 1) in mm; origin at the first voxel. Orientation "
                "(slices head to feet, rows front to back, columns patient's right to left) is the official "
                "converter's assumption; the release does not state it"
            ),
            "processing": dict(description.processing),
            "fingerprint": description.fingerprint,
        },
    }


def _omero(description: Description) -> dict[str, Any]:
    """Return the display settings: a grey channel in `WINDOW_HU`. Each key is one that a viewer needs."""
    lowest, highest = description.processing["clip_hu"]
    start, end = WINDOW_HU
    window = {"min": lowest, "max": highest, "start": start, "end": end}
    channel = {"label": "HU", "color": "FFFFFF", "active": True, "window": window}
    return {"name": description.volume_id, "channels": [channel], "rdefs": {"model": "greyscale"}}


def _shape(lengths: Iterable[int]) -> Shape:
    z, y, x = lengths
    return (z, y, x)
