#!/usr/bin/env bash
# SimpleITK 2.5.7 (numpy 2.4.6): a mask of one slice, measured in its volume, has an equivalent ellipsoid of 0 x 0 x 0 mm.
#
# Guess: LabelShapeStatisticsImageFilter measures a mask of one slice in 3D as it does in 2D: the two diameters in the plane are the same, and only
# the third, which has no extent between voxel centres, is 0.
# What happens: the diameters share one factor, which is computed from the product of all three principal moments. One of them is 0, so all three
# diameters are 0, without a warning. Principal moments, Feret diameter and oriented bounding box of the same call are right, and elongation is that of
# 2D. One slice more, and the long diameter is 18.9 mm instead of 0.
# Seen 2026-11-29, an ellipse of 16 x 8 mm in pixels of 0.8 mm, slices of 5 mm:
#     2D image             diameters  7.9 16.5 mm       Feret 16.0 mm
#     3D, in one slice     diameters  0.0  0.0  0.0 mm  Feret 16.0 mm
#     3D, in two slices    diameters  9.0 11.4 18.9 mm  Feret 16.8 mm
# No thread about it was found.
# Whom it hurts: whoever measures lesions by masks of key slices, such as ULS23's GrabCut masks, in the grid of their volume: the long axis, compared
# with the RECIST diameter, is 0 mm for each of them, and means over masks of key slices and whole lesions mix zeros with millimetres.
# Instead: cut the slice out and measure it in 2D, or use the Feret diameter.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" SimpleITK==2.5.7 numpy==2.4.6
cat >"$work/measure.py" <<'PYTHON'
import sys

import numpy as np
import SimpleITK as sitk


def measured(mask, spacing_mm):
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing_mm)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputeFeretDiameterOn()
    shapes.Execute(image)
    return [round(mm, 1) for mm in shapes.GetEquivalentEllipsoidDiameter(1)], round(shapes.GetFeretDiameter(1), 1)


y, x = np.mgrid[:40, :40]
lesion = ((y - 20) / 10) ** 2 + ((x - 20) / 5) ** 2 <= 1
one, two = np.zeros((2, 9, 40, 40), bool)
one[4], two[4:6] = lesion, lesion
found = {
    "2D image": measured(lesion, (0.8, 0.8)),
    "3D, in one slice": measured(one, (0.8, 0.8, 5.0)),
    "3D, in two slices": measured(two, (0.8, 0.8, 5.0)),
}
for name, (diameters_mm, feret_mm) in found.items():
    print(f"{name:20} diameters {diameters_mm} mm, Feret {feret_mm} mm")
expected = {
    "2D image": ([7.9, 16.5], 16.0),
    "3D, in one slice": ([0.0, 0.0, 0.0], 16.0),
    "3D, in two slices": ([9.0, 11.4, 18.9], 16.8),
}
sys.exit(0 if found == expected else "the behaviour changed")
PYTHON
"$work/venv/bin/python" "$work/measure.py"
