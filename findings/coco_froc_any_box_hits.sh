#!/usr/bin/env bash
# coco-froc-analysis 0.2.15 (SciPy 1.17.1, NumPy 1.26.4): a box anywhere on the slice finds the lesion, at no false positive.
#
# Guess: a lesion counts as found if the centre of a box lies in it, as the README says, or by its IoU with use_iou=True; other boxes are false.
# What happens: pairs that do not match get a cost of a million and are assigned all the same, because an assignment pairs as many as it can. Each
# pair counts as a hit. So sensitivity is the share of lesions that have a box somewhere on their slice, and only boxes beyond the number of lesions
# are false. Both ways of matching are alike in this; of the IoU the README says that it is not reliable, of the centre it says nothing.
# Seen 2026-11-30, eight slices with one lesion of 20 x 20 pixels each, sensitivity and false positives per image:
#     boxes on the lesions:                    1.0 at 0.0
#     boxes 200 pixels away:                   1.0 at 0.0, with use_iou=True 1.0 at 0.0
#     boxes 200 pixels away on four slices:    0.5 at 0.0
#     both on each slice:                      1.0 at 1.0
# Issue 13 of the project asks about the assignment; it was closed in 2024 with the answer that the code had been tested.
# Whom it hurts: whoever gives FROC curves of key slices, as papers on DeepLesion do. Each key slice has a lesion, most have one, so a detector that
# guesses one box per slice is perfect, and a better one that is silent where it is unsure gets the lower curve.
# Instead: count a pair only where it matches: by falling score, give each box the lesion not yet found that it overlaps most, if the IoU is above 0.5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" coco-froc-analysis==0.2.15 scipy==1.17.1 numpy==1.26.4 matplotlib==3.11.2
cat >"$work/curve.py" <<'PYTHON'
import json
import sys

from coco_froc_analysis.froc import froc_point

SLICES = range(1, 9)
LESION, ELSEWHERE = [100, 100, 20, 20], [300, 300, 20, 20]
truth = {
    "images": [{"id": i, "file_name": f"{i}.png", "width": 512, "height": 512} for i in SLICES],
    "categories": [{"id": 1, "name": "lesion"}],
    "annotations": [
        {"id": i, "image_id": i, "category_id": 1, "bbox": LESION, "area": 400, "iscrowd": 0} for i in SLICES
    ],
}


def point(*boxes, slices=SLICES, use_iou=False):
    """Return sensitivity and false positives per image of the same boxes on each slice, all above the threshold."""
    predictions = [{"image_id": i, "category_id": 1, "score": 0.9, "bbox": box} for i in slices for box in boxes]
    for name, content in (("truth.json", truth), ("predictions.json", predictions)):
        with open(name, "w") as file:
            json.dump(content, file)
    counts = froc_point("truth.json", "predictions.json", score_thres=0.5, use_iou=use_iou, iou_thres=0.5)[1]
    return counts["LL"] / counts["n_lesions"], counts["NL"] / counts["n_images"]


seen = {
    "boxes on the lesions": point(LESION),
    "boxes 200 pixels away": point(ELSEWHERE),
    "boxes 200 pixels away, by IoU": point(ELSEWHERE, use_iou=True),
    "boxes 200 pixels away on four slices": point(ELSEWHERE, slices=range(1, 5)),
    "both on each slice": point(LESION, ELSEWHERE),
}
for name, (sensitivity, false_positives) in seen.items():
    print(f"{name:37} sensitivity {sensitivity:.1f} at {false_positives:.1f} false positives per image")
expected = {
    "boxes on the lesions": (1.0, 0.0),
    "boxes 200 pixels away": (1.0, 0.0),
    "boxes 200 pixels away, by IoU": (1.0, 0.0),
    "boxes 200 pixels away on four slices": (0.5, 0.0),
    "both on each slice": (1.0, 1.0),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
cd "$work"
MPLCONFIGDIR="$work" "$work/venv/bin/python" -W ignore "$work/curve.py"
