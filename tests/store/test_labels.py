"""Labels of a volume in the store: what other readers find in them, and that none is half there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from etl.imaging.box_masks import BoxMask
from etl.io.opening import open_objects
from etl.store.label_images import Grid, LesionMask, label_array
from etl.store.labels import find_labels, image_names, write_labels
from etl.store.sealed import is_intact

VOLUME = "000001_01_01_103-115"
PATH = f"volumes/{VOLUME}/{'0' * 16}.ome.zarr"
GRID = Grid(VOLUME, PATH, (70, 20, 90), (1.0, 1.0, 1.0), (15, 40, 130), (5.0, 0.5, 0.7), 103, 2)
FINGERPRINT = "ab" * 8


def mask(lesion_id: int, start: int, *, is_3d: bool = True) -> LesionMask:
    voxels = np.ones((3, 4, 5), bool)
    voxels[0, 0, 0] = False
    place = (start, start + 1, start + 2)
    return LesionMask(lesion_id, f"{lesion_id}.nii.gz", is_3d, BoxMask(voxels, place), BoxMask(voxels, place))


def test_labels_are_images_that_zarr_reads(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    masks = [mask(4, 0), mask(70_000, 6), mask(5, 61 - 50, is_3d=False)]
    receipt = write_labels(objects, GRID, "uls23", FINGERPRINT, masks, [{"file": "a"}])
    entry = receipt.entry
    assert entry["path"] == f"labels/{VOLUME}/{FINGERPRINT}.ome.zarr"
    group = zarr.open_group(tmp_path / entry["path"], mode="r", zarr_format=3)
    names = ["lesions", "lesions_source", "key_slices", "key_slices_source"]
    assert group["labels"].attrs["ome"] == {"version": "0.5", "labels": names}
    for name, shape, spacing in (
        ("lesions", GRID.shape, GRID.spacing_mm),
        ("lesions_source", GRID.source_shape, GRID.source_spacing_mm),
    ):
        image = group[f"labels/{name}"]
        voxels = image["0"][...]
        assert (voxels.shape, voxels.dtype.kind) == (shape, "u")
        assert sorted(np.unique(voxels).tolist()) == [0, 5, 70_001]
        for one in masks[:2]:
            inside = voxels[
                tuple(slice(a, b) for a, b in zip(one.stored.start, one.stored.stop, strict=True))
            ]
            assert ((inside == one.lesion_id + 1) == one.stored.voxels).all()
            assert (voxels == one.lesion_id + 1).sum() == one.stored.count
        assert image["1"].shape == tuple((n + 1) // 2 for n in shape)
        assert set(np.unique(image["1"][...]).tolist()) == {0, 5, 70_001}
        ome = image.attrs["ome"]
        assert [
            step["scale"] for step in ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        ] == [list(spacing)]
        assert [entry["label-value"] for entry in ome["image-label"]["properties"]] == [5, 70_001]
        source = (
            tmp_path / entry["path"] / "labels" / name / ome["image-label"]["source"]["image"]
        ).resolve()
        assert source == (tmp_path / PATH).resolve()
    assert group["labels/key_slices/0"].dtype == np.uint16
    for path in tmp_path.rglob("zarr.json"):
        assert is_intact(json.loads(path.read_bytes()), ("attributes", "deeplesion"))
    files = [path for path in (tmp_path / "labels").rglob("*") if path.is_file()]
    assert entry["bytes"] == sum(path.stat().st_size for path in files)


def test_metadata_of_levels_is_what_zarr_writes(tmp_path: Path) -> None:
    ours = json.loads(label_array((70, 20, 90), np.dtype("<u2")))
    (tmp_path / "zarr.json").write_text(json.dumps(ours))
    array = zarr.open_array(tmp_path, mode="r", zarr_format=3)
    assert (array.shape, array.chunks, array.shards) == ((70, 20, 90), (64, 64, 64), (128, 64, 128))
    zarrs = array.metadata.to_dict()
    assert {key: ours[key] for key in ("shape", "chunk_grid", "fill_value")} == {
        key: json.loads(json.dumps(zarrs[key])) for key in ("shape", "chunk_grid", "fill_value")
    }


def test_masks_that_overlap_go_to_images_of_their_own() -> None:
    masks = [mask(1, 0), mask(2, 1), mask(3, 9), mask(1, 9), mask(1, 0, is_3d=False)]
    assert image_names(masks) == ["lesions", "lesions_2", "lesions", "lesions_2", "key_slices"]


@pytest.mark.parametrize("damage", ["cut", "missing", "receipt"])
def test_labels_are_whole_or_absent(tmp_path: Path, damage: str) -> None:
    objects = open_objects(tmp_path)
    assert find_labels(objects, VOLUME, FINGERPRINT) is None
    written = write_labels(objects, GRID, "uls23", FINGERPRINT, [mask(4, 0)], [{"file": "a"}])
    found = find_labels(objects, VOLUME, FINGERPRINT)
    assert found == written
    shard = tmp_path / written.entry["path"] / "labels/lesions/0/c/0/0/0"
    receipt = tmp_path / "labels" / VOLUME / f"{FINGERPRINT}.receipt.json"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "missing":
        shard.unlink()
    else:
        receipt.write_bytes(receipt.read_bytes().replace(b'"uls23"', b'"uls24"'))
    assert find_labels(objects, VOLUME, FINGERPRINT) is None


def test_the_same_masks_give_the_same_bytes(tmp_path: Path) -> None:
    entries = []
    for name in ("a", "b"):
        masks = [mask(4, 0), mask(9, 6)]
        entries.append(write_labels(open_objects(tmp_path / name), GRID, "s", FINGERPRINT, masks, []).entry)
    assert entries[0] == entries[1]
