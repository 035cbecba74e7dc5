"""Annotations by others of a small release: one file of each kind."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.annotations.documents import nifti
from tests.support.tiny_release import csv_row
from tests.support.zips import zipped

FIRST, SECOND = "000001_01_01", "000001_02_01"
PRESENT = {FIRST: range(103, 116), SECOND: range(8, 24)}
OTHER_BOX = {"Bounding_boxes": "1, 1, 6, 6", "Measurement_coordinates": "2, 2, 4, 4, 2, 4, 4, 2"}
ROWS = (
    csv_row(FIRST, 109, (103, 115)),
    csv_row(SECOND, 14, (8, 23)),
    csv_row(SECOND, 14, (8, 23), **OTHER_BOX),
)
MASK = nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 5))
PLANE = np.ones((6, 4, 1))


def write_sources(folder: Path) -> dict[str, Any]:
    """Write one file of each kind, and return the config's `source.more`."""
    folder.mkdir()
    lists = {"relevant_labels": [[1, 0], [2], []], "uncertain_labels": [[2], [], []]}
    lesanet = {"term_list": ["chest", "lung", "nodule"], "train_lesion_idxs": [0, 1, 7]}
    lesanet |= {f"train_{name}": tags for name, tags in lists.items()}
    pair = {
        "source": f"{FIRST}_103-115.nii.gz",
        "source recist slice": f"{FIRST}/109.png",
        "source recist box": [3.0, 4.0, 8.0, 8.0],
        "target": f"{SECOND}_008-023.nii.gz",
        "target recist slice": f"{SECOND}/014.png",
        "target recist box": [3.0, 4.0, 8.0, 8.0],
    }
    coco = {
        "images": [{"id": 1, "file_name": f"{FIRST}/109.png"}, {"id": 2, "file_name": f"{SECOND}/014.png"}],
        "annotations": [
            {"image_id": 1, "bbox": [3.0, 4.0, 8.0, 8.0]},
            {"image_id": 2, "bbox": [10.0, 10.0, 3.0, 3.0]},
            {"image_id": 2, "bbox": [10.0, 10.0, -3.0, 3.0]},
        ],
    }
    manual = {"test": {f"{FIRST}_103-115": np.array([[5, 6, 107, 11, 12, 111]], np.float64)}}
    own = 'File_name,Measurement_coordinates\n000001_01_01_109.png,"9, 10, 7, 10, 8, 11, 8, 9"\n'
    masks = {
        f"{FIRST}_109_lesion_01.nii.gz": MASK,
        f"{SECOND}_014_sample_0.nii.gz": nifti(PLANE, (0.5, 0.5, 2.0), (5, 6, 6)),
        f"{SECOND}_014_sample_1.nii.gz": nifti(PLANE, (0.5, 0.5, 2.0), (5, 6, 7)),
    }
    splits = {"train": [f"{FIRST}_109_lesion_01", f"{SECOND}_014_lesion_01", "lidcidri_1_lesion_01"]}
    files: dict[str, bytes] = {
        "lesanet.json": json.dumps(lesanet).encode(),
        "dlt.json": json.dumps({"0001": pair}).encode(),
        "coco.json": json.dumps(coco).encode(),
        "manual.pkl": pickle.dumps(manual, 3),
        "own.csv": own.encode(),
        "masks.zip": zipped(masks | {"splits.json": json.dumps(splits).encode()}),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {
        "lesanet": {"kind": "lesanet_tags", "file": str(folder / "lesanet.json")},
        "dlt": {"kind": "dlt_pairs", "files": [str(folder / "dlt.json")]},
        "coco": {"kind": "coco_boxes", "file": str(folder / "coco.json")},
        "manual": {"kind": "manual_3d_boxes", "file": str(folder / "manual.pkl")},
        "own": {"kind": "dl_info_like", "file": str(folder / "own.csv")},
        "uls23": {"kind": "uls23_masks", "files": [str(folder / "masks.zip")]},
    }
