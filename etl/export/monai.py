"""Volumes as NIfTI with a MONAI detection list: 3D boxes in RAS mm, centre and size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from etl.export.lesion_places import places_file
from etl.export.nifti import FORMAT as NIFTI
from etl.export.protocol import WHOLE_PATIENTS, ExportFile, Format, Selected, class_names, class_numbers
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, to_json
from etl.store.reader import Store

DOCUMENT = "dataset.json"
FOLDER = "images/"
SECTIONS = {"train": "training", "val": "validation", "test": "test"}


def detection_list(selected: Selected) -> dict[str, Any]:
    """Return the content of dataset.json.

    A box is [centre x, y, z, size x, y, z] in RAS mm, MONAI's mode `cccwhd`. The release's boxes lie on one
    slice, so a box is as thick as one interval of the source's slices.
    """
    lesions = selected.lesions
    centres = np.stack(
        [
            -(lesions["bbox_x1_mm"] + lesions["bbox_x2_mm"]) / 2,
            -(lesions["bbox_y1_mm"] + lesions["bbox_y2_mm"]) / 2,
            -lesions["z_mm"],
            lesions["bbox_x2_mm"] - lesions["bbox_x1_mm"],
            lesions["bbox_y2_mm"] - lesions["bbox_y1_mm"],
            lesions["spacing_z_mm"],
        ],
        axis=1,
    )
    labels = class_numbers(lesions, single=selected.single_class)
    made: dict[str, Any] = {
        "name": "DeepLesion",
        "description": f"{ACKNOWLEDGEMENT} {CITATION}",
        "box_mode": "cccwhd",
        "box_space": "RAS mm",
        "labels": dict(enumerate(class_names(single=selected.single_class))),
        **{section: [] for section in SECTIONS.values()},
    }
    splits = dict(zip(selected.volumes["volume_id"], selected.volumes["split"], strict=True))
    for volume_id, numbers in lesions.groupby("volume_id", sort=False).indices.items():
        made[SECTIONS[splits[volume_id]]].append(
            {
                "image": f"{FOLDER}{volume_id}.nii.gz",
                "box": (centres[numbers] + 0.0).tolist(),
                "label": labels[numbers].tolist(),
                "lesion_id": lesions["lesion_id"].to_numpy()[numbers].tolist(),
            }
        )
    return made


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    volumes = selected.volumes[selected.volumes["volume_id"].isin(pd.unique(selected.lesions["volume_id"]))]
    images = [
        replace(file, path=f"{FOLDER}{file.path}")
        for file in NIFTI.files(store, replace(selected, volumes=volumes))
        if file.path.endswith(".nii.gz")
    ]
    document = to_json(detection_list(selected))
    paths = {name: f"{FOLDER}{name}.nii.gz" for name in volumes["volume_id"]}
    return [*images, ExportFile(DOCUMENT, lambda: document), places_file(selected, paths)]


FORMAT = Format(
    _files,
    f"{DOCUMENT} is a list for MONAI's detection: `training`, `validation` and `test`, each with `image`,\n"
    "`box` and `label`. A box is [centre, size] in RAS mm (mode cccwhd). The release draws boxes on one\n"
    "slice, so the third size is one interval of the source's slices. `labels` names the numbers.\n"
    "lesions.csv has the same lesions one a row, in LPS and RAS. Images are those of the format nifti;\n"
    f"volumes without an annotated lesion are left out.\n{WHOLE_PATIENTS}",
    has_classes=True,
)
