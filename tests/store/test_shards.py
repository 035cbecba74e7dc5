"""The bytes of a shard are those that zarr-python writes."""

from __future__ import annotations

from typing import Any

import numcodecs.blosc
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from etl.store.shards import shard_bytes

SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = numcodecs.blosc.use_threads
    numcodecs.blosc.use_threads = False
    yield
    numcodecs.blosc.use_threads = before


def by_zarr(
    voxels: np.ndarray, chunk: tuple[int, int, int], name: str, level: int, shuffle: str, fill: int
) -> bytes:
    memory: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(memory),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=chunk,
        shards=tuple(-(-n // c) * c for n, c in zip(voxels.shape, chunk, strict=True)),
        compressors=BloscCodec(cname=name, clevel=level, shuffle=shuffle, typesize=2),  # type: ignore[arg-type]
        fill_value=fill,
        config={"write_empty_chunks": True},
    )
    array[...] = voxels
    (shard,) = (value for key, value in memory.items() if not key.endswith("zarr.json"))
    return bytes(shard.to_bytes())


@given(
    voxels=npst.arrays(np.int16, npst.array_shapes(min_dims=3, max_dims=3, max_side=11)),
    chunk=st.tuples(*[st.integers(1, 5)] * 3),
    name=st.sampled_from(["zstd", "lz4", "lz4hc", "zlib"]),
    level=st.integers(0, 5),
    shuffle=st.sampled_from(sorted(SHUFFLES)),
)
@settings(max_examples=40, deadline=None)
def test_any_volume_gives_zarr_s_bytes(
    voxels: np.ndarray, chunk: tuple[int, int, int], name: str, level: int, shuffle: str
) -> None:
    codec = Blosc(name, level, SHUFFLES[shuffle], typesize=2)
    assert shard_bytes(voxels, chunk, codec, -1024) == by_zarr(voxels, chunk, name, level, shuffle, -1024)


def test_chunks_of_the_usual_size_give_zarr_s_bytes() -> None:
    z, y, x = np.ogrid[:70, :130, :65]
    voxels = np.asarray((z * y - 3 * x) % 4096 - 1024, np.int16)
    codec = Blosc("zstd", 1, Blosc.BITSHUFFLE, typesize=2)
    mine = shard_bytes(voxels, (64, 64, 64), codec, -1024)
    assert mine == by_zarr(voxels, (64, 64, 64), "zstd", 1, "bitshuffle", -1024)
