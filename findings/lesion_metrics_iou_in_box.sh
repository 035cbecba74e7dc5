#!/usr/bin/env bash
# lesion-metrics 0.1.12 (scikit-image 0.26.0, numpy 2.3.5): a mask of two thirds of the volume finds a small lesion with an IoU of 1.
#
# Guess: iou_per_lesion is, for each lesion, the intersection over the union of it and what overlaps it, and ltpr and lfdr with iou_threshold=0.5
# count the lesions found, and the predictions that are false, by it.
# What happens: both masks are cut to the bounding box of the lesion before they are compared. What the prediction covers outside this box costs
# nothing, so an IoU is too high as soon as the prediction is larger or shifted, and that of a lesion which fills its box is the covered part of
# it. The rate of true lesions looks at the box of the lesion, that of false ones at the box of the prediction: of one pair, the lesion is
# found and the prediction false. No warning is given; jaccard of the same package is right.
# Seen 2026-11-29, one lesion of 10 x 10 voxels on one plane:
#     prediction of 9 x 50 x 50 voxels: jaccard 0.004, iou_per_lesion 1.000, true positive rate 1, false discovery rate 1
#     the lesion, moved by two rows:    jaccard 0.667, iou_per_lesion 0.800
#     the lesion, without four rows:    jaccard 0.600, iou_per_lesion 0.600, the other way round 1.000
# No thread about it was found; the package's history has a "minor bug in IoU per lesion" that was mended in 2021 and leaves this.
# Whom it hurts: whoever scores detections as masks: DeepLesion gives boxes on key slices, so that a model which marks too much, on all
# slices, finds each of them at any threshold below 1.
# Instead: label both masks, and take jaccard of one lesion and all components of the prediction that touch it, in the whole volume.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" lesion-metrics==0.1.12 scikit-image==0.26.0 numpy==2.3.5
cat >"$work/scores.py" <<'PYTHON'
import sys

import numpy as np
from lesion_metrics.metrics import iou_per_lesion, jaccard, lfdr, ltpr


def box(z, y, x):
    """Return a mask of one box in a volume of 9 x 60 x 60 voxels."""
    mask = np.zeros((9, 60, 60), np.uint8)
    mask[slice(*z), slice(*y), slice(*x)] = 1
    return mask


lesion = box((4, 5), (20, 30), (20, 30))
predictions = {
    "much larger": box((0, 9), (5, 55), (5, 55)),
    "moved by two rows": box((4, 5), (22, 32), (20, 30)),
    "without four rows": box((4, 5), (22, 28), (20, 30)),
}
seen = {}
for name, prediction in predictions.items():
    by_lesion, by_prediction = iou_per_lesion(lesion, prediction)[0], iou_per_lesion(prediction, lesion)[0]
    seen[name] = tuple(round(float(iou), 3) for iou in (jaccard(prediction, lesion), by_lesion, by_prediction))
    rates = ltpr(prediction, lesion, iou_threshold=0.5), lfdr(prediction, lesion, iou_threshold=0.5)
    print(f"{name}: jaccard, IoU by lesion and by prediction {seen[name]}; true positive and false discovery rate {rates}")
    if name == "much larger":
        contradiction = rates == (1.0, 1.0)
expected = {"much larger": (0.004, 1.0, 0.004), "moved by two rows": (0.667, 0.8, 0.8), "without four rows": (0.6, 0.6, 1.0)}
sys.exit(0 if seen == expected and contradiction else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/scores.py"
