"""Crops around lesions in tar files that WebDataset streams: a shard is some hundred lesions of one split."""

from __future__ import annotations

import io
import json
import tarfile
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from etl.export.protocol import WHOLE_PATIENTS, ExportFile, Format, Selected, class_names, class_numbers
from etl.store.crops import centers_vox, crop_around
from etl.store.reader import Store

SIZE_VOX = (32, 128, 128)
LESIONS_PER_SHARD = 200


def _encode(store: Store, lesions: pd.DataFrame, labels: Any, names: tuple[str, ...]) -> bytes:
    """Return a tar with two members a lesion, `<lesion_id>.hu.npy` and `<lesion_id>.json`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        centers = centers_vox(lesions).tolist()
        for lesion, (z, y, x), label in zip(lesions.itertuples(index=False), centers, labels, strict=True):
            array = store.array(lesion.volume_id)
            crop = crop_around((z, y, x), SIZE_VOX)
            voxels = io.BytesIO()
            np.save(voxels, crop.read(array), allow_pickle=False)
            corners = (lesion.bbox_x1_vox, lesion.bbox_y1_vox, lesion.bbox_x2_vox, lesion.bbox_y2_vox)
            start = crop.start[::-1][:2] * 2
            about = {
                "lesion_id": int(lesion.lesion_id),
                "volume_id": lesion.volume_id,
                "patient_index": int(lesion.patient_index),
                "label": int(label),
                "type": names[label],
                "box": [float(corner - first) for corner, first in zip(corners, start, strict=True)],
                "box_z": float(lesion.z_vox - crop.start[0]),
                "start_zyx": list(crop.start),
                "window_hu": [float(lesion.window_low_hu), float(lesion.window_high_hu)],
                "long_diameter_mm": float(lesion.long_diameter_mm),
                "short_diameter_mm": float(lesion.short_diameter_mm),
            }
            key = f"{lesion.lesion_id:06d}"
            for name, data in (("hu.npy", voxels.getvalue()), ("json", json.dumps(about).encode())):
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    labels = class_numbers(selected.lesions, single=selected.single_class)
    names = class_names(single=selected.single_class)
    files = []
    splits = selected.lesions["volume_id"].map(selected.volumes.set_index("volume_id")["split"])
    for split, numbers in selected.lesions.groupby(splits, sort=False).indices.items():
        for shard, first in enumerate(range(0, len(numbers), LESIONS_PER_SHARD)):
            own = numbers[first : first + LESIONS_PER_SHARD]
            encode = partial(_encode, store, selected.lesions.iloc[own], labels[own], names)
            files.append(ExportFile(f"{split}/{split}-{shard:06d}.tar", encode))
    return files


FORMAT = Format(
    _files,
    f"<split>/<split>-NNNNNN.tar are WebDataset shards of at most {LESIONS_PER_SHARD} lesions. A sample's\n"
    f"key is its lesion_id; `hu.npy` is int16 HU, (z, y, x), {' x '.join(map(str, SIZE_VOX))} voxels around\n"
    "the middle of the box on the key slice, padded with air where the volume ends; `json` has the box\n"
    "[x1, y1, x2, y2] and its plane `box_z` in voxels of the crop, centres from 0, the type and its number,\n"
    "diameters, the display window, and the index of the crop's first voxel in the volume.\n"
    f"{WHOLE_PATIENTS}",
    has_classes=True,
)
