"""Choices of datasets: lesions, windows, sizes in mm, tags and masks; negatives and whole volumes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl.core.errors import StoreError
from etl.publish.add_tables import NewTable, add_tables
from etl.store import KeySlabs, LesionCrops, Store, VolumeCrops, open_store
from etl.store.volume_crops import starts_along
from etl.tables.tags import TAGS
from tests.support.three_volumes import FIRST, PRESENT, SECOND, built
from tests.support.tiny_release import csv_row

DEMO_TYPES = {"liver": [18], "lung": [0, 2, 15]}


def ids(samples: Any) -> list[int]:
    return [int(sample["lesion_id"]) for sample in samples]


def check_samples_are_their_callers(dataset: Any) -> None:
    """Check that writing to the arrays of a sample, as transforms do, changes no later sample."""
    for number in range(min(3, len(dataset))):
        first = {name: np.copy(value) for name, value in dataset[number].items()}
        for value in dataset[number].values():
            if isinstance(value, np.ndarray):
                value[...] = 1
        again = dataset[number]
        assert all(np.array_equal(again[name], value, equal_nan=True) for name, value in first.items())


def test_lesions_are_chosen_by_type_and_id(demo_store: Store) -> None:
    assert ids(LesionCrops(demo_store, type="liver", size_vox=(1, 2, 2))) == [18]
    assert ids(LesionCrops(demo_store, type=["lung", "liver"], size_vox=(1, 2, 2))) == [0, 2, 15, 18]
    assert ids(LesionCrops(demo_store, "test", type=["lung", "liver"], size_vox=(1, 2, 2))) == [0, 2, 18]
    assert ids(LesionCrops(demo_store, lesion_ids=[5, 3], size_vox=(1, 2, 2))) == [3, 5]
    for asked, said in (
        ({"lesion_ids": [99]}, "no such lesion in this version"),
        ({"split": "val", "lesion_ids": [0]}, "not in this split"),
        ({"type": "livr"}, "no such coarse type"),
        ({"tags": True}, "no such table"),
        ({"masks": True}, "no masks"),
    ):
        with pytest.raises(StoreError, match=said):
            LesionCrops(demo_store, **asked)
    with pytest.raises(ValueError, match="both given"):
        LesionCrops(demo_store, size_vox=(1, 2, 2), size_mm=8)
    with pytest.raises(ValueError, match="allowed: two numbers in HU, or 'own'"):
        LesionCrops(demo_store, window_hu="lung")


def test_a_sample_has_the_windows_types_diameters_and_size_asked_for(demo_store: Store) -> None:
    lesions = demo_store.lesions().set_index("lesion_id", drop=False)
    crops = LesionCrops(demo_store, size_mm=(8, 24, 32), window_hu="own")
    assert len({tuple(lesions[["window_low_hu", "window_high_hu"]].iloc[n]) for n in range(21)}) > 1
    for sample in crops:
        row = lesions.loc[int(sample["lesion_id"])]
        crop = demo_store.crop(row, size_mm=(8, 24, 32))
        expected = demo_store.window(crop, (row["window_low_hu"], row["window_high_hu"])).to_numpy()
        assert np.array_equal(sample["image"], expected)
        assert sample["diameters_mm"] == pytest.approx([row["long_diameter_mm"], row["short_diameter_mm"]])
        assert sample["types"][0] == (-1 if row.isna()["coarse_type_code"] else row["coarse_type_code"])


def test_a_transform_makes_the_sample(demo_store: Store) -> None:
    crops = LesionCrops(demo_store, size_vox=(2, 4, 4), transform=lambda sample: sample["image"][None])
    assert crops[0].shape == crops.negatives()[0].shape == (1, 2, 4, 4)
    tiles = VolumeCrops(demo_store, "val", transform=lambda sample: int(sample["volume"]))
    assert (tiles[0], tiles[-1]) == (0, len(tiles.volume_ids) - 1)
    slabs = KeySlabs(demo_store, planes=1, transform=lambda sample: sample["image"].shape[0])
    assert set(slabs) == {1}


def test_tags_are_columns(few_masks: Store) -> None:
    rows = [
        {
            "lesion_id": lesion_id,
            "source": "lesanet",
            "tag_id": int(tag == "nodule"),
            "tag": tag,
            "certainty": certainty,
        }
        for lesion_id, tag, certainty in (
            (1, "nodule", "relevant"),
            (1, "lung", "uncertain"),
            (3, "lung", "relevant"),
            (4, "lung", "uncertain"),
        )
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    current = open_store(few_masks.objects.root)
    add_tables(current.objects, current.version, [NewTable(TAGS, TAGS.rows(columns), set(range(6)))])
    store = open_store(few_masks.objects.root)
    crops = LesionCrops(store, size_vox=(1, 2, 2), tags=True, masks=True)
    assert crops.tag_names == ["lung", "nodule"]
    assert [sample["tags"].tolist() for sample in crops] == [[0, 0], [-1, 1], [0, 0], [1, 0], [-1, 0], [0, 0]]
    slabs = KeySlabs(store, tags=True, masks=True)
    for dataset in (crops, slabs, VolumeCrops(store, size_vox=(1, 2, 2)), crops.negatives(seed=0)):
        check_samples_are_their_callers(dataset)
    shown = {int(sample["lesion_ids"][0]): sample for sample in slabs}
    assert shown[1]["tags"].tolist() == [[-1, 1], [0, 0]]
    assert shown[1]["diameters_mm"][:, 0] == pytest.approx([2.5, 2.0])
    assert not shown[1]["masks"].any()
    for lesion_id, plane in ((0, 6), (3, 10), (4, 12)):
        assert np.array_equal(shown[lesion_id]["masks"][0], store.mask(lesion_id).values[plane])
        assert shown[lesion_id]["masks"][0].any()


def test_key_slices_are_chosen_by_their_lesions(demo_store: Store) -> None:
    slabs = KeySlabs(demo_store, type="lung", planes=3, window_hu="own")
    lesions = demo_store.lesions().set_index("lesion_id")
    for sample, lesion_id in zip(slabs, DEMO_TYPES["lung"], strict=True):
        assert lesion_id in sample["lesion_ids"]
        row = lesions.loc[lesion_id]
        z = min(round(row["z_vox"]), demo_store.array(row["volume_id"]).shape[0] - 1)
        if abs(z - row["z_vox"]) < 1e-3:
            plane = demo_store.window(
                demo_store.array(row["volume_id"])[z], (row["window_low_hu"], row["window_high_hu"])
            )
            assert np.array_equal(sample["image"][1], plane)


def test_negatives_show_no_annotated_lesion(demo_store: Store) -> None:
    crops = LesionCrops(demo_store, size_vox=(8, 16, 16), window_hu=(-1000, -900))  # lung is above, air below
    negatives = crops.negatives(per_lesion=3, seed=5)
    lesions = demo_store.lesions()
    assert len(negatives) > 2 * len(crops)
    for number, crop in negatives._places:
        volume_id = lesions["volume_id"][number]
        own = lesions[lesions["volume_id"] == volume_id]
        z, y, x = crop.start
        spacing = 2.0
        apart = (
            (own["bbox_x2_vox"] < x - 0.5)
            | (own["bbox_x1_vox"] > x + 15.5)
            | (own["bbox_y2_vox"] < y - 0.5)
            | (own["bbox_y1_vox"] > y + 15.5)
            | (own["z_vox"] + own["long_diameter_mm"] / 2 / spacing < z - 0.5)
            | (own["z_vox"] - own["long_diameter_mm"] / 2 / spacing > z + 7.5)
        )
        assert apart.all()
        shape = demo_store.array(volume_id).shape
        for start, size, length in zip(crop.start, crop.shape, shape, strict=True):
            assert length < size or 0 <= start <= length - size
    assert all(sample["image"].max() > 0 for sample in negatives)
    for sample in (negatives[0], crops[0]):
        assert {name: (value.shape, value.dtype) for name, value in sample.items()} == {
            name: (value.shape, value.dtype) for name, value in crops[1].items()
        }
    assert (int(negatives[0]["lesion_id"]), int(negatives[0]["box_count"])) == (-1, 0)


def test_negatives_are_the_same_each_time(demo_store: Store) -> None:
    crops = LesionCrops(demo_store, "val", size_vox=(4, 8, 8))
    one, again, other = crops.negatives(), crops.negatives(), crops.negatives(seed=1)
    assert one._places == again._places != other._places
    assert len(crops.negatives(per_lesion=0.5)) <= len(crops) // 2
    sent = pickle.loads(pickle.dumps(one))
    assert np.array_equal(sent[0]["image"], one[0]["image"])
    with pytest.raises(ValueError, match="per_lesion is 0"):
        crops.negatives(0)


def test_a_volume_without_room_gives_no_negative(demo_store: Store) -> None:
    assert len(LesionCrops(demo_store, size_vox=(200, 400, 400)).negatives()) == 0


@pytest.mark.parametrize(
    ("count", "size", "step", "starts"),
    [
        (10, 4, 4, [0, 4, 6]),
        (8, 4, 4, [0, 4]),
        (8, 4, 2, [0, 2, 4]),
        (3, 4, 4, [0]),
        (4, 4, 1, [0]),
        (5, 4, 9, [0, 1]),
    ],
)
def test_crops_cover_an_axis(count: int, size: int, step: int, starts: list[int]) -> None:
    assert starts_along(count, size, step) == starts


def test_volumes_are_covered_whole(demo_store: Store) -> None:
    tiles = VolumeCrops(demo_store, size_vox=(16, 96, 96), window_hu=(-1024, 3071))
    assert tiles.volume_ids.tolist() == demo_store.volumes()["volume_id"].tolist()
    (number,) = np.flatnonzero(tiles.volume_ids == "000001_01_01_103-115")
    shape = demo_store.array("000001_01_01_103-115").shape
    built, lesions = np.full(shape, np.nan), set()
    for index in np.flatnonzero(tiles._places[:, 0] == number):
        sample = tiles[index]
        start = sample["start_vox"]
        part = tuple(
            slice(a, min(a + n, length)) for a, n, length in zip(start, (16, 96, 96), shape, strict=True)
        )
        built[part] = sample["image"][tuple(slice(0, s.stop - s.start) for s in part)]
        assert int(sample["box_count"]) == tiles.box_counts[index]
        for box, z in zip(sample["boxes"][: sample["box_count"]], sample["boxes_z"], strict=False):
            lesions.add((*np.round(box + start[[2, 1, 2, 1]], 3).tolist(), round(float(z + start[0]), 3)))
    expected = demo_store.window(demo_store.array("000001_01_01_103-115")[...], (-1024, 3071))
    assert np.array_equal(built, expected)
    rows = demo_store.lesions()
    rows = rows[rows["volume_id"] == "000001_01_01_103-115"]
    columns = [f"bbox_{name}_vox" for name in ("x1", "y1", "x2", "y2")]
    assert np.allclose(sorted(lesions), sorted(rows[[*columns, "z_vox"]].to_numpy().tolist()), atol=2e-3)


@pytest.mark.parametrize("wanted", [[True, False], [0.5], ["1"], [None], 1, [[0, 1]]])
def test_what_is_no_lesion_id_is_refused(demo_store: Store, wanted: Any) -> None:
    for dataset in (LesionCrops, KeySlabs):
        with pytest.raises(ValueError, match="allowed: a list of lesion_ids"):
            dataset(demo_store, lesion_ids=wanted)


@pytest.mark.parametrize("wanted", [[], [2, 0], [2.0, 0.0], np.array([0, 2], np.int32), pd.Series([0, 2])])
def test_lesion_ids_come_in_any_kind_of_list(demo_store: Store, wanted: Any) -> None:
    crops = LesionCrops(demo_store, lesion_ids=wanted)
    assert [int(crops[n]["lesion_id"]) for n in range(len(crops))] == sorted(map(int, wanted))


def test_a_volume_with_lesions_of_two_splits_is_of_both(tmp_path: Path) -> None:
    rows = [csv_row(FIRST, n, (3, 5), Train_Val_Test=code) for n, code in ((4, "1"), (5, "2"))]
    store = open_store(built(tmp_path, PRESENT, [*rows, csv_row(SECOND, 2, (1, 2))]).store)
    first, second = f"{FIRST}_003-005", f"{SECOND}_001-002"
    for split, volumes, boxes in (("train", [first], 1), ("val", [first, second], 2), ("test", [], 0)):
        assert store.volumes(split=split)["volume_id"].tolist() == volumes
        assert VolumeCrops(store, split=split, size_vox=(64, 64, 64)).box_counts.sum() == boxes


@pytest.mark.parametrize("window", ["own", "lung"])
def test_crops_of_whole_volumes_have_no_window_of_a_lesion(demo_store: Store, window: str) -> None:
    with pytest.raises(ValueError, match="two numbers in HU"):
        VolumeCrops(demo_store, window_hu=window)  # type: ignore[arg-type]


def test_no_lesion_is_lost_between_crops(demo_store: Store) -> None:
    """A key slice may lie past the last plane by less than a voxel."""
    tiles = VolumeCrops(demo_store, size_vox=(1, 400, 400))
    counts = dict.fromkeys(tiles.volume_ids.tolist(), 0)
    for place, count in zip(tiles._places, tiles.box_counts, strict=True):
        counts[str(tiles.volume_ids[place[0]])] += int(count)
    assert counts == demo_store.volumes().set_index("volume_id")["lesion_count"].to_dict()
