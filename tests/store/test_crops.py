from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.store import LesionCrops, Store, open_store
from etl.store.crops import Crop, crop_around
from etl.store.level_voxels import LevelVoxels, open_level
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row, slice_hu

SHAPE, AIR = (3, 4, 5), -1024
FIRST, SECOND = "000001_01_01", "000002_01_01"


@pytest.fixture(scope="module")
def voxels_hu(tmp_path_factory: pytest.TempPathFactory) -> LevelVoxels:
    root = tmp_path_factory.mktemp("voxels")
    sizes = {"shape": SHAPE, "chunks": (2, 2, 2), "shards": (4, 4, 6)}
    array = zarr.create_array(root / "0", dtype="int16", fill_value=AIR, **sizes)  # type: ignore[arg-type]
    array[...] = np.arange(60).reshape(SHAPE)
    return open_level(LocalObjects(str(root)), ".")


@pytest.mark.parametrize(
    ("center", "n", "start"),
    [
        (7.0, 1, 7),
        (7.0, 3, 6),
        (7.4, 3, 6),
        (7.5, 3, 7),
        (7.5, 2, 7),
        (7.0, 2, 7),
        (0.0, 4, -1),
        (0.2, 64, -31),
    ],
)
def test_the_middle_is_as_near_as_whole_voxels_allow(center: float, n: int, start: int) -> None:
    assert crop_around((center, 5.0, 0.0), (n, 1, 1)) == Crop((start, 5, 0), (n, 1, 1))


@given(st.tuples(*[st.floats(-10, 600)] * 3), st.tuples(*[st.integers(1, 70)] * 3))
def test_the_middle_is_within_half_a_voxel(center: tuple[float, ...], shape: tuple[int, ...]) -> None:
    crop = crop_around(center, shape)  # type: ignore[arg-type]
    middle = np.array(crop.start) + (np.array(shape) - 1) / 2
    assert np.abs(middle - center).max() <= 0.5 + 1e-9


def test_past_the_border_it_is_air(voxels_hu: LevelVoxels) -> None:
    plane = Crop((2, -1, 3), (2, 3, 3)).read(voxels_hu)
    assert plane.dtype == np.int16
    assert plane.tolist() == [
        [[AIR, AIR, AIR], [43, 44, AIR], [48, 49, AIR]],
        [[AIR, AIR, AIR], [AIR, AIR, AIR], [AIR, AIR, AIR]],
    ]


@given(st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
def test_a_crop_is_that_of_the_padded_volume(
    voxels_hu: LevelVoxels, start: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    padded = np.pad(voxels_hu[...], 20, constant_values=AIR)
    expected = padded[tuple(slice(20 + s, 20 + s + n) for s, n in zip(start, shape, strict=True))]
    assert np.array_equal(Crop(start, shape).read(voxels_hu), expected)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("crops")
    train = {"Train_Val_Test": "1", "Coarse_lesion_type": "-1"}
    rows = (
        csv_row(FIRST, 4, (3, 6), **train),
        csv_row(FIRST, 5, (3, 6), Bounding_boxes="5, 6, 13, 14", **train),
        csv_row(SECOND, 2, (1, 2)),
        csv_row(FIRST, 4, (3, 6), Patient_gender="X"),
    )
    return open_store(
        built(folder, {FIRST: [3, 4, 5, 6], SECOND: [1, 2]}, rows, volume={"spacing_mm": "native"}).store
    )


def whole(series: str, indices: range) -> np.ndarray:
    """The volume (native spacing) with 20 voxels of air all around."""
    return np.pad(np.stack([slice_hu(series, i) for i in indices]), 20, constant_values=AIR)


def test_a_sample_is_the_window_of_the_voxels_around_the_lesion(store: Store) -> None:
    crops = LesionCrops(store, split="val", size_vox=(4, 8, 6), window_hu=(-100, 100))
    (sample,) = list(crops)
    # Boxes are 1-based: the middle of 4..12 and 5..13 is pixel (7, 8) from 0; the key slice is the second.
    expected = whole(SECOND, range(1, 3))[20 + 1 - 1 : 20 + 4, 20 + 8 - 3 : 20 + 13, 20 + 7 - 2 : 20 + 11]
    shares = (np.clip(expected, -100, 100) + 100) / 200
    assert sample["image"].dtype == np.float32
    assert sample["image"] == pytest.approx(shares, abs=1e-6)
    assert sample["boxes"].tolist() == [[-2, -1, 6, 7]]
    assert sample["boxes_z"].tolist() == [1]
    assert (sample["box_count"], sample["lesion_id"]) == (1, 2)


def test_other_lesions_in_the_crop_come_after_its_own(store: Store) -> None:
    crops = LesionCrops(store, split="train", size_vox=(4, 8, 8))
    assert [int(sample["lesion_id"]) for sample in crops] == [0, 1]
    assert crops[0]["boxes"].tolist() == [[-1, -1, 7, 7], [0, 0, 8, 8]]
    assert crops[0]["boxes_z"].tolist() == [1, 2]
    assert crops[1]["boxes"].tolist() == [[-1, -1, 7, 7], [-2, -2, 6, 6]]
    assert crops[1]["boxes_z"].tolist() == [1, 0]


def test_boxes_are_padded_so_that_samples_stack(store: Store) -> None:
    samples = list(LesionCrops(store, size_vox=(3, 8, 8)))
    assert [int(sample["box_count"]) for sample in samples] == [2, 2, 1]
    assert np.isnan(samples[2]["boxes"]).tolist() == [[False] * 4, [True] * 4]
    assert np.isnan(samples[2]["boxes_z"]).tolist() == [False, True]
    for name in samples[0]:
        assert len({(sample[name].shape, sample[name].dtype) for sample in samples}) == 1


def test_a_small_crop_shows_no_other_lesion(store: Store) -> None:
    crops = LesionCrops(store, split="train", size_vox=(1, 8, 8))
    assert [sample["boxes"].shape for sample in crops] == [(1, 4), (1, 4)]


def test_it_is_a_map_and_the_same_each_time(store: Store) -> None:
    crops = LesionCrops(store, size_vox=(2, 4, 4))
    assert len(crops) == 3
    assert crops[-1]["lesion_id"] == crops[np.int64(2)]["lesion_id"] == 2
    for one, other in zip(crops, LesionCrops(store, size_vox=(2, 4, 4)), strict=True):
        assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    with pytest.raises(IndexError):
        crops[3]
    with pytest.raises(TypeError):
        crops["0"]  # type: ignore[index]


def test_crop_is_the_same_place_in_mm(store: Store) -> None:
    crop = store.crop(2, size_mm=(8, 4, 3))
    sample = LesionCrops(store, split="val", size_vox=(4, 8, 6))[0]
    assert np.array_equal(store.window(crop), sample["image"])
    assert crop["z"].values.tolist() == [0, 2, 4, 6]
    assert crop["y"].values.tolist() == [2.5 + n / 2 for n in range(8)]
    assert crop.attrs["lesion_id"] == 2
    assert crop.dtype == np.int16
    assert (crop[2:] == AIR).all()
    lesion = store.lesions().iloc[2]
    assert (
        crop.sel(z=lesion.z_mm, y=lesion.bbox_y1_mm + 2, x=lesion.bbox_x1_mm + 2) == slice_hu(SECOND, 2)[8, 7]
    )


def test_a_crop_lies_on_the_coordinates_of_its_volume(store: Store) -> None:
    crop = store.crop(0, size_mm=3)
    volume = store.volume(crop.attrs["volume_id"])
    assert crop.shape == (2, 6, 6)
    assert np.array_equal(volume.sel(z=crop.z, y=crop.y, x=crop.x), crop)
    assert store.crop(0).shape == (32, 128, 128)
    assert store.crop(0, size_mm=0.1).shape == (1, 1, 1)
    assert store.crop(np.int64(0), 3).equals(crop)  # type: ignore[arg-type]


def test_a_key_slice_past_the_last_plane_is_on_it(tmp_path: Path) -> None:
    rows = [csv_row(FIRST, 6, (3, 6)), csv_row(FIRST, 6, (3, 6), Bounding_boxes="5, 6, 13, 14")]
    config = {"volume": {"spacing_mm": [3.5, "native", "native"]}}
    store = open_store(built(tmp_path, {FIRST: [3, 4, 5, 6]}, rows, **config).store)
    assert store.lesions()["z_vox"].tolist() == pytest.approx([6 / 3.5] * 2)
    last = store.array(f"{FIRST}_003-006")[-1]
    for crop in (store.crop(0, size_mm=(3.5, 4, 4)), store.crop(0, size_mm=(0.1, 4, 4))):
        assert crop.z.values.tolist() == [3.5]
        assert np.array_equal(crop[0], last[5:13, 4:12])
    for sizes in ({"size_vox": (1, 8, 8)}, {"size_mm": (3.5, 4, 4)}):
        sample = LesionCrops(store, window_hu=(-2000, 4000), **sizes)[1]  # type: ignore[arg-type]
        assert sample["image"][0] * 6000 - 2000 == pytest.approx(last[6:14, 5:13], abs=0.01)
        assert sample["box_count"] == 2
        assert sample["boxes_z"].tolist() == pytest.approx([6 / 3.5 - 1] * 2)


def test_a_window_of_a_volume_keeps_its_coordinates(store: Store) -> None:
    crop = store.crop(0, size_mm=4)
    grey = store.window(crop, (-100, 0), "uint8")
    assert grey.dtype == np.uint8
    assert grey.attrs["units"] == "1"
    assert grey.coords.equals(crop.coords)
    assert np.array_equal(grey, store.window(crop.values, (-100, 0), "uint8"))


def test_a_kind_of_window_that_there_is_not(store: Store) -> None:
    with pytest.raises(ValueError, match="'float16'; allowed: 'float32', 'uint8'"):
        store.window([0, 100], kind="float16")  # type: ignore[arg-type]


def test_a_missing_lesion_says_what_is_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no such lesion in this version") as caught:
        store.crop(99)
    for part in ("99", "3 lesion_ids from 0 to 2", "lesions()"):
        assert part in str(caught.value)


def test_a_rejected_lesion_says_why(store: Store) -> None:
    with pytest.raises(StoreError, match="row was rejected") as caught:
        store.crop(3)
    assert "'X'" in str(caught.value)


@pytest.mark.parametrize("size_mm", [0, -1, (4, 0, 4), float("nan")])
def test_a_crop_has_a_size(store: Store, size_mm: float) -> None:
    with pytest.raises(ValueError, match="size_mm"):
        store.crop(0, size_mm)


def test_wrong_settings_are_refused_at_once(store: Store) -> None:
    with pytest.raises(ValueError, match="size_vox"):
        LesionCrops(store, size_vox=(0, 8, 8))
    with pytest.raises(ValueError, match="low < high"):
        LesionCrops(store, window_hu=(275, -175))
    with pytest.raises(StoreError, match="no such split"):
        LesionCrops(store, split="training")
    assert len(LesionCrops(store, split="test")) == 0
