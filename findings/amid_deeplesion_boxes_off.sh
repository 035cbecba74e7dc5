#!/usr/bin/env bash
# amid 0.15.0 (nibabel 5.4.2, numpy 2.4.6): the mask of its DeepLesion reader lies one pixel beyond the boxes of DL_info.csv, and is one pixel narrower.
#
# Guess: DeepLesion(root).mask(id) covers the pixels of each published box on its key slice.
# What happens: coordinates in DL_info.csv count from 1, so a box 11, 21, 18, 26 is columns 10 to 17 and rows 20 to 25 of the array. The reader takes
# the numbers as indices from 0, with the far edge left out: the first column and the first row of each lesion are not in its mask. A box that is not
# whole numbers moves by one pixel as a whole. Slice and axes are right: the array of the release's own converter is (row, column, slice).
# Seen 2026-11-29, a volume of 40 x 40 x 3 with a lesion of 8 x 6 bright pixels on the middle slice and a published box around exactly these:
#     lesion: rows 20-25, columns 10-17, slice 1, 48 pixels;   mask: rows 21-25, columns 11-17, slice 1, 35 of the lesion's 48 pixels
#     with the published numbers lowered by one: rows 20-24, columns 10-16, 35 of 48: still without the last row and column
# Whom it hurts: whoever trains segmentation from these masks or scores boxes against them. Over 11,398 rows of the release the overlap (intersection over
# union) of such a mask with the published box is 0.87 in the median: what a detector finds exactly is counted as off, always to the same side.
# Instead: rows y1-1 to y2-1 and columns x1-1 to x2-1, both inclusive, of the numbers in `lesion_position(id)["Bounding_boxes"]`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" amid==0.15.0 nibabel==5.4.2 numpy==2.4.6 pandas==3.1.1
cat >"$work/boxes.py" <<'PYTHON'
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import nibabel
import numpy as np

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
from amid import DeepLesion  # noqa: E402

COLUMNS = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    "Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)
volume = np.full((40, 40, 3), -1000, np.int16)
volume[20:26, 10:18, 1] = 60


def described(box):
    """Return where the mask lies for a published box, and how many of the lesion's pixels it has."""
    root = Path(tempfile.mkdtemp(dir=Path(__file__).parent))
    (root / "Images_nifti").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.8, 0.8, 5, 1])), root / "Images_nifti/000001_01_01_103-105.nii.gz")
    row = (
        f'000001_01_01_104.png,1,1,1,104,"11, 23, 18, 23, 14, 21, 14, 26","{box}","7, 5","0.4, 0.5, 0.5",3,0,"103, 105",'
        '"0.8, 0.8, 5","40, 40","-175, 275",F,60,1'
    )
    (root / "DL_info.csv").write_text(f"{COLUMNS}\n{row}\n")
    mask = DeepLesion(root=root).mask("000001_01_01_103-105")
    rows, columns, slices = (np.unique(axis) for axis in np.nonzero(mask))
    return (rows[0], rows[-1]), (columns[0], columns[-1]), (slices[0], slices[-1]), int(((volume == 60) & (mask == 1)).sum())


as_published, lowered = described("11, 21, 18, 26"), described("10, 20, 17, 25")
print("lesion: rows 20-25, columns 10-17, slice 1, 48 pixels")
for name, ((y1, y2), (x1, x2), (z1, _), shared) in (("mask, box as published", as_published), ("mask, box lowered by one", lowered)):
    print(f"{name}: rows {y1}-{y2}, columns {x1}-{x2}, slice {z1}, {shared} of the lesion's 48 pixels")
expected = ((21, 25), (11, 17), (1, 1), 35), ((20, 24), (10, 16), (1, 1), 35)
sys.exit(0 if (as_published, lowered) == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/boxes.py"
