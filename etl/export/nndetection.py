"""Volumes and lesions as nnDetection's raw data: one label an instance, and its class in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.export.lesion_labels import best_masks, paint, voxels_of_box
from etl.export.lesion_places import places_file
from etl.export.nifti import FORMAT as NIFTI
from etl.export.nifti import encode_labels
from etl.export.protocol import WHOLE_PATIENTS, ExportFile, Format, Selected, class_names, class_numbers
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, to_json
from etl.store.reader import Store

TASK = "Task501_DeepLesion"
RAW = "raw_splitted"


@dataclass(frozen=True, eq=False)
class Case:
    """One volume with its selected lesions.

    Attributes:
        volume: row of `volumes`, as a named tuple.
        lesions: rows of `lesions`, as named tuples.
        classes: the class of each.
        masks: rows of `masks` by lesion_id.
    """

    volume: Any
    lesions: tuple[Any, ...]
    classes: tuple[int, ...]
    masks: Mapping[int, Mapping[str, Any]]


def instances(store: Store, case: Case) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """Return a volume's labels, (z, y, x), and what nnDetection wants to know of them.

    An instance is the mask of the whole lesion, else the voxels of its box on one interval of the source's
    slices. Smaller ones lie on larger ones; one that is wholly covered is left out, as `covered` says.
    """
    volume = case.volume
    labels = np.zeros((volume.shape_z, volume.shape_y, volume.shape_x), np.uint16)
    order = sorted(range(len(case.lesions)), key=lambda n: -case.lesions[n].long_diameter_mm)
    for value, number in enumerate(order, 1):
        lesion = case.lesions[number]
        mask = case.masks.get(lesion.lesion_id)
        if mask is not None and mask["is_3d"]:
            paint(labels, store.masks, mask, value)
        else:
            labels[voxels_of_box(lesion, volume, lesion.spacing_z_mm)] = value
    seen = np.unique(labels[labels > 0])
    numbers = np.zeros(len(order) + 1, np.uint16)
    numbers[seen] = np.arange(1, len(seen) + 1)
    shown = [order[value - 1] for value in seen]
    return numbers[labels], {
        "instances": {str(at): case.classes[number] for at, number in enumerate(shown, 1)},
        "lesion_id": {str(at): int(case.lesions[number].lesion_id) for at, number in enumerate(shown, 1)},
        "covered": sorted(int(case.lesions[number].lesion_id) for number in set(order) - set(shown)),
    }


def _encode_labels(store: Store, case: Case) -> bytes:
    text = f"DeepLesion {case.volume.volume_id}, instances; store version {store.version['version']}"
    return encode_labels(instances(store, case)[0], case.volume, text)


def _encode_instances(store: Store, case: Case) -> bytes:
    return to_json(instances(store, case)[1])


def _document(*, single: bool) -> dict[str, Any]:
    return {
        "task": TASK,
        "name": "DeepLesion",
        "description": f"{ACKNOWLEDGEMENT} {CITATION}",
        "dim": 3,
        "target_class": None,
        "test_labels": True,
        "annotation_style": "seg",
        "labels": {str(at): name for at, name in enumerate(class_names(single=single))},
        "modalities": {"0": "CT"},
    }


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    lesions = selected.lesions
    held = selected.volumes["volume_id"].isin(pd.unique(lesions["volume_id"]))
    chosen = replace(selected, volumes=selected.volumes[held])
    images = {file.path: file for file in NIFTI.files(store, chosen)}
    masks = best_masks(store, lesions["lesion_id"])
    classes = class_numbers(lesions, single=selected.single_class)
    rows = lesions.groupby("volume_id", sort=False).indices
    files, paths = [], {}
    for volume in chosen.volumes.itertuples(index=False):
        own = rows[volume.volume_id]
        case = Case(
            volume,
            tuple(lesions.iloc[own].itertuples(index=False)),
            tuple(int(code) for code in classes[own]),
            masks,
        )
        suffix = "Ts" if volume.split == "test" else "Tr"
        folder = f"{RAW}/labels{suffix}/{volume.volume_id}"
        image = images[f"{volume.volume_id}.nii.gz"]
        paths[volume.volume_id] = f"{RAW}/images{suffix}/{volume.volume_id}_0000.nii.gz"
        files.append(replace(image, path=paths[volume.volume_id]))
        files.append(ExportFile(f"{folder}.nii.gz", partial(_encode_labels, store, case)))
        files.append(ExportFile(f"{folder}.json", partial(_encode_instances, store, case)))
    document = to_json(_document(single=selected.single_class))
    return [*files, ExportFile("dataset.json", lambda: document), places_file(selected, paths)]


FORMAT = Format(
    _files,
    f"A task of nnDetection: call the folder {TASK}, below the folder of the variable det_data.\n"
    f"{RAW}/imagesTr and labelsTr are train and val, imagesTs and labelsTs test. Labels number the\n"
    "lesions of a volume from 1, and the .json of the same name has class and lesion_id of each.\n"
    "A lesion is the mask of the whole of it by others, where the version has one, else its box on one\n"
    "interval of the source's slices. Smaller lesions lie on larger ones; `covered` lists those that are\n"
    "wholly covered and have no number. nnDetection's own folds are by volume: split train from val by\n"
    "patient, as lesions.csv says. Classes are the release's types, and `unlabelled`, which all of train\n"
    f"is; --single-class makes them one. Boxes and places in mm are in lesions.csv.\n{WHOLE_PATIENTS}",
    has_classes=True,
)
