from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from etl.core.errors import ConfigError
from etl.export.coco import CATEGORIES
from etl.export.export import export
from etl.export.protocol import Pictures, Selection
from etl.phantom import phantom_truth
from etl.store.reader import Store, open_store
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row, slice_hu

SERIES = "000001_01_01"


@pytest.fixture(scope="module")
def folder(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("coco")
    export(demo_store, out, "coco", Selection())
    return out


def read(folder: Path, split: str) -> dict[str, Any]:
    return dict(json.loads((folder / "annotations" / f"{split}.json").read_text()))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lesions on one key slice, two of them in one window; the source's grid of 0.5 mm."""
    tmp_path = tmp_path_factory.mktemp("tiny")
    rows = [
        csv_row(SERIES, 4, (3, 5)),
        csv_row(SERIES, 4, (3, 5), DICOM_windows="-1024, 275.5", Coarse_lesion_type="-1"),
        csv_row(SERIES, 4, (3, 5), Bounding_boxes="10.5, 11, 18, 17.25", Possibly_noisy="1"),
        csv_row(SERIES, 5, (3, 5)),
    ]
    config = built(tmp_path, {SERIES: [3, 4, 5]}, rows, volume={"spacing_mm": "native"})
    export(open_store(config.store), tmp_path / "out", "coco", Selection())
    return tmp_path / "out"


def test_exact_document(tiny: Path) -> None:
    made = read(tiny, "val")
    assert [(image["id"], image["file_name"]) for image in made["images"]] == [
        (1, "val/000001_01_01_004_-175_275.png"),
        (2, "val/000001_01_01_004_-1024_275.5.png"),
        (4, "val/000001_01_01_005_-175_275.png"),
    ]
    assert made["images"][1] == {
        "id": 2,
        "file_name": "val/000001_01_01_004_-1024_275.5.png",
        "height": 16,
        "width": 16,
        "volume_id": "000001_01_01_003-005",
        "plane": 1,
        "window_hu": [-1024.0, 275.5],
        "spacing_yx_mm": [0.5, 0.5],
        "patient_index": 1,
        "key_slice": "000001_01_01_004.png",
    }
    shown = [
        (a["id"], a["image_id"], a["category_id"], a["bbox"], a["lesion_id"]) for a in made["annotations"]
    ]
    # Pixel centres count from 1 in the CSV and from 0.5 here; the third box ends at the image's edge.
    assert shown == [
        (1, 1, 5, [3.5, 4.5, 8, 8], 0),
        (3, 1, 5, [10.0, 10.5, 6.0, 5.5], 2),
        (2, 2, 9, [3.5, 4.5, 8, 8], 1),
        (4, 4, 5, [3.5, 4.5, 8, 8], 3),
    ]
    assert [a["past_edge"] for a in made["annotations"]] == [False, True, False, False]
    assert [a["possibly_noisy"] for a in made["annotations"]] == [False, True, False, False]
    # 6, 9, 11, 9 and 8, 7, 8, 10 in the CSV: a kite of 5 by 3 pixels.
    kite = [5.5, 8.5, 7.5, 6.5, 10.5, 8.5, 7.5, 9.5]
    assert [a["segmentation"] for a in made["annotations"]] == [[kite]] * 4
    assert [a["area"] for a in made["annotations"]] == [7.5] * 4


def test_pixels_are_the_planes_in_their_windows(tiny: Path) -> None:
    for name, window, index in (
        ("004_-175_275", (-175, 275), 4),
        ("004_-1024_275.5", (-1024, 275.5), 4),
        ("005_-175_275", (-175, 275), 5),
    ):
        low, high = window
        with Image.open(tiny / "images" / "val" / f"{SERIES}_{name}.png") as image:
            assert image.mode == "L"
            exact = (slice_hu(SERIES, index) - low) / (high - low) * 255
            assert np.abs(np.asarray(image, float) - np.clip(exact, 0, 255)).max() <= 0.51


@pytest.mark.slow
@pytest.mark.parametrize("neighbours_mm", [None, 2.0, 1.0])
def test_pixels_in_hu_are_the_releases_own(tiny: Path, tmp_path: Path, neighbours_mm: float | None) -> None:
    pictures = Pictures(hu=True, neighbours_mm=neighbours_mm)
    export(open_store(tiny.parent / "store"), tmp_path, "coco", Selection(pictures=pictures))
    made = read(tmp_path, "val")
    # One image for all windows.
    assert [(image["id"], image["file_name"]) for image in made["images"]] == [
        (1, "val/000001_01_01_004.png"),
        (4, "val/000001_01_01_005.png"),
    ]
    assert [a["image_id"] for a in made["annotations"]] == [1, 1, 1, 4]
    assert {image["stored_zero_hu"] for image in made["images"]} == {32768}
    assert {image.get("neighbours_mm") for image in made["images"]} == {neighbours_mm}
    assert "window_hu" not in made["images"][0]
    slices = [slice_hu(SERIES, index).astype(int) for index in (3, 4, 5)]
    before, key, after = slices
    if neighbours_mm == 1.0:  # slices are 2 mm apart
        before, after = np.rint((before + key) / 2), np.rint((after + key) / 2)
    pixels, last = (
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "images" / image["file_name"]))
        for image in made["images"]
    )
    assert pixels.dtype == np.uint16
    if neighbours_mm is None:
        assert np.array_equal(pixels, key + 32768)
        return
    assert np.array_equal(pixels, np.stack([before, key, after], axis=-1) + 32768)
    outside = -1024 if neighbours_mm == 2.0 else slices[2]  # less than a voxel outside: the outermost plane
    assert np.array_equal(last[..., 2] - 32768.0, np.broadcast_to(outside, (16, 16)))


def test_neighbours_in_a_window_are_colours(demo_store: Store, tmp_path: Path) -> None:
    export(demo_store, tmp_path, "coco", Selection(patients=(1,), pictures=Pictures(neighbours_mm=4.0)))
    (split,) = (tmp_path / "annotations").iterdir()
    for image in COCO(str(split)).imgs.values():
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            assert picture.mode == "RGB"
            shown = np.asarray(picture)
        array = demo_store.array(image["volume_id"])
        planes = np.asarray(array[image["plane"] - 2 : image["plane"] + 3 : 2])  # the store has 2 mm
        low, high = image["window_hu"]
        expected = np.clip((planes - low) / (high - low), 0, 1) * 255
        assert np.abs(np.moveaxis(shown, -1, 0) - expected).max() <= 0.51


def test_pixels_are_asked_for_where_there_are_images(demo_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images that --hu or --neighbours"):
        export(demo_store, tmp_path, "csv", Selection(pictures=Pictures(hu=True)))


def test_a_key_slice_past_the_last_plane_is_the_last_plane(tmp_path: Path) -> None:
    config = built(tmp_path, {SERIES: [3, 4]}, [csv_row(SERIES, 4, (3, 4))], volume={"spacing_mm": 3.0})
    store = open_store(config.store)
    assert store.lesions()["z_vox"].tolist() == [pytest.approx(2 / 3)]
    assert store.array(f"{SERIES}_003-004").shape[0] == 1
    export(store, tmp_path / "out", "coco", Selection())
    assert read(tmp_path / "out", "val")["images"][0]["plane"] == 0


def test_pycocotools_reads_each_split(folder: Path) -> None:
    splits = {}
    for path in sorted((folder / "annotations").iterdir()):
        coco = COCO(str(path))
        splits[path.stem] = {annotation["lesion_id"] for annotation in coco.anns.values()}
        assert len(coco.anns) == len(coco.dataset["annotations"])
        assert len(coco.imgs) == len(coco.dataset["images"])
        assert {c["id"]: c["name"] for c in coco.dataset["categories"]} == CATEGORIES
        for image in coco.imgs.values():
            with Image.open(folder / "images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
        for annotation in coco.anns.values():
            image = coco.imgs[annotation["image_id"]]
            assert coco.annToMask(annotation).sum() == pytest.approx(annotation["area"], abs=40)
            x, y, width, height = annotation["bbox"]
            assert min(x, y) >= 0
            assert min(width, height) > 0
            assert x + width <= image["width"]
            assert y + height <= image["height"]
    assert sorted(splits) == ["test", "train", "val"]
    assert sorted(set().union(*splits.values())) == list(range(21))
    train = read(folder, "train")["annotations"]
    assert {a["category_id"] for a in train} == {9}
    assert 9 not in {
        a["category_id"] for split in ("val", "test") for a in read(folder, split)["annotations"]
    }


def test_its_own_boxes_as_detections_score_one(folder: Path) -> None:
    truth = COCO(str(folder / "annotations" / "test.json"))
    found = truth.loadRes(
        [
            {key: annotation[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0}
            for annotation in truth.anns.values()
        ]
    )
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_boxes_lie_around_the_lesions(folder: Path) -> None:
    """The centroid of a bright lesion's pixels, whose centres are at 0.5, is the centre of its box."""
    truth = {lesion.lesion_id: lesion for lesion in phantom_truth().lesions}
    looked_at = 0
    for split in ("train", "val", "test"):
        coco = COCO(str(folder / "annotations" / f"{split}.json"))
        for annotation in coco.anns.values():
            lesion = truth[annotation["lesion_id"]]
            image = coco.imgs[annotation["image_id"]]
            if annotation["past_edge"] or lesion.hu <= lesion.background_hu:
                continue
            with Image.open(folder / "images" / image["file_name"]) as picture:
                grey = np.asarray(picture, float)
            x, y, width, height = annotation["bbox"]
            rows, columns = slice(int(y), int(y + height) + 1), slice(int(x), int(x + width) + 1)
            inside = grey[rows, columns]
            low, high = np.median(inside[[0, -1]]), np.quantile(inside, 0.99)
            weight = np.clip((inside - low) / (high - low), 0, 1) * (inside > (low + high) / 2)
            centre_y, centre_x = (
                (weight.sum(axis=1 - axis) * (np.arange(weight.shape[axis]) + 0.5)).sum() / weight.sum()
                for axis in (0, 1)
            )
            assert columns.start + centre_x == pytest.approx(x + width / 2, abs=0.5)
            assert rows.start + centre_y == pytest.approx(y + height / 2, abs=0.5)
            looked_at += 1
    assert looked_at >= 18
