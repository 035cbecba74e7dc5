"""A level in one shard, as zarr-python writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from etl.io.local import LocalObjects
from etl.store.level_voxels import LevelVoxels, open_level

BLOSC = BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2)
AIR = -1024


def make(
    root: Path,
    voxels: np.ndarray,
    chunk: tuple[int, int, int],
    codecs: list[Any],
    index_codecs: list[Any] | None = None,
    location: str = "end",
    empty_chunks: bool = True,
) -> LevelVoxels:
    """A level as zarr-python writes it."""
    sharding = ShardingCodec(
        chunk_shape=chunk,
        codecs=codecs,
        index_codecs=[BytesCodec(), Crc32cCodec()] if index_codecs is None else index_codecs,
        index_location=location,  # type: ignore[arg-type]
    )
    array = zarr.create(
        store=str(root / "0"),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=tuple(-(-n // c) * c for n, c in zip(voxels.shape, chunk, strict=True)),
        codecs=[sharding],
        fill_value=AIR if voxels.dtype.kind == "i" else 0,
        zarr_format=3,
        config={"write_empty_chunks": empty_chunks},
        overwrite=True,
    )
    array[...] = voxels
    return open_level(LocalObjects(str(root)), ".")
