"""Requests of a bucket that a crop costs: at most 2 once its volume's index is held, at most 3 before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import StoreError
from etl.io.buckets import spanning
from etl.store import LesionCrops, open_store
from tests.support.s3_server import Bucket, counting_s3, use_s3
from tests.support.tiny_release import build_serial, csv_row, slice_hu, tiny_config, write_release

SERIES = "000001_01_01"
VOLUME = f"{SERIES}_001-012"


@pytest.fixture(scope="module")
def counted() -> Iterator[tuple[str, list[str]]]:
    with counting_s3() as server:
        yield server


@pytest.mark.slow
def test_a_crop_costs_few_requests(
    counted: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url, requests = counted
    use_s3(monkeypatch, url)
    bucket = Bucket.make("counted")
    folder = tmp_path_factory.mktemp("counted")
    write_release(folder, {SERIES: range(1, 13)}, [csv_row(SERIES, 6, (1, 12))])
    # Chunks of 4: a crop of 8 needs rows of them in several layers.
    settings = {"spacing_mm": "native", "chunk": (4, 4, 4)}
    build_serial(tiny_config(folder, f"{bucket.url}/store", volume=settings))
    store = open_store(f"{bucket.url}/store", cache_mb=0)
    crops = LesionCrops(store, size_vox=(8, 8, 8))

    def spent(read: Any) -> list[str]:
        before = len(requests)
        read()
        return requests[before:]

    cold = spent(lambda: crops[0])
    assert len(cold) == 3, cold
    assert all("/volumes/" in request for request in cold)
    for _ in range(2):
        warm = spent(lambda: crops[0])
        assert 1 <= len(warm) <= 2, warm
    caching = LesionCrops(open_store(f"{bucket.url}/store"), size_vox=(8, 8, 8))
    assert len(spent(lambda: caching[0])) == 3
    assert spent(lambda: caching[0]) == []
    store.crop(0, size_mm=(16, 4, 4))  # it reads the tables
    assert len(spent(lambda: store.crop(0, size_mm=(16, 4, 4)))) <= 2
    fresh = open_store(f"{bucket.url}/store")
    fresh.lesions(), fresh.volumes()
    before = fresh.crop
    tables = spent(lambda: (fresh._places, fresh._catalogue))
    assert all("/tables/" in request for request in tables)
    assert len(spent(lambda: before(0, size_mm=(16, 4, 4)))) <= 3

    # Voxels read across the gaps are right.
    voxels = np.stack([slice_hu(SERIES, index) for index in range(1, 13)])
    level = store.array(VOLUME)
    assert np.array_equal(level[1:10, 3:9, 2:15], voxels[1:10, 3:9, 2:15])
    assert len(spent(lambda: level[...])) == 1

    shard = next(key for key in bucket.all_keys() if key.endswith("/0/c/0/0/0"))
    whole = bucket.get(shard)
    for broken, message in ((whole[:40], "damaged"), (b"", "missing")):
        bucket.put(shard, broken)
        with pytest.raises(StoreError, match=f"voxels are {message}"):
            level[...]
        with pytest.raises(StoreError, match=f"voxels are {message}"):
            open_store(f"{bucket.url}/store").array(VOLUME)
    bucket.client.delete_object(Bucket=bucket.name, Key=shard)
    with pytest.raises(StoreError, match="voxels are missing"):
        level[...]


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 4))
def test_ranges_are_joined_over_the_narrowest_gaps(lengths: list[int], most: int) -> None:
    edges = np.cumsum([0, *lengths]).tolist()
    ranges = list(zip(edges[0:-1:2], edges[1::2], strict=False))
    spans = spanning(ranges, most)
    assert len(spans) == min(most, len(ranges))
    assert all(any(a <= start and stop <= b for a, b in spans) for start, stop in ranges)
    gaps = sorted((b[0] - a[1] for a, b in itertools.pairwise(ranges)), reverse=True)
    extra = sum(b - a for a, b in spans) - sum(b - a for a, b in ranges)
    assert extra == sum(gaps[most - 1 :])
