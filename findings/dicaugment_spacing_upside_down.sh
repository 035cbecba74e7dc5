#!/usr/bin/env bash
# DICaugment 1.0.7 (SciPy 1.17.1, NumPy 2.4.6): SetPixelSpacing enlarges slices that it should shrink, and the header says that all is well.
#
# Guess: SetPixelSpacing(1, 1) brings slices of any pixel spacing to 1 mm: its docstring says that it harmonizes the spacing, and the README that its
# transforms heed the header. Then a lesion of 20 mm is 20 pixels wide. Transforms that resize are to keep PixelSpacing of the header in step.
# What happens: the number of pixels is multiplied by wanted / present spacing instead of present / wanted, and the header set to what was wanted. So
# a slice of 0.8 mm gets 1.25 times as many pixels instead of 0.8 times. Resize, RandomScale, SmallestMaxSize and ShiftScaleRotate alike enlarge the
# spacing with the picture; LongestMaxSize also takes it from the shortest side, which is the number of slices. There is no warning. The package's
# tests expect it: 10 pixels of 0.5 mm become 20 of 1 mm. Crops, flips and slices that have the wanted spacing are right.
# Seen 2026-11-30, a disc of 20 mm, its diameter by its area and the header afterwards:
#     present spacing               0.5 mm     0.8 mm     1.0 mm     1.25 mm
#     scipy.ndimage.zoom to 1 mm    19.7       19.9       20.1       20.0 mm
#     SetPixelSpacing(1, 1)         80.0       31.1       20.1       12.5 mm
#     Resize to twice the pixels    80.0       79.8       80.4       79.2 mm
#     CenterCrop                    20.0       20.0       20.1       19.8 mm
# No thread about it was found.
# Whom it hurts: whoever brings CT of several scanners to one spacing before training or measuring. Over 5,930 rows of the release, with pixels of
# 0.59 to 0.98 mm (5 % to 95 %), lesions become 1.05 to 2.9 times as long as they are, 1.5 times in the median, and differ more by spacing.
# Instead: scipy.ndimage.zoom by present / wanted spacing, and boxes and lengths by the same factor.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" dicaugment==1.0.7 scipy==1.17.1 scikit-image==0.26.0 \
  opencv-python-headless==5.0.0.93 pydicom==3.0.2 setuptools==80.9.0 numpy==2.4.6
cat >"$work/spacing.py" <<'PYTHON'
import sys

import dicaugment
import numpy as np
from scipy import ndimage

SIZE, MM = 256, 20
y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2


def volume(spacing):
    """Return three slices with a disc of 50 HU in air."""
    disc = x**2 + y**2 <= (MM / 2 / spacing) ** 2
    return np.repeat(np.where(disc, 50, -1000).astype(np.int16)[..., None], 3, axis=2)


def diameter(voxels, spacing):
    """Return the diameter in mm of a disc of the same area in the middle slice."""
    return round(float(2 * spacing * np.sqrt((voxels[..., voxels.shape[2] // 2] > -475).sum() / np.pi)), 1)


def changed(transform, spacing):
    """Return the diameter after the transform by the header that comes with it."""
    result = dicaugment.Compose([transform])(image=volume(spacing), dicom={"PixelSpacing": (spacing, spacing)})
    rows, columns = result["dicom"]["PixelSpacing"]
    assert rows == columns and result["image"].shape[0] == result["image"].shape[1]
    return diameter(result["image"], rows)


ways = {
    "as it was": lambda spacing: diameter(volume(spacing), spacing),
    "scipy.ndimage.zoom to 1 mm": lambda spacing: diameter(ndimage.zoom(volume(spacing), (spacing, spacing, 1), order=1), 1),
    "SetPixelSpacing(1, 1)": lambda spacing: changed(dicaugment.SetPixelSpacing(1, 1), spacing),
    "Resize to twice the pixels": lambda spacing: changed(dicaugment.Resize(2 * SIZE, 2 * SIZE, 3, always_apply=True), spacing),
    "RandomScale by 2": lambda spacing: changed(dicaugment.RandomScale((1, 1), always_apply=True), spacing),
    "ShiftScaleRotate by 2": lambda spacing: changed(dicaugment.ShiftScaleRotate(0, (1, 1), 0, always_apply=True), spacing),
    "LongestMaxSize of 512": lambda spacing: changed(dicaugment.LongestMaxSize(2 * SIZE, always_apply=True), spacing),
    "CenterCrop": lambda spacing: changed(dicaugment.CenterCrop(128, 128, 3, always_apply=True), spacing),
}
seen = {}
for name, way in ways.items():
    seen[name] = tuple(way(spacing) for spacing in (0.5, 0.8, 1.0, 1.25))
    print(f"{name:27}", *(f"{millimetres:9.1f}" for millimetres in seen[name]), "mm")
right = all(abs(mm - MM) < 0.4 for name in ("as it was", "scipy.ndimage.zoom to 1 mm", "CenterCrop") for mm in seen[name])
wrong = [seen[name] for name in ("SetPixelSpacing(1, 1)", "Resize to twice the pixels", "RandomScale by 2", "ShiftScaleRotate by 2")]
expected = [(80, 31.25, 20, 12.8)] + 3 * [(80, 80, 80, 80)]
sys.exit(0 if right and np.allclose(wrong, expected, rtol=0.03) and min(seen["LongestMaxSize of 512"]) > 1000 else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" -W ignore "$work/spacing.py"
