"""A shard's chunks are those that zarr-python writes, in the order of z, y, x, and zarr-python reads them."""

from __future__ import annotations

from typing import Any

import numcodecs.blosc
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.store.shards import ShardEncoder

SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
FILL_HU = -1024


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = numcodecs.blosc.use_threads
    numcodecs.blosc.use_threads = False
    yield
    numcodecs.blosc.use_threads = before


def encoded(voxels: np.ndarray, chunk: tuple[int, int, int], codec: Blosc) -> bytes:
    encoder = ShardEncoder(voxels.shape, chunk, codec, FILL_HU)
    for plane in voxels:
        encoder.add(plane)
    return b"".join(encoder.finish())


def make_array(
    voxels: np.ndarray, chunk: tuple[int, int, int], codec: Blosc
) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """An array by zarr-python with the same settings, and the objects that it is made of."""
    memory: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(memory),
        shape=voxels.shape,
        dtype=voxels.dtype,
        chunks=chunk,
        shards=tuple(-(-n // c) * c for n, c in zip(voxels.shape, chunk, strict=True)),
        compressors=(
            BloscCodec(
                cname=codec.cname,
                clevel=codec.clevel,
                shuffle={number: name for name, number in SHUFFLES.items()}[codec.shuffle],  # type: ignore[arg-type]
                typesize=2,
                blocksize=codec.blocksize,
            ),
            Crc32cCodec(),
        ),
        fill_value=FILL_HU,
        config={"write_empty_chunks": True},
    )
    array[...] = voxels
    return array, memory


def chunks(shard: bytes, counts: tuple[int, ...]) -> tuple[list[bytes], np.ndarray]:
    """The encoded chunks of a shard in the order of z, y, x, and where each lies."""
    index = np.frombuffer(shard[:-4][-16 * int(np.prod(counts)) :], "<u8").reshape(-1, 2)
    return [shard[start : start + length] for start, length in index.tolist()], index


def check(voxels: np.ndarray, chunk: tuple[int, int, int], codec: Blosc) -> None:
    shard = encoded(voxels, chunk, codec)
    array, memory = make_array(voxels, chunk, codec)
    ((name, theirs),) = ((key, value) for key, value in memory.items() if not key.endswith("zarr.json"))
    counts = tuple(-(-n // c) for n, c in zip(voxels.shape, chunk, strict=True))
    mine, index = chunks(shard, counts)
    assert mine == chunks(theirs.to_bytes(), counts)[0]
    assert len(shard) == len(theirs)
    # One after the other, nothing in between.
    assert index[:, 0].tolist() == [0, *np.cumsum(index[:, 1])[:-1].tolist()]
    # zarr-python checks the CRC-32C of the index where it reads.
    memory[name] = default_buffer_prototype().buffer.from_bytes(shard)
    assert np.array_equal(array[...], voxels)


@given(
    voxels=npst.arrays(np.int16, npst.array_shapes(min_dims=3, max_dims=3, max_side=11)),
    chunk=st.tuples(*[st.integers(1, 5)] * 3),
    name=st.sampled_from(["zstd", "lz4", "lz4hc", "zlib"]),
    level=st.integers(0, 5),
    shuffle=st.sampled_from(sorted(SHUFFLES)),
)
def test_any_volume_gives_zarr_s_chunks(
    voxels: np.ndarray, chunk: tuple[int, int, int], name: str, level: int, shuffle: str
) -> None:
    check(voxels, chunk, Blosc(name, level, SHUFFLES[shuffle], typesize=2))


@pytest.mark.parametrize("blocksize", [0, 2 * 64**3])
def test_chunks_of_the_usual_size_are_zarr_s(blocksize: int) -> None:
    z, y, x = np.ogrid[:70, :130, :65]
    voxels = np.asarray((z * y - 3 * x) % 4096 - 1024, np.int16)
    check(voxels, (64, 64, 64), Blosc("zstd", 1, Blosc.BITSHUFFLE, blocksize=blocksize, typesize=2))


def test_planes_are_what_was_announced() -> None:
    codec = Blosc("zstd", 1, Blosc.BITSHUFFLE, typesize=2)
    encoder = ShardEncoder((2, 3, 4), (2, 2, 2), codec, FILL_HU)
    with pytest.raises(ValueError, match=r"plane 0 is \(4, 3\); the volume is \(2, 3, 4\)"):
        encoder.add(np.zeros((4, 3), np.int16))
    encoder.add(np.zeros((3, 4), np.int16))
    with pytest.raises(ValueError, match="1 planes came"):
        encoder.finish()
    encoder.add(np.zeros((3, 4), np.int16))
    with pytest.raises(ValueError, match="plane 2 is"):
        encoder.add(np.zeros((3, 4), np.int16))
