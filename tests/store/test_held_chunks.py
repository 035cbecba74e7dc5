"""Indices and decoded chunks that a store holds: within their bounds, and read once."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec

from etl.io.local import LocalObjects
from etl.store.held import INDEX_BYTES, Held, HeldIndex, LastUsed
from etl.store.level_voxels import open_level
from etl.store.shard_layout import parse_layout
from tests.support.shards import BLOSC, make


def test_indices_of_a_release_are_held_within_200_mb_and_the_oldest_makes_room(tmp_path: Path) -> None:
    # The mean volume of the release at 1 mm has 13.6 million voxels, in chunks of 32 x 32 x 32.
    make(tmp_path, np.zeros((4, 4, 4), np.int16), (2, 2, 2), [BytesCodec(), BLOSC])
    layout = parse_layout(json.loads((tmp_path / "0" / "zarr.json").read_text()))

    def load(number: int) -> HeldIndex:
        own = replace(layout, shape=(84, 400, 400 + number % 7), chunk=(32, 32, 32))
        return HeldIndex(own, np.zeros((*own.counts, 2), np.uint32))

    count = 2_000
    held: LastUsed[Any, HeldIndex] = LastUsed(INDEX_BYTES / 10)
    tracemalloc.start()
    for number in range(count):
        held.get((f"volumes/{number:06d}_01_01_001-099/0123456789abcdef", 0), lambda: load(number))  # noqa: B023
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == count, "a tenth of the release fits a tenth of 200 MB"
    assert 0.8 * taken <= held.nbytes <= 20_000_000
    assert taken <= held.nbytes * 1.1

    few: LastUsed[Any, HeldIndex] = LastUsed(3 * load(0).nbytes)
    for name in "abacda":
        few.get((name, 0), lambda: load(0))
        assert few.nbytes <= 3 * load(0).nbytes
    assert ("a", 0) in few
    assert ("b", 0) not in few


class Weighed:
    """A value that counts how often any of its kind is weighed."""

    weighings = 0

    def __init__(self, nbytes: int) -> None:
        self._bytes = nbytes

    @property
    def nbytes(self) -> int:
        Weighed.weighings += 1
        return self._bytes


@given(
    most=st.integers(0, 40),
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "find", "drop"]), st.integers(0, 9), st.integers(1, 15))
    ),
)
@settings(deadline=None)
def test_what_is_held_are_the_values_used_last_that_fit(most: int, steps: list[tuple[str, int, int]]) -> None:
    held: LastUsed[int, Weighed] = LastUsed(most)
    expected: dict[int, int] = {}
    for step, key, size in steps:
        if step == "put":
            held.put(key, Weighed(size))
            if size <= most:
                expected.pop(key, None)
                expected[key] = size
                while sum(expected.values()) > most:
                    del expected[next(iter(expected))]
        elif step == "find":
            found = held.find(key)
            assert (None if found is None else found.nbytes) == expected.get(key)
            if key in expected:
                expected[key] = expected.pop(key)
        else:
            held.drop(key)
            expected.pop(key, None)
        assert [key for key in range(10) if key in held] == sorted(expected)
        assert held.nbytes == sum(expected.values())


@pytest.mark.parametrize("most", [100, 10_000])
def test_a_full_cache_costs_the_same_for_each_value_however_many_it_holds(most: int) -> None:
    held: LastUsed[int, Weighed] = LastUsed(most)
    Weighed.weighings = 0
    for number in range(5 * most):
        held.put(number, Weighed(1))
    assert len(held) == most
    assert Weighed.weighings <= 6 * 5 * most


def test_threads_that_fill_a_cache_at_once_keep_it_within_its_bound() -> None:
    held: LastUsed[int, Weighed] = LastUsed(200)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: held.put(key % 900, Weighed(1 + key % 7)), range(20_000)))
    for key in range(1_000, 1_000 + 2 * len(held)):
        held.put(key, Weighed(1))
    assert held.nbytes <= 200


class Counting(LocalObjects):
    """A folder that counts the bytes of chunks that are read from it."""

    taken = 0

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], requests: int) -> list[bytes]:
        self.taken += sum(stop - start for start, stop in ranges)
        return super().read_ranges(name, ranges, requests)


def test_planes_one_after_another_read_each_chunk_once(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-1024, 3071, (8, 9, 10)).astype(np.int16)
    make(tmp_path, voxels, (4, 4, 4), [BytesCodec(), BLOSC, Crc32cCodec()])
    whole = Counting(str(tmp_path))
    open_level(whole, ".")[...]
    layer = 9 * 4**3 * 2
    for most_bytes, times in ((0, 4), (layer - 1, 4), (layer, 1)):
        objects = Counting(str(tmp_path))
        chunks: Any = LastUsed(most_bytes)
        level = open_level(objects, ".", held=Held(chunks=chunks))
        assert np.array_equal(np.stack([level[number] for number in range(len(level))]), voxels)
        assert objects.taken == times * whole.taken
        assert len(chunks) == (0 if times > 1 else 9)
    # A read of more than is held takes the place of nothing that is.
    before = list(chunks._held)
    assert np.array_equal(level[...], voxels)
    assert list(chunks._held) == before
