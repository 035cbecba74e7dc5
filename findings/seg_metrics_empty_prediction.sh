#!/usr/bin/env bash
# seg-metrics 1.2.8 (with SimpleITK 2.5.7, NumPy 2.2.6) gives a mask that was missed altogether the best surface distances there are.
#
# Guess: the Hausdorff distance of an empty prediction is infinite, not a number, or an error, as in other packages.
# What happens: Hausdorff distance, its 95th percentile, and mean and median surface distance are 0.0, the value of a perfect mask. One
# warning speaks of precision and recall only. An empty ground truth gives zeros too. No thread about this package was found; in
# other projects the same zeros were reported and then replaced.
# Seen 2026-11-29:
#     half of the lesion found: dice 0.667, hd 10.000, hd95 10.000, msd 2.715
#     nothing found:            dice 0.000, hd  0.000, hd95  0.000, msd 0.000
# Whom it hurts: whoever averages distances over the lesions of a store. Most are small, detectors miss some of them, and a detector that
# misses more gets a better mean.
# Instead: count pairs with an empty side on their own and leave them out of the mean, or give them the diagonal of the crop.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" seg-metrics==1.2.8 SimpleITK==2.5.7 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from seg_metrics import seg_metrics

truth = np.zeros((12, 30, 30), np.uint8)
truth[4:8, 10:20, 10:20] = 1
half = truth.copy()
half[6:] = 0


def scores(prediction):
    found = seg_metrics.write_metrics([1], gdth_img=truth, pred_img=prediction, spacing=(5.0, 0.82, 0.9))[0]
    return {name: round(float(found[name][0]), 3) for name in ("dice", "hd", "hd95", "msd")}


some, nothing = scores(half), scores(np.zeros_like(truth))
print("half of the lesion found:", some)
print("nothing found:", nothing)
changed = nothing != {"dice": 0.0, "hd": 0.0, "hd95": 0.0, "msd": 0.0} or some["hd"] < 5
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
