#!/usr/bin/env bash
# nidataset 0.9.1 (nibabel 5.4.2, pandas 3.1.1, NumPy 2.4.6): boxes and centres of lesions in a volume have x and y exchanged, and the centre is too high.
#
# Guess: extract_annotations(saving_mode="volume") gives each lesion of a mask in voxels of the file: X, Y and Z are its first, second and third axis.
# draw_3D_boxes says so: its coordinates are voxel indices, and what extract_annotations wrote "can be drawn back as is".
# What happens: the columns of a single slice, where x is the column of the picture and so the second axis, are written under the names of the volume.
# In data_mode "box" and "center" X is the second axis and Y the first; with view="coronal" or "sagittal" Z is the second or first. CENTER_Z is the first
# slice of the lesion, not the middle. "radius" of the same call is right in all of it. target_size, which the documentation applies to slices only,
# moves "box" and "center" as well. Boxes that leave the volume after that are cut at its edge when they are drawn, without a warning.
# Seen 2026-11-30, a lesion in voxels 5..11, 30..44, 6..14 of a volume of 40 x 60 x 20:
#     radius:                    centre  8, 37, 10, radii 3, 7, 4
#     center:                    centre 37,  8,  6; with view="coronal" 10, 8, 30; with target_size=(64, 64) 39, 20, 6
#     box:                       30..44, 5..11, 6..14
#     box, drawn back as is:     30..39, 5..11, 6..14, of which no voxel is in the lesion
#     dataset_annotations_info:  5..11, 30..44, 6..14
# No thread about it was found.
# Whom it hurts: whoever turns masks of this store (NIfTI or nnU-Net exports) into boxes for a 3D detector or into centres to match over time. Slices are
# square, so exchanged boxes are inside the volume and look like boxes; centres of a lesion on nine slices of 5 mm lie 20 mm too high.
# Instead: data_mode="radius", and centre +- radius for the box; or dataset_annotations_info; or this project's boxes in `*_vox`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" nidataset==0.9.1 nibabel==5.4.2 pandas==3.1.1 numpy==2.4.6
cd "$work"
cat >boxes.py <<'PYTHON'
import sys

import nibabel
import numpy as np
import pandas
from nidataset.draw import draw_3D_boxes
from nidataset.slices import extract_annotations
from nidataset.utility import dataset_annotations_info

LESION = (slice(5, 12), slice(30, 45), slice(6, 15))
mask = np.zeros((40, 60, 20), np.uint8)
mask[LESION] = 1
row_column_slice = np.array([[0, -0.8, 0, 0], [-0.8, 0, 0, 0], [0, 0, -5.0, 0], [0, 0, 0, 1]])
nibabel.save(nibabel.Nifti1Image(mask, row_column_slice), "lesion.nii.gz")


def written(data_mode, **arguments):
    """Return the table of the lesions of the volume."""
    (path,) = extract_annotations("lesion.nii.gz", "tables", saving_mode="volume", data_mode=data_mode, **arguments)
    return pandas.read_csv(path)


def numbers(table):
    """Return the numbers of the one lesion."""
    return tuple(float(number) for number in table.iloc[0])


drawn = np.asarray(nibabel.load(draw_3D_boxes(written("box"), "lesion.nii.gz", "drawn")).dataobj) > 0
corners = np.argwhere(drawn)
((_, ((*first, last_x, last_y, last_z),)),) = dataset_annotations_info(".", "tables")
seen = {
    "radius": numbers(written("radius")),
    "center": numbers(written("center")),
    "center, coronal": numbers(written("center", view="coronal")),
    "center, target_size": numbers(written("center", target_size=(64, 64))),
    "box": numbers(written("box")),
    "box, drawn back as is": tuple(float(end) for end in (*corners.min(axis=0), *corners.max(axis=0))),
    "dataset_annotations_info": tuple(float(end) for end in (*first, last_x, last_y, last_z)),
}
for name, values in seen.items():
    print(f"{name:26}", *(f"{value:4g}" for value in values))
inside = int((drawn & (mask > 0)).sum())
print("voxels of the drawn box in the lesion:", inside)
expected = {
    "radius": (8, 37, 10, 3, 7, 4),
    "center": (37, 8, 6),
    "center, coronal": (10, 8, 30),
    "center, target_size": (39, 20, 6),
    "box": (30, 5, 6, 44, 11, 14),
    "box, drawn back as is": (30, 5, 6, 39, 11, 14),
    "dataset_annotations_info": (5, 30, 6, 11, 44, 14),
}
sys.exit(0 if seen == expected and inside == 0 else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" boxes.py 2>progress || { cat progress >&2; exit 1; }
