"""The layout of a level's voxels, parsed from its zarr.json; only what `etl.store.shard_reader` can decode.

Source: Zarr v3 core specification, and its codecs `sharding_indexed` 1.0, `bytes`, `blosc` and `crc32c`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, int, int]

_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
_ENDIANS = {"little": "<", "big": ">"}
_CRC32C_BYTES = 4
_NO_OPTIONS: Mapping[str, Any] = {}


class UnknownLayoutError(ValueError):
    """The array is laid out in a way that only zarr-python reads."""


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """One level whose chunks all lie in one shard.

    Attributes:
        shape: voxels (z, y, x).
        chunk: voxels of an inner chunk.
        dtype: of the voxels as stored, with their byte order.
        fill_value: of chunks that the shard lacks.
        is_compressed: chunks are compressed by Blosc.
        has_chunk_crc: a chunk ends in the CRC-32C of its bytes before that.
        has_index_crc: so does the index.
        index_is_last: the index is at the shard's end; else at its beginning.
    """

    shape: Shape
    chunk: Shape
    dtype: np.dtype[Any]
    fill_value: int | float
    is_compressed: bool
    has_chunk_crc: bool
    has_index_crc: bool
    index_is_last: bool

    @property
    def counts(self) -> Shape:
        """Chunks along each axis."""
        z, y, x = (-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))
        return (z, y, x)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk before compression."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Bytes of the index in the shard."""
        return 16 * math.prod(self.counts) + _CRC32C_BYTES * self.has_index_crc


def parse_layout(metadata: Mapping[str, Any]) -> ShardLayout:
    """Return the layout that a `zarr.json` describes.

    Raises:
        UnknownLayoutError: it is valid, or may be, but not one of those read here.
    """
    try:
        return _parse(metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownLayoutError(str(error)) from error


def _parse(metadata: Mapping[str, Any]) -> ShardLayout:
    _expect(metadata["zarr_format"] == 3 and metadata["node_type"] == "array", "a Zarr v3 array")
    _expect(not metadata.get("storage_transformers"), "no storage transformers")
    _expect(metadata["data_type"] in _TYPES, "a data type of numbers")
    shape = _shape(metadata["shape"])
    grid, keys = _named(metadata["chunk_grid"]), _named(metadata["chunk_key_encoding"])
    _expect(grid[0] == "regular" and keys[0] == "default", "a regular grid")
    _expect(keys[1].get("separator", "/") == "/", "chunks named c/0/0/0")
    ((name, sharding),) = map(_named, metadata["codecs"])
    _expect(name == "sharding_indexed", "one codec, sharding_indexed")
    chunk = _shape(sharding["chunk_shape"])
    shard = _shape(grid[1]["chunk_shape"])
    _expect(all(s >= n and s % c == 0 for s, n, c in zip(shard, shape, chunk, strict=True)), "one shard")
    # The index covers the whole shard; further chunks than the shape needs would shift it.
    _expect(all(s - n < c for s, n, c in zip(shard, shape, chunk, strict=True)), "a shard of that size")

    array_codec, *rest = map(_named, sharding["codecs"])
    _expect(array_codec[0] == "bytes", "the codec bytes")
    names = [name for name, _ in rest]
    _expect(names in ([], ["blosc"], ["crc32c"], ["blosc", "crc32c"]), "blosc and crc32c")
    index = list(map(_named, sharding["index_codecs"]))
    _expect([name for name, _ in index] in (["bytes"], ["bytes", "crc32c"]), "a plain index")
    _expect(index[0][1].get("endian") == "little", "a little-endian index")
    location = sharding.get("index_location", "end")
    _expect(location in ("start", "end"), "an index at the start or end")

    dtype = np.dtype(metadata["data_type"])
    if dtype.itemsize > 1:
        dtype = dtype.newbyteorder(_ENDIANS[array_codec[1]["endian"]])
    fill = metadata["fill_value"]
    _expect(isinstance(fill, int | float) and not isinstance(fill, bool), "a fill value that is a number")
    return ShardLayout(
        shape,
        chunk,
        dtype,
        fill,
        is_compressed="blosc" in names,
        has_chunk_crc="crc32c" in names,
        has_index_crc=len(index) == 2,
        index_is_last=location == "end",
    )


def _named(codec: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and configuration of an extension point, which may be its name alone."""
    if isinstance(codec, str):
        return codec, _NO_OPTIONS
    return codec["name"], codec.get("configuration") or _NO_OPTIONS


def _shape(lengths: Any) -> Shape:
    z, y, x = (int(n) for n in lengths)
    _expect(min(z, y, x) >= 1, "at least one voxel along each axis")
    return (z, y, x)


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"not {what}")
