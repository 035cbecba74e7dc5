from __future__ import annotations

import numpy as np
import pytest

from etl.core.errors import StoreError
from etl.store import KeySlabs, Store, open_store
from etl.store.key_slabs import plane_positions, read_planes_at
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row, slice_hu

AIR = -1024
FIRST, SECOND = "000001_01_01", "000002_01_01"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("slabs")
    train = {"Train_Val_Test": "1", "Coarse_lesion_type": "-1"}
    rows = (
        csv_row(FIRST, 4, (3, 6), **train),
        csv_row(FIRST, 5, (3, 6), **train),
        csv_row(FIRST, 4, (3, 6), Bounding_boxes="5, 6, 13, 14", **train),
        csv_row(SECOND, 2, (1, 2)),
    )
    return open_store(
        built(folder, {FIRST: [3, 4, 5, 6], SECOND: [1, 2]}, rows, volume={"spacing_mm": "native"}).store
    )


def windowed(planes: list[np.ndarray | None]) -> np.ndarray:
    """Slices seen through the default window; None is a plane of air."""
    hu = np.stack([np.full((16, 16), AIR) if plane is None else plane for plane in planes])
    return (np.clip(hu, -175, 275) + 175) / 450


def test_a_sample_is_the_key_slice_between_its_neighbours_with_all_its_boxes(store: Store) -> None:
    slabs = KeySlabs(store, "train", planes=5)
    assert len(slabs) == 2
    both, one = list(slabs)
    # The store keeps the slices as they are, 2 mm apart; 3 is the first.
    three, four, five, six = (slice_hu(FIRST, index) for index in (3, 4, 5, 6))
    assert both["image"].dtype == np.float32
    assert both["image"] == pytest.approx(windowed([None, three, four, five, six]), abs=1e-6)
    assert one["image"] == pytest.approx(windowed([three, four, five, six, None]), abs=1e-6)
    assert both["boxes"].tolist() == [[3, 4, 11, 12], [4, 5, 12, 13]]
    assert both["lesion_ids"].tolist() == [0, 2]
    assert both["types"].tolist() == [-1, -1]
    assert one["boxes"][0].tolist() == [3, 4, 11, 12]
    assert np.isnan(one["boxes"][1]).all()
    assert (one["lesion_ids"].tolist(), int(one["box_count"])) == ([1, -1], 1)
    assert KeySlabs(store, "val")[0]["types"].tolist() == [5]


def test_planes_between_slices_are_interpolated(store: Store) -> None:
    (sample,) = list(KeySlabs(store, "val", planes=3, spacing_mm=0.5, window_hu=(-2000, 4000)))
    one, two = (slice_hu(SECOND, index).astype(float) for index in (1, 2))
    for plane, expected in zip(sample["image"], (one + 0.75 * (two - one), two, two), strict=True):
        assert plane * 6000 - 2000 == pytest.approx(expected, abs=0.01)


def test_a_key_slice_just_past_the_last_plane_is_that_plane(store: Store) -> None:
    voxels = store.array(f"{SECOND}_001-002")
    found = read_planes_at(voxels, np.array([-1, -0.9, 0, 1.9, 2]))
    for plane, index in ((1, 1), (2, 1), (3, 2)):
        assert np.array_equal(found[plane], slice_hu(SECOND, index))
    assert (found[[0, 4]] == AIR).all()


def test_positions_are_whole_where_spacings_meet() -> None:
    assert plane_positions(10.0000004, 3, 2.0).tolist() == [8, 10, 12]
    assert plane_positions(10.25, 2, 0.5).tolist() == [10, 10.5]


def test_images_are_padded_to_one_size_with_air(store: Store) -> None:
    small, large = KeySlabs(store)[0]["image"], KeySlabs(store, size_px=(18, 20))[0]["image"]
    assert large.shape == (9, 18, 20)
    assert np.array_equal(large[:, :16, :16], small)
    assert (large[:, 16:] == 0).all()
    assert (large[:, :, 16:] == 0).all()


def test_wrong_settings_are_refused_at_once(store: Store) -> None:
    with pytest.raises(ValueError, match=r"at least \(16, 16\)"):
        KeySlabs(store, size_px=(15, 16))
    for wrong in ({"planes": 0}, {"spacing_mm": 0}, {"spacing_mm": float("nan")}, {"window_hu": (1, 1)}):
        with pytest.raises(ValueError, match="allowed"):
            KeySlabs(store, **wrong)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="no such split"):
        KeySlabs(store, "training")
    assert len(KeySlabs(store, "test")) == 0
    with pytest.raises(IndexError):
        KeySlabs(store)[3]
