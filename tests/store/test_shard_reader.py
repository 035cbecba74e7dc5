"""A shard's voxels are those that zarr-python reads, whatever it holds; damage is an error, never air."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.store.held import Held, LastUsed
from etl.store.level_voxels import open_level
from etl.store.shard_layout import UnknownLayoutError, parse_layout
from tests.support.shards import AIR, BLOSC, make

SHARD = "0/c/0/0/0"


CODECS = st.builds(
    lambda endian, blosc, crc: [BytesCodec(endian=endian), *blosc, *crc],
    st.sampled_from(["little", "big"]),
    st.one_of(
        st.just([]),
        st.builds(
            lambda cname, shuffle, block: [
                BloscCodec(cname=cname, clevel=1, shuffle=shuffle, typesize=2, blocksize=block)
            ],
            st.sampled_from(["zstd", "lz4", "lz4hc", "zlib", "blosclz"]),
            st.sampled_from(["noshuffle", "shuffle", "bitshuffle"]),
            st.sampled_from([0, 64]),
        ),
    ),
    st.sampled_from([[], [Crc32cCodec()]]),
)
KEYS = st.one_of(
    st.integers(-7, 6),
    st.builds(
        slice,
        st.none() | st.integers(-9, 9),
        st.none() | st.integers(-9, 9),
        st.none() | st.sampled_from([1, 1, 2, -1]),
    ),
    st.lists(st.integers(-7, 6), max_size=5),
    st.lists(st.booleans(), min_size=7, max_size=7),
)


@given(
    shape=st.tuples(*[st.integers(7, 11)] * 3),
    chunk=st.tuples(*[st.integers(2, 6)] * 3),
    dtype=st.sampled_from(["int16", "uint8", "uint16", "float32"]),
    codecs=CODECS,
    index_codecs=st.sampled_from([[BytesCodec()], [BytesCodec(), Crc32cCodec()]]),
    location=st.sampled_from(["start", "end"]),
    air=st.tuples(*[st.integers(0, 11)] * 3),
    keys=st.tuples(KEYS, KEYS, KEYS),
    threads=st.sampled_from([1, 3]),
    cached=st.sampled_from([0, 1, 3, 100]),
    seed=st.integers(0, 9),
)
def test_voxels_are_those_that_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    chunk: tuple[int, int, int],
    dtype: str,
    codecs: list[Any],
    index_codecs: list[Any],
    location: str,
    air: tuple[int, int, int],
    keys: tuple[Any, Any, Any],
    threads: int,
    cached: int,
    seed: int,
) -> None:
    root = tmp_path_factory.mktemp("shard")
    voxels = np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
    # Chunks of the fill value alone are not stored.
    voxels[: air[0], : air[1], : air[2]] = AIR if dtype == "int16" else 0
    voxels[-1, -1, -1] = 7  # or there is no shard
    make(root, voxels, chunk, codecs, index_codecs, location, empty_chunks=False)
    chunks: Any = LastUsed(cached * np.prod(chunk) * voxels.itemsize)
    level = open_level(LocalObjects(str(root)), ".", held=Held(chunks=chunks), threads=threads)
    assert parse_layout(json.loads((root / "0" / "zarr.json").read_text())).chunk == chunk
    by_zarr = level.zarr_array()
    assert np.array_equal(level, by_zarr[...])
    full = tuple(np.asarray(key) if isinstance(key, list) else key for key in keys)
    full = tuple(_padded(key, n) for key, n in zip(full, shape, strict=True))
    expected = voxels
    for axis in (2, 1, 0):
        expected = expected[(slice(None),) * axis + (full[axis],)]
    for _ in range(3):
        found = level.oindex[full]
        assert np.array_equal(found, expected)
        assert np.shape(found) == expected.shape
        # A caller that changes a result changes no chunk that is held.
        if isinstance(found, np.ndarray):
            found.fill(99)
    assert np.array_equal(level, voxels)
    assert chunks.nbytes <= chunks.most_bytes


def _padded(key: Any, length: int) -> Any:
    """A list of truth values has the axis's length, and an empty list is one of numbers."""
    if not isinstance(key, np.ndarray):
        return key
    if key.dtype == bool:
        return np.resize(key, length)
    return key.astype(np.int64)


def test_a_key_is_checked(tmp_path: Path) -> None:
    level = make(tmp_path, np.zeros((4, 5, 6), np.int16), (2, 2, 2), [BytesCodec(), BLOSC])
    assert level[1, ..., 2].shape == (5,)
    assert level[-1, -5, -6] == 0
    for key in (4, (0, -6), (0, 0, [6]), (0, 0, 0, 0), (0, None), (0.5,), ([True, False],), ([[0]],)):
        with pytest.raises(IndexError):
            level[key]
    for key in (([0, 1], [2, 3]), ([0, 1], slice(None), [2, 3]), (0, slice(None), [2, 3])):
        with pytest.raises(IndexError, match="oindex"):
            level[key]
    assert level[:, [4, 0]].shape == (4, 2, 6)
    assert level[0, [4, 0]].shape == (2, 6)
    assert (level.ndim, level.size, level.nbytes, len(level)) == (3, 120, 240, 4)


@pytest.mark.parametrize(
    "codecs",
    [
        [BytesCodec(), GzipCodec()],
        [TransposeCodec(order=(2, 1, 0)), BytesCodec(), BLOSC],
        [BytesCodec(), Crc32cCodec(), BLOSC],
    ],
    ids=["gzip", "transposed", "a checksum inside"],
)
def test_what_is_not_known_is_read_by_zarr(tmp_path: Path, codecs: list[Any]) -> None:
    voxels = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    level = make(tmp_path, voxels, (2, 3, 4), codecs)
    with pytest.raises(UnknownLayoutError):
        parse_layout(json.loads((tmp_path / "0" / "zarr.json").read_text()))
    assert np.array_equal(level[1:, 2, ::-1], voxels[1:, 2, ::-1])
    assert level.shape == (5, 6, 7)
    assert level.fill_value == AIR


@pytest.mark.parametrize("shards", [None, (2, 4, 4)], ids=["no shards", "several shards"])
def test_another_grid_is_read_by_zarr(tmp_path: Path, shards: tuple[int, int, int] | None) -> None:
    voxels = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    array = zarr.create_array(
        tmp_path / "0", shape=(4, 4, 4), chunks=(2, 2, 2), shards=shards, dtype="int16", fill_value=0
    )
    array[...] = voxels
    assert np.array_equal(open_level(LocalObjects(str(tmp_path)), ".")[...], voxels)


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("codecs", [[BytesCodec(), BLOSC], [BytesCodec(), BLOSC, Crc32cCodec()]])
@given(data=st.data())
def test_a_damaged_shard_is_an_error_and_never_wrong_voxels(
    tmp_path_factory: pytest.TempPathFactory, codecs: list[Any], location: str, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    voxels = np.random.default_rng(0).integers(-1024, 3071, (6, 6, 6)).astype(np.int16)
    make(root, voxels, (3, 3, 3), codecs, location=location)
    shard = root / SHARD
    whole = shard.read_bytes()
    index_bytes = 8 * 16 + 4
    if data.draw(st.booleans(), "cut"):
        broken = whole[: data.draw(st.integers(1, len(whole) - 1), "length")]
    else:
        # Without checksums in the chunks only the index shows every changed byte.
        places = range(len(whole))
        if len(codecs) == 2:
            places = range(index_bytes) if location == "start" else places[-index_bytes:]
        at = data.draw(st.sampled_from(places), "place")
        broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255), "bits")]) + whole[at + 1 :]
    shard.write_bytes(broken)
    with pytest.raises(StoreError, match=r"voxels are damaged") as caught:
        open_level(LocalObjects(str(root)), ".")[...]
    assert SHARD in str(caught.value)


def test_a_damaged_chunk_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    voxels = np.arange(6 * 6 * 6, dtype=np.int16).reshape(6, 6, 6)
    held = make(tmp_path, voxels, (3, 3, 3), [BytesCodec(), BLOSC, Crc32cCodec()])
    shard = bytearray((tmp_path / SHARD).read_bytes())
    start, length = np.frombuffer(shard[-132:-4], "<u8").reshape(2, 2, 2, 2)[0, 1, 1].tolist()
    shard[start + length // 2] ^= 1
    (tmp_path / SHARD).write_bytes(shard)
    for level in (held, open_level(LocalObjects(str(tmp_path)), ".")):
        with pytest.raises(StoreError, match=r"chunk \(0, 1, 1\)"):
            level[2, 3:, 4:]
        assert np.array_equal(level[3:], voxels[3:])


@pytest.mark.parametrize("at", [4, 12], ids=["bytes decoded", "bytes encoded"])
def test_sizes_in_a_chunk_s_header_are_checked_first(tmp_path: Path, at: int) -> None:
    """They are never passed on to a decoder that would trust them."""
    level = make(tmp_path, np.zeros((3, 3, 3), np.int16), (3, 3, 3), [BytesCodec(), BLOSC])
    shard = bytearray((tmp_path / SHARD).read_bytes())
    shard[at] ^= 1
    (tmp_path / SHARD).write_bytes(shard)
    with pytest.raises(StoreError, match="by its header; expected 54"):
        level[...]


def test_a_shard_that_was_repaired_meanwhile_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(-1024, 3071, (4, 4, 4)).astype(np.int16)
    level = make(tmp_path, np.zeros((4, 4, 4), np.int16), (2, 2, 2), [BytesCodec(), BLOSC, Crc32cCodec()])
    make(tmp_path, random, (2, 2, 2), [BytesCodec(), BLOSC, Crc32cCodec()])
    assert np.array_equal(level, random)
