#!/usr/bin/env bash
# numpyradiomics 0.0.5 (scikit-image 0.26.0, SciPy 1.17.1, NumPy 2.4.6): the diameter in the slice is that of the lesion's shadow on all slices.
#
# Guess: Maximum2DDiameterSlice is the longest diameter within one axial slice, as RECIST measures it. numpyradiomics says that it "implements the
# official PyRadiomics definitions", and in PyRadiomics two points count for it only if they lie in the same slice.
# What happens: z is left out of all points of the surface, and the two farthest of them are taken, whichever slices they are from. That is right for
# an upright lesion, and too long for one that leans, bends or branches; for a mask of two lesions it is the distance between them. Column and Row are
# shadows as well. Axis lengths, volume and Maximum3DDiameter agree with PyRadiomics.
# Seen 2026-11-30, an ellipsoid of 60 x 20 x 20 mm, voxels of 1 x 0.8 x 0.8 mm, diameters in mm. PyRadiomics 3.1.0 gives the numbers of the last column:
#                                                  Maximum2DDiameterSlice    longest of any one slice, by its own 2D features
#     leaning by 0 degrees                                          59.33                                               59.33
#     leaning by 45 degrees                                         44.86                                               26.99
#     leaning by 80 degrees                                         22.75                                               20.94
#     two balls of 10 mm, 40 mm apart in x and in z                 49.76                                               10.40
# An issue of PyRadiomics says what the feature is for: to be compared with what radiologists measured. None about numpyradiomics was found.
# Whom it hurts: whoever compares masks of DeepLesion's lesions with `long_diameter_mm`, or follows diameters of masks over studies by RECIST. A leaning
# lesion is longer than it was measured by up to two thirds here, and a mask with a second lesion in another slice is a progression.
# Instead: the largest MaximumDiameter of shape(mask[k], spacing[1:]) over the slices k.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" numpyradiomics==0.0.5 scikit-image==0.26.0 scipy==1.17.1 numpy==2.4.6
cat >"$work/diameters.py" <<'PYTHON'
import sys

import numpy as np
from numpyradiomics import shape

SPACING_MM = 1.0, 0.8, 0.8
SHAPE = 70, 110, 110
Z, Y, X = (
    mm - mm.mean() for mm in np.meshgrid(*(np.arange(n) * step for n, step in zip(SHAPE, SPACING_MM)), indexing="ij")
)


def leaning(degrees):
    """Return the mask of an ellipsoid with semi-axes of 30, 10 and 10 mm whose long axis is turned from x towards z."""
    angle = np.deg2rad(degrees)
    along = X * np.cos(angle) + Z * np.sin(angle)
    across = Z * np.cos(angle) - X * np.sin(angle)
    return (along / 30) ** 2 + (Y / 10) ** 2 + (across / 10) ** 2 <= 1


def balls():
    """Return the mask of two balls with a radius of 5 mm."""
    return np.minimum((X - 20) ** 2 + Y**2 + (Z - 20) ** 2, (X + 20) ** 2 + Y**2 + (Z + 20) ** 2) <= 25


def measured(mask):
    """Return the diameter of the volume's features and the longest of its slices, in mm."""
    mask = mask.astype(np.uint8)
    of_volume = shape(mask, SPACING_MM)["Maximum2DDiameterSlice"]
    of_slices = (shape(plane, SPACING_MM[1:])["MaximumDiameter"] for plane in mask if plane.sum() > 3)
    return round(float(of_volume), 2), round(float(max(of_slices)), 2)


seen = {
    "leaning by 0 degrees": measured(leaning(0)),
    "leaning by 45 degrees": measured(leaning(45)),
    "leaning by 80 degrees": measured(leaning(80)),
    "two balls": measured(balls()),
}
for name, (of_volume, of_slice) in seen.items():
    print(f"{name:22} Maximum2DDiameterSlice {of_volume:6.2f}   longest of any one slice {of_slice:6.2f} mm")
expected = {
    "leaning by 0 degrees": (59.33, 59.33),
    "leaning by 45 degrees": (44.86, 26.99),
    "leaning by 80 degrees": (22.75, 20.94),
    "two balls": (49.76, 10.40),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" -W ignore "$work/diameters.py"
