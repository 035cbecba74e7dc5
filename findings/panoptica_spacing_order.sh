#!/usr/bin/env bash
# panoptica 2.1.7 (with SimpleITK 2.5.7, NumPy 2.2.6) measures surface distances of NIfTI files with the spacing in the wrong order.
#
# Guess: a pair of masks gives the same distances in mm as two NIfTI files, as two SimpleITK images, and as two arrays with `voxelspacing`.
# What happens: for files and images the spacing of SimpleITK (x, y, z) is laid on the axes of the array (z, y, x). ASSD, Hausdorff
# distance and its 95th percentile treat a slice interval of 5 mm as the width of a pixel, without a warning. NSD of the same call is right.
# Only volumes whose x and z spacing agree are safe. No thread about it was found; the pull request that added the argument
# `voxelspacing` speaks of arrays.
# Seen 2026-11-29, a mask moved by one slice of 5 mm, pixels of 0.82 x 0.9 mm:
#     arrays, voxelspacing=(5.0, 0.82, 0.9): Hausdorff 5.000 mm, ASSD 2.212 mm
#     NIfTI files:                           Hausdorff 0.900 mm, ASSD 0.538 mm
#     SimpleITK images:                      Hausdorff 0.900 mm, ASSD 0.538 mm
# Whom it hurts: whoever scores masks of lesions on volumes of native spacing, where half of the slice intervals are 5 mm; errors along z
# look five times smaller than they are.
# Instead: pass arrays and `voxelspacing` in the order of the array's axes, or evaluate on isotropic volumes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" panoptica==2.1.7 SimpleITK==2.5.7 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import sys

import numpy as np
import SimpleITK as sitk
from panoptica import ConnectedComponentsInstanceApproximator, InputType, NaiveThresholdMatching, Panoptica_Evaluator
from panoptica.metrics import Metric

SPACING_ZYX_MM = (5.0, 0.82, 0.9)
truth = np.zeros((12, 30, 30), np.uint8)
truth[4:8, 10:20, 10:20] = 1
moved = np.roll(truth, 1, axis=0)


def image(voxels):
    result = sitk.GetImageFromArray(voxels)
    result.SetSpacing(SPACING_ZYX_MM[::-1])
    return result


def distances_mm(prediction, reference, **arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = Panoptica_Evaluator(
            expected_input=InputType.SEMANTIC,
            instance_approximator=ConnectedComponentsInstanceApproximator(),
            instance_matcher=NaiveThresholdMatching(),
            instance_metrics=[Metric.DSC, Metric.IOU, Metric.HD, Metric.ASSD],
        )
        result = evaluator.evaluate(prediction, reference, **arguments)
    result = (result["ungrouped"] if isinstance(result, dict) else result).to_dict()
    return round(float(result["sq_hd"]), 3), round(float(result["sq_assd"]), 3)


for name, voxels in (("truth", truth), ("moved", moved)):
    sitk.WriteImage(image(voxels), f"{name}.nii.gz")
measured = {
    "arrays": distances_mm(moved, truth, voxelspacing=SPACING_ZYX_MM),
    "NIfTI files": distances_mm("moved.nii.gz", "truth.nii.gz"),
    "SimpleITK images": distances_mm(image(moved), image(truth)),
}
for name, (hausdorff_mm, assd_mm) in measured.items():
    print(f"{name}: Hausdorff {hausdorff_mm:.3f} mm, ASSD {assd_mm:.3f} mm")
expected = {"arrays": (5.0, 2.212), "NIfTI files": (0.9, 0.538), "SimpleITK images": (0.9, 0.538)}
sys.exit(0 if measured == expected else "the behaviour has changed")
PYTHON
