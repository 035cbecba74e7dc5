"""One image of labels: the bytes of its levels and its metadata."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
import zarr
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from etl.imaging.box_masks import BoxMask
from etl.store.layout import (
    AXES,
    CONTRACT_VERSION,
    GROUP_SUFFIX,
    LABELS,
    METADATA,
    Shape,
    Spacing,
)
from etl.store.ome import multiscale, sealed_metadata

CHUNK: Shape = (64, 64, 64)
SOURCE_SUFFIX = "_source"
_NO_CHUNK = 2**64 - 1
_COLOURS = ((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180))


@dataclass(frozen=True)
class Grid:
    """The volume of labels and its two grids. Shapes and spacings are (z, y, x).

    Attributes:
        volume_id: the volume.
        path: of the volume's group, relative to the store.
        shape, spacing_mm: of the stored voxels.
        source_shape, source_spacing_mm: of the source's.
        slice_first: number of the first source slice.
        level_count: resolutions of the volume.
    """

    volume_id: str
    path: str
    shape: Shape
    spacing_mm: Spacing
    source_shape: Shape
    source_spacing_mm: Spacing
    slice_first: int
    level_count: int


@dataclass(frozen=True, eq=False)
class LesionMask:
    """A mask of a lesion in both grids.

    Attributes:
        lesion_id: the lesion.
        file: name of the mask's file.
        is_3d: a mask of the whole lesion; False for one of its key slice.
        source, stored: the mask in the source's and in the stored grid.
    """

    lesion_id: int
    file: str
    is_3d: bool
    source: BoxMask
    stored: BoxMask


def labels_path(volume_id: str, fingerprint: str) -> str:
    """Return the path of a group of labels, relative to the store."""
    return f"{LABELS}/{volume_id}/{fingerprint}{GROUP_SUFFIX}"


def label_shard(shape: Shape, dtype: np.dtype[Any], values: Sequence[tuple[int, BoxMask]]) -> bytes:
    """Return the shard of one level: the chunks that hold a mask, in the order of z, y, x, and the index."""
    # With several threads, Blosc stores blocks in the order in which they finish, so bytes would vary.
    numcodecs.blosc.use_threads = False
    chunks: dict[Shape, np.ndarray[Any, Any]] = {}
    for value, mask in values:
        for at, inner, part in _parts(mask):
            chunk = chunks.setdefault(at, np.zeros(CHUNK, dtype))
            chunk[inner][part] = value
    codec = Blosc("zstd", 1, Blosc.NOSHUFFLE, typesize=dtype.itemsize, blocksize=_chunk_bytes(dtype))
    counts = [-(-n // c) for n, c in zip(shape, CHUNK, strict=True)]
    index = np.full((*counts, 2), _NO_CHUNK, "<u8")
    pieces, size = [], 0
    for at in sorted(chunks):
        pieces.append(_with_checksum(codec.encode(chunks[at])))
        index[at] = size, len(pieces[-1])
        size += len(pieces[-1])
    return b"".join([*pieces, _with_checksum(index.tobytes())])


def _parts(mask: BoxMask) -> Iterator[tuple[Shape, tuple[slice, ...], np.ndarray[Any, Any]]]:
    """Yield a mask's parts by chunk: the chunk, the part's place in it, and its voxels."""
    first = [low // n for low, n in zip(mask.start, CHUNK, strict=True)]
    last = [-(-high // n) for high, n in zip(mask.stop, CHUNK, strict=True)]
    for offset in np.ndindex(*(b - a for a, b in zip(first, last, strict=True))):
        at = [a + b for a, b in zip(first, offset, strict=True)]
        inner, outer = [], []
        for number, n, low, high in zip(at, CHUNK, mask.start, mask.stop, strict=True):
            begin, end = max(low, number * n), min(high, (number + 1) * n)
            inner.append(slice(begin - number * n, end - number * n))
            outer.append(slice(begin - low, end - low))
        part = mask.voxels[tuple(outer)]
        if part.any():
            yield (at[0], at[1], at[2]), tuple(inner), part


def _with_checksum(data: bytes) -> bytes:
    """Return bytes with their CRC-32C behind them, as Zarr's codec `crc32c` writes it."""
    return data + google_crc32c.value(data).to_bytes(4, "little")


def _chunk_bytes(dtype: np.dtype[Any]) -> int:
    return CHUNK[0] * CHUNK[1] * CHUNK[2] * dtype.itemsize


def group_metadata(attributes: Mapping[str, Any]) -> bytes:
    """Return the `zarr.json` of a group, with its seal."""
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return sealed_metadata(content)


@lru_cache(maxsize=1024)
def label_array(shape: Shape, dtype: np.dtype[Any]) -> bytes:
    """Return the `zarr.json` of one level."""
    content: dict[str, Any] = json.loads(_array_template(dtype))
    content["shape"] = list(shape)
    shard = [-(-n // c) * c for n, c in zip(shape, CHUNK, strict=True)]
    content["chunk_grid"]["configuration"]["chunk_shape"] = shard
    return sealed_metadata(content)


@lru_cache(maxsize=4)
def _array_template(dtype: np.dtype[Any]) -> bytes:
    """Return the metadata that zarr gives an array of one shard of one chunk."""
    memory: dict[str, Any] = {}
    zarr.create_group(MemoryStore(memory), zarr_format=3).create_array(
        "0",
        shape=CHUNK,
        dtype=dtype,
        chunks=CHUNK,
        shards=CHUNK,
        compressors=(
            BloscCodec(
                cname="zstd",
                clevel=1,
                shuffle="noshuffle",
                typesize=dtype.itemsize,
                blocksize=_chunk_bytes(dtype),
            ),
            Crc32cCodec(),
        ),
        fill_value=0,
        dimension_names=AXES,
    )
    data: bytes = memory[f"0/{METADATA}"].to_bytes()
    return data


def image_attributes(
    grid: Grid, source: str, image: str, spacing: Spacing, masks: Sequence[LesionMask]
) -> dict[str, Any]:
    """Return the attributes of an image: its multiscales, its labels, and its place in the store."""
    at = f"{labels_path(grid.volume_id, '0')}/{LABELS}/{image}"
    by_value = {mask.lesion_id + 1: mask for mask in masks}
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [multiscale(f"{source} {image} of {grid.volume_id}", spacing, grid.level_count)],
            "image-label": {
                "version": "0.5",
                "colors": [
                    {"label-value": value, "rgba": [*_COLOURS[value % len(_COLOURS)], 255]}
                    for value in sorted(by_value)
                ],
                "properties": [
                    {"label-value": value, "lesion_id": mask.lesion_id, "file": mask.file}
                    for value, mask in sorted(by_value.items())
                ],
                "source": {"image": posixpath.relpath(grid.path, at)},
            },
        },
        "deeplesion": {
            "contract_version": CONTRACT_VERSION,
            "volume_id": grid.volume_id,
            "source": source,
            "grid": "source" if image.endswith(SOURCE_SUFFIX) else "stored",
            "slice_first": grid.slice_first,
            "values": "0 outside, lesion_id + 1 inside",
        },
    }
