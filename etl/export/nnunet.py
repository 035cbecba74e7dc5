"""Volumes and masks as nnU-Net's raw data set: one class, `lesion`, and `ignore` where no mask says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from etl.core.errors import ConfigError
from etl.export.lesion_labels import best_masks, paint, voxels_of_box
from etl.export.lesion_places import places_file
from etl.export.nifti import FORMAT as NIFTI
from etl.export.nifti import encode_labels
from etl.export.protocol import WHOLE_PATIENTS, ExportFile, Format, Selected
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, to_json
from etl.store.reader import Store

LESION, IGNORE = 1, 2
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Case:
    """One volume with a mask.

    Attributes:
        volume: row of `volumes`, as a named tuple.
        lesions: all lesions of the volume, rows of `lesions`, as named tuples.
        masks: rows of `masks` by lesion_id, of the selected lesions.
    """

    volume: Any
    lesions: tuple[Any, ...]
    masks: Mapping[int, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The case's name in nnU-Net."""
        return str(self.volume.volume_id)

    @property
    def suffix(self) -> str:
        """Tr for train and val, Ts for test."""
        return "Ts" if self.volume.split == "test" else "Tr"

    @property
    def is_sure(self) -> bool:
        """True if every lesion of the volume has a mask of the whole of it, so that nothing is ignored."""
        return len(self.whole) == len(self.lesions)

    @property
    def whole(self) -> set[int]:
        """The lesions whose mask is one of the whole of it."""
        ids = (lesion.lesion_id for lesion in self.lesions)
        return {number for number in ids if number in self.masks and self.masks[number]["is_3d"]}


def cases(store: Store, selected: Selected) -> list[Case]:
    """Return the volumes with a mask of a selected lesion.

    Raises:
        ConfigError: there is none.
    """
    masks = best_masks(store, selected.lesions["lesion_id"])
    if not masks:
        raise ConfigError(
            "no selected lesion has a mask, and nnU-Net learns from masks",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=f"{len(selected.lesions):,} lesions",
            allowed="a version with masks by others, and lesions that have one",
            remedy="add masks with deeplesion add (docs/annotations.md), or choose --format nndetection",
        )
    held = pd.unique(selected.lesions.loc[selected.lesions["lesion_id"].isin(list(masks)), "volume_id"])
    volumes = selected.volumes[selected.volumes["volume_id"].isin(held)]
    all_lesions = store.lesions()
    by_volume = {
        name: tuple(rows.itertuples(index=False))
        for name, rows in all_lesions[all_lesions["volume_id"].isin(held)].groupby("volume_id")
    }
    return [Case(volume, by_volume[volume.volume_id], masks) for volume in volumes.itertuples(index=False)]


def _encode_case(store: Store, case: Case) -> bytes:
    volume = case.volume
    labels = np.zeros((volume.shape_z, volume.shape_y, volume.shape_x), np.uint8)
    for lesion in case.lesions:
        if lesion.lesion_id not in case.whole:
            depth_mm = max(lesion.long_diameter_mm, lesion.spacing_z_mm)
            labels[voxels_of_box(lesion, volume, depth_mm)] = IGNORE
    for lesion in case.lesions:
        if lesion.lesion_id in case.masks:
            paint(labels, store.masks, case.masks[lesion.lesion_id], LESION)
    text = f"DeepLesion {case.name}, labels; store version {store.version['version']}"
    return encode_labels(labels, volume, text)


def folds(training: list[Case]) -> list[dict[str, list[str]]]:
    """Return splits_final.json: the release's train and val, or folds by patient where one of them is empty.

    A patient is never on both sides. Without two patients there is no fold.
    """
    by_split = {
        split: [case.name for case in training if case.volume.split == split] for split in ("train", "val")
    }
    if all(by_split.values()):
        return [by_split]
    patients = sorted({case.volume.patient_index for case in training})
    number = {patient: at % FOLDS for at, patient in enumerate(patients)}
    return [
        {
            "train": [case.name for case in training if number[case.volume.patient_index] != fold],
            "val": [case.name for case in training if number[case.volume.patient_index] == fold],
        }
        for fold in range(min(FOLDS, len(patients)))
        if len(patients) > 1
    ]


def _document(found: list[Case]) -> dict[str, Any]:
    labels = {"background": 0, "lesion": LESION}
    if not all(case.is_sure for case in found):
        labels["ignore"] = IGNORE
    return {
        "name": "DeepLesion",
        "description": f"{ACKNOWLEDGEMENT} {CITATION}",
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": sum(case.suffix == "Tr" for case in found),
        "file_ending": ".nii.gz",
    }


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    found = cases(store, selected)
    volumes = selected.volumes[selected.volumes["volume_id"].isin([case.name for case in found])]
    images = {file.path: file for file in NIFTI.files(store, replace(selected, volumes=volumes))}
    files, paths = [], {}
    for case in found:
        image = images[f"{case.name}.nii.gz"]
        paths[case.name] = f"images{case.suffix}/{case.name}_0000.nii.gz"
        files.append(replace(image, path=paths[case.name]))
        label = partial(_encode_case, store, case)
        files.append(ExportFile(f"labels{case.suffix}/{case.name}.nii.gz", label))
    documents: dict[str, Any] = {"dataset.json": _document(found)}
    if splits := folds([case for case in found if case.suffix == "Tr"]):
        documents["splits_final.json"] = splits
    for name, content in documents.items():
        files.append(ExportFile(name, partial(to_json, content)))
    return [*files, places_file(selected, paths)]


FORMAT = Format(
    _files,
    "A raw data set of nnU-Net v2: call the folder nnUNet_raw/DatasetNNN_DeepLesion. imagesTr and labelsTr\n"
    "are volumes of train and val that have a mask of a selected lesion, imagesTs and labelsTs of test.\n"
    "Labels are 1 in masks by others. 2, `ignore`, is where a lesion lies whose extent no mask says: its\n"
    "box, as deep as its long diameter, for lesions that have no mask, a mask of the key slice alone, or\n"
    "were not selected. The rest is 0, although the release does not annotate every lesion of a volume.\n"
    "splits_final.json keeps patients together: copy it to nnUNet_preprocessed/DatasetNNN_DeepLesion after\n"
    "planning, or nnU-Net splits by volume. Fold 0 is the release's train and val, where both are there.\n"
    f"{WHOLE_PATIENTS}",
)
