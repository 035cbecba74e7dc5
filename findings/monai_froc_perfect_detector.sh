#!/usr/bin/env bash
# MONAI 1.6.1 (with PyTorch 2.13.0+cpu, NumPy 2.4.6) never counts the detections with the lowest score in its FROC.
#
# Guess: a detector that finds every lesion and nothing else has an FROC score of 1.
# What happens: compute_froc_curve_data goes through the different scores but skips the smallest one, and adds the point (0, 0) in its
# place. True positives with that score are lost; a false positive with the lowest score hides the fault. If all scores are equal, as
# those of masks or of detections by hand, nothing is counted at all. The function follows the evaluation code of CAMELYON16,
# as its docstring says; no thread about the skipped score was found.
# Seen 2026-11-29, four lesions in four images, all found, score at 0.5, 1, 2, 4, 8 and 16 false positives per image:
#     scores 0.9 0.8 0.7 0.6, no false positive:      FROC 0.75
#     scores 0.9 0.8 0.7 0.6, a false positive at 0.1: FROC 1.00
#     all scores 0.9, no false positive:              FROC 0.00
# Whom it hurts: whoever gives the sensitivities that papers on DeepLesion give. A better detector may get the smaller number, above all on
# a small selection, and a perfect one with equal scores gets zero.
# Instead: add one false positive with a score below all others to fp_probs before the call, which the skipped step then takes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# The CPU build of PyTorch may lie where only pip is told to look.
"$work/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check monai==1.6.1 torch==2.13.0+cpu numpy==2.4.6 2>&1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
from monai.metrics import compute_froc_curve_data, compute_froc_score


def froc(true_positives, false_positives):
    """Return the FROC score of four lesions in four images."""
    curve = compute_froc_curve_data(np.array(false_positives), np.array(true_positives), num_targets=4, num_images=4)
    return round(float(compute_froc_score(*curve, eval_thresholds=(0.5, 1, 2, 4, 8, 16))), 2)


seen = {
    "four scores, no false positive": froc([0.9, 0.8, 0.7, 0.6], []),
    "four scores, one false positive below them": froc([0.9, 0.8, 0.7, 0.6], [0.1]),
    "equal scores, no false positive": froc([0.9] * 4, []),
    "equal scores, one false positive below them": froc([0.9] * 4, [0.1]),
}
for case, score in seen.items():
    print(f"{case}: FROC {score:.2f}")
sys.exit(0 if list(seen.values()) == [0.75, 1.0, 0.0, 1.0] else "the behaviour has changed")
PYTHON
