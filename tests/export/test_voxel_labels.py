"""Exports for tools that learn from voxels: nnU-Net's raw data set and nnDetection's task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

from etl.core.errors import ConfigError
from etl.export.export import export
from etl.export.nnunet import Case, folds
from etl.export.protocol import TYPES, Selection
from etl.store.reader import Store

FIRST, SECOND, THIRD, FOURTH = (f"{patient:06d}_01_01_001-013" for patient in range(1, 5))


@pytest.fixture(scope="module")
def nnunet(few_masks: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nnunet")
    export(few_masks, out, "nnunet", Selection())
    return out


@pytest.fixture(scope="module")
def nndetection(few_masks: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nndetection")
    export(few_masks, out, "nndetection", Selection())
    return out


def read(path: Path) -> np.ndarray[Any, Any]:
    """The voxels of a file, (z, y, x)."""
    return np.asarray(nibabel.load(path).dataobj).transpose(2, 0, 1)


def test_nnunet_has_a_file_for_each_volume_with_a_mask(nnunet: Path) -> None:
    files = sorted(path.relative_to(nnunet).as_posix() for path in nnunet.rglob("*.nii.gz"))
    assert files == [
        f"imagesTr/{FIRST}_0000.nii.gz",
        f"imagesTr/{SECOND}_0000.nii.gz",
        f"imagesTs/{THIRD}_0000.nii.gz",
        f"labelsTr/{FIRST}.nii.gz",
        f"labelsTr/{SECOND}.nii.gz",
        f"labelsTs/{THIRD}.nii.gz",
    ]
    about = json.loads((nnunet / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "lesion": 1, "ignore": 2}
    assert (about["numTraining"], about["file_ending"], about["channel_names"]) == (2, ".nii.gz", {"0": "CT"})
    assert json.loads((nnunet / "splits_final.json").read_text()) == [{"train": [FIRST], "val": [SECOND]}]


@pytest.mark.slow
def test_nnunet_labels_are_the_masks_and_what_they_leave_open(nnunet: Path, few_masks: Store) -> None:
    whole = few_masks.mask(0).values
    labels = read(nnunet / f"labelsTr/{FIRST}.nii.gz")
    assert np.array_equal(labels == 1, whole)
    # Lesions 1 and 2: the box of 1.5 to 5.5 by 2 to 6 voxels, 2.5 mm deep around plane 20.
    assert np.argwhere(labels == 2).min(axis=0).tolist() == [19, 2, 2]
    assert np.argwhere(labels == 2).max(axis=0).tolist() == [21, 6, 5]
    assert (labels == 2).sum() == 3 * 5 * 4
    assert np.array_equal(read(nnunet / f"labelsTr/{SECOND}.nii.gz"), few_masks.mask(3).values)
    slice_only, key_mask = read(nnunet / f"labelsTs/{THIRD}.nii.gz"), few_masks.mask(4).values
    assert np.array_equal(slice_only == 1, key_mask)
    assert np.unique(np.nonzero(slice_only == 2)[0]).tolist() == [11, 12, 13]
    for part in ("Tr", "Ts"):
        for path in (nnunet / f"labels{part}").iterdir():
            image = nibabel.load(nnunet / f"images{part}" / path.name.replace(".nii", "_0000.nii"))
            assert np.array_equal(nibabel.load(path).affine, image.affine)


def test_nothing_is_ignored_where_every_lesion_has_a_mask(few_masks: Store, tmp_path: Path) -> None:
    export(few_masks, tmp_path, "nnunet", Selection(patients=(2,)))
    assert json.loads((tmp_path / "dataset.json").read_text())["labels"] == {"background": 0, "lesion": 1}
    assert not (tmp_path / "splits_final.json").exists()


def test_lesions_that_were_not_selected_are_ignored(few_masks: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no selected lesion has a mask"):
        export(few_masks, tmp_path, "nnunet", Selection(patients=(4,)))


def test_folds_keep_patients_together() -> None:
    class Row:
        def __init__(self, patient: int, number: int) -> None:
            self.volume_id, self.patient_index, self.split = f"{patient}-{number}", patient, "train"

    made = folds([Case(Row(patient, number), (), {}) for patient in range(7) for number in range(2)])
    assert len(made) == 5
    for fold in made:
        held = {name.split("-")[0] for name in fold["val"]}
        assert not held & {name.split("-")[0] for name in fold["train"]}
        assert len(fold["train"]) + len(fold["val"]) == 14
    assert sorted(name for fold in made for name in fold["val"]) == sorted(made[0]["train"] + made[0]["val"])


def test_nndetection_numbers_the_lesions_of_each_volume(nndetection: Path, few_masks: Store) -> None:
    about = json.loads((nndetection / "dataset.json").read_text())
    assert about["labels"] == {str(number): name for number, name in enumerate(TYPES)}
    raw = nndetection / "raw_splitted"
    found = {}
    for path in sorted(raw.glob("labels*/*.json")):
        made, labels = json.loads(path.read_text()), read(path.with_suffix(".nii.gz"))
        assert sorted(np.unique(labels[labels > 0])) == [int(key) for key in made["instances"]]
        image = raw / path.parent.name.replace("labels", "images") / f"{path.stem}_0000.nii.gz"
        assert np.array_equal(nibabel.load(image).affine, nibabel.load(path.with_suffix(".nii.gz")).affine)
        found[path.stem] = made
        for key, lesion_id in made["lesion_id"].items():
            inside = labels == int(key)
            if lesion_id in (0, 3):
                assert np.array_equal(inside, few_masks.mask(lesion_id).values)
            else:
                # The box of 4 by 5 voxels on one interval of 2 mm.
                assert inside.sum() == 3 * 5 * 4
    assert found[FIRST]["instances"] == {"1": 8, "2": 8}
    # Lesions 1 and 2 have one box.
    assert sorted([*found[FIRST]["lesion_id"].values(), *found[FIRST]["covered"]]) == [0, 1, 2]
    assert len(found[FIRST]["covered"]) == 1
    assert [found[name]["instances"] for name in (SECOND, THIRD, FOURTH)] == [{"1": 4}, {"1": 0}, {"1": 8}]
    assert sorted(path.name for path in raw.glob("imagesTs/*")) == [f"{THIRD}_0000.nii.gz"]


def test_lesions_csv_names_files_of_the_export(nnunet: Path, nndetection: Path) -> None:
    for folder, lesion_ids in ((nnunet, [0, 1, 2, 3, 4]), (nndetection, [0, 1, 2, 3, 4, 5])):
        rows = pd.read_csv(folder / "lesions.csv")
        assert rows["lesion_id"].tolist() == lesion_ids
        assert all((folder / name).is_file() for name in rows["file"])


def test_nndetection_with_one_class(few_masks: Store, tmp_path: Path) -> None:
    export(few_masks, tmp_path, "nndetection", Selection(patients=(2, 3), single_class=True))
    assert json.loads((tmp_path / "dataset.json").read_text())["labels"] == {"0": "lesion"}
    for path in tmp_path.glob("raw_splitted/labels*/*.json"):
        assert set(json.loads(path.read_text())["instances"].values()) == {0}
