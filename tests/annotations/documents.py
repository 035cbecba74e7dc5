"""Small annotation files of every kind, as their authors write them, for tests to damage."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

BOX = [10.5, 20.25, 40.75, 60.125]


def lesanet() -> bytes:
    return json.dumps(
        {
            "term_list": ["chest", "lung", "nodule"],
            "train_lesion_idxs": [7, 8],
            "train_relevant_labels": [[2, 1, 2], []],
            "train_uncertain_labels": [[], [0]],
            "val_lesion_idxs": [5],
            "val_relevant_labels": [[0]],
            "val_uncertain_labels": [[0]],
        }
    ).encode()


def mulan() -> bytes:
    tags = [{"ID": number, "tag": name, "class": "type"} for number, name in enumerate(("chest", "lung"))]
    return json.dumps({"tag_dict_list": tags, "lesion_tags": [[7, [1]], [8, [0, 1]]]}).encode()


def dlt() -> bytes:
    side = {"{}": "000004_02_01_007-019.nii.gz", "{} recist slice": "000004_02_01/013.png"}
    other = {"{}": "000004_03_01_002-014.nii.gz", "{} recist slice": "000004_03_01/008.png"}
    pairs = {}
    for number, (source, target) in enumerate(((side, other), (other, side)), start=1):
        pair: dict[str, Any] = {}
        for name, found, z in (("source", source, 6.0), ("target", target, 6.0)):
            pair |= {key.format(name): value for key, value in found.items()}
            pair[f"{name} recist box"] = (
                [48.7, 191.6, 35.2, 33.3] if found is side else [78.1, 264.4, 29.9, 25.2]
            )
            pair[f"{name} recist center"] = [66.3, 208.7, z]
        pairs[f"{number:04d}"] = pair
    return json.dumps(pairs).encode()


def harvester(protocol: int = 2) -> bytes:
    box = [np.float64(value) for value in (*BOX, 3, 3)]
    return pickle.dumps({"000001_01_01_103-115": {3: [box]}, "000002_01_01_001-020.annot": {}}, protocol)


def harvester_3d(protocol: int = 2) -> bytes:
    return pickle.dumps({"000001_01_01_103-115": [[np.float64(v) for v in (*BOX, 2.5, 6)]]}, protocol)


def manual(protocol: int = 3) -> bytes:
    boxes = np.array([[10, 20, 104, 40, 60, 107]], np.float64)
    split = {"000001_01_01_103-115": boxes, "000002_01_01_001-020": np.zeros((0, 6))}
    return pickle.dumps({"val": split, "test": {}}, protocol)


def aim() -> bytes:
    lines = (
        "Unnamed: 0,Volume_fn,bbox,centroid_z,Coarse_lesion_type",
        '15,000004_02_02_043-103.nii.gz,"[291, 234, 309, 250]",31.0,4',
        '16,000004_02_02_115-175.nii.gz,"[413, 164, 438, 189]",31.0,4',
    )
    return "\n".join(lines).encode()


def coco() -> bytes:
    images = [{"id": 1, "file_name": "000002_01_01/162.png", "height": 512, "width": 512}]
    annotations = [{"id": 1, "image_id": 1, "bbox": [228.2, 255.2, 16.1, 17.4], "category_id": 1}]
    return json.dumps({"images": images, "annotations": annotations, "categories": []}).encode()


def rows() -> bytes:
    return b'File_name,Bounding_boxes\n000001_01_01_109.png,"226.169, 90.0204, 241.252, 111.977"\n'


def splits() -> bytes:
    return json.dumps(
        {"train": ["001138_01_01_060_lesion_01", "lidcidri_443_lesion_07"], "test": []}
    ).encode()


def nifti(
    voxels: np.ndarray, spacing: tuple[float, float, float], start: tuple[int, int, int], *, code: int = 2
) -> bytes:
    """A gzipped NIfTI-1 whose origin lies `start` whole voxels from 0."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, voxels.ndim, *voxels.shape, *(1,) * (7 - voxels.ndim))
    dtype = {2: "u1", 4: "<i2", 16: "<f4"}[code]
    struct.pack_into("<2h", header, 70, code, 8 * np.dtype(dtype).itemsize)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<2f", header, 108, 352.0, 1.0)
    struct.pack_into("<2h", header, 252, 0, 1)
    for axis in range(3):
        line = [0.0, 0.0, 0.0, start[axis] * spacing[axis]]
        line[axis] = spacing[axis]
        struct.pack_into("<4f", header, 280 + 16 * axis, *line)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + voxels.astype(dtype).tobytes(order="F"), 1, mtime=0)


def mask() -> bytes:
    voxels = np.zeros((12, 10, 4))
    voxels[3:6, 4:8, 1:3] = 1
    return nifti(voxels, (0.5, 0.5, 2.0), (100, 200, 3))


def tarred(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


DOCUMENTS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "lesanet": ("lesanet_tags", lesanet),
    "mulan": ("lesanet_tags", mulan),
    "dlt": ("dlt_pairs", dlt),
    "harvester": ("harvester_boxes", harvester),
    "harvester_3d": ("harvester_boxes", harvester_3d),
    "manual": ("manual_3d_boxes", manual),
    "aim": ("aim_rows", aim),
    "coco": ("coco_boxes", coco),
    "rows": ("dl_info_like", rows),
}
