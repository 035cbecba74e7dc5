from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etl.core.errors import StoreError
from etl.export.key_slices import key_images
from etl.export.protocol import Selection
from etl.export.selection import select
from etl.report.voxels import read_planes
from etl.store import LesionCrops, Store, open_store
from etl.store.voxels import place_voxels
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row, slice_hu

SERIES = "000001_01_01"
VOLUME = f"{SERIES}_003-006"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("lazy")
    return open_store(
        built(
            folder,
            {SERIES: [3, 4, 5, 6]},
            [csv_row(SERIES, 4, (3, 6))],
            volume={"spacing_mm": "native", "pyramid_levels": 2},
        ).store
    )


def test_voxels_coordinates_and_units(store: Store) -> None:
    volume = store.volume(VOLUME)
    expected = np.stack([slice_hu(SERIES, index) for index in (3, 4, 5, 6)])
    assert volume.dims == ("z", "y", "x")
    assert volume.dtype == np.int16
    assert np.array_equal(volume, expected)
    assert volume["z"].values.tolist() == [0, 2, 4, 6]
    assert volume["x"].values.tolist() == volume["y"].values.tolist() == [n / 2 for n in range(16)]
    assert [volume[axis].attrs["units"] for axis in "zyx"] == ["mm"] * 3
    assert volume["x"].attrs["long_name"] == "right-to-left"
    assert volume.name == "hu"
    assert volume.attrs["units"] == "HU"
    assert volume.attrs["volume_id"] == VOLUME
    assert volume.attrs["spacing_mm"] == [2, 0.5, 0.5]


def test_a_lesion_is_found_by_its_mm(store: Store) -> None:
    lesion = store.lesions().iloc[0]
    plane = store.volume(VOLUME).sel(z=lesion.z_mm)
    box = plane.sel(x=slice(lesion.bbox_x1_mm, lesion.bbox_x2_mm))
    # Pixels 4 to 12 as published, counted from 1.
    assert np.array_equal(box, slice_hu(SERIES, 4)[:, 3:12])


@pytest.mark.parametrize("spacing", [0.7, 0.8, 1.1, 1.0])
def test_a_part_has_exactly_the_coordinates_of_the_whole(spacing: float) -> None:
    """Otherwise xarray drops the voxels of a crop and a volume, or of a mask, that do not meet."""
    spacings = (spacing, spacing, spacing)
    whole = place_voxels(np.zeros((90, 80, 70)), spacings, {})
    part = place_voxels(np.ones((30, 40, 50)), spacings, {}, start=(37, 23, 11))
    assert (whole + part).shape == part.shape


def test_a_level_has_coordinates_of_its_own(store: Store) -> None:
    half = store.volume(VOLUME, level=1)
    assert half.shape == (2, 8, 8)
    assert half["z"].values.tolist() == [1, 5]
    assert half["y"].values.tolist() == [0.25 + n for n in range(8)]


@pytest.mark.parametrize(
    "key",
    [
        (1, slice(2, 9), slice(None)),
        (slice(None, None, -1), slice(12, 3, -2), 5),
        ([2, 0], slice(None), [7, 7, 1]),
        (np.array([True, False, True, False]), 3, slice(0, 0)),
    ],
    ids=str,
)
def test_every_kind_of_index_reads_what_numpy_would(store: Store, key: tuple[object, ...]) -> None:
    volume = store.volume(VOLUME)
    assert np.array_equal(volume[key], volume.copy(data=volume.values)[key])


def test_nothing_is_read_before_it_is_looked_at(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    volume = open_store(str(copy)).volume(VOLUME)[1:3]
    shard = next(copy.glob(f"volumes/{VOLUME}/*/0/c/0/0/0"))
    shard.write_bytes(next(Path(store.objects.root).glob(f"volumes/{VOLUME}/*/0/c/0/0/0")).read_bytes()[:100])
    assert volume.shape == (2, 16, 16)
    with pytest.raises(Exception, match=r"."):
        volume.load()


def test_pickled_it_takes_no_voxels_along(store: Store) -> None:
    data = pickle.dumps(store.volume(VOLUME))
    assert slice_hu(SERIES, 4).tobytes() not in data
    assert pickle.loads(data).identical(store.volume(VOLUME))


def test_damaged_metadata_is_a_store_error(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    metadata = next(copy.glob(f"volumes/{VOLUME}/*/zarr.json"))
    changed = metadata.read_text().replace("0.5", "0.6", 1)
    for text in ("{}", "{", "[]", '{"attributes": 1}', changed):
        metadata.write_text(text)
        with pytest.raises(StoreError, match="metadata is damaged") as caught:
            open_store(str(copy)).volume(VOLUME)
        assert "deeplesion verify" in str(caught.value)
    metadata.unlink()
    with pytest.raises(StoreError, match="metadata is missing"):
        open_store(str(copy)).volume(VOLUME)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("is_empty", [True, False])
def test_a_missing_or_empty_shard_is_no_air(store: Store, tmp_path: Path, level: int, is_empty: bool) -> None:
    copy = tmp_path / "store"
    shutil.copytree(store.objects.root, copy)
    there = open_store(str(copy))
    opened = there.volume(VOLUME, level)
    shard = next(copy.glob(f"volumes/{VOLUME}/*/{level}/c/0/0/0"))
    shard.write_bytes(b"") if is_empty else shard.unlink()
    reads: list[Callable[[], object]] = [
        lambda: open_store(str(copy)).volume(VOLUME, level),
        lambda: open_store(str(copy)).array(VOLUME, level),
        lambda: there.volume(VOLUME, level).load(),
        lambda: there.array(VOLUME, level)[...],
        opened.load,
    ]
    if level == 0:
        image = key_images(select(there, Selection()))[0]
        reads += [lambda: there.crop(0), lambda: LesionCrops(there)[0], lambda: image.grey(there)]
    for read in reads:
        with pytest.raises(StoreError, match="voxels are missing") as caught:
            read()
        assert str(shard.relative_to(copy)) in str(caught.value)
    if level == 0:
        assert read_planes(there, VOLUME, [1]) == f"{VOLUME}: a volume's voxels are missing"
