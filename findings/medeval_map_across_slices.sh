#!/usr/bin/env bash
# medeval 0.1.7 (PyTorch 2.13.0+cpu, NumPy 2.4.6): mean_average_precision compares the boxes of one slice with the lesions of all slices.
#
# Guess: boxes are matched within their image. Boxes, scores and labels are given as one list per image, as the docstring says of each of them; froc
# and average_recall of the same module take the same lists and match within the image.
# What happens: the boxes of a class are put together over all images before they are matched, and which image each came from is forgotten. A box goes
# to the lesion that it overlaps most, wherever that is; if that one is taken, the box is false, even if its own lesion is still free. So boxes hit
# lesions on other slices, and boxes on their own lesion are false positives where a lesion of another slice lies over it.
# Seen 2026-11-30, AP at an IoU of 0.5, the same matched within each slice by this script, and the sensitivity of the package's froc:
#     one lesion on each of two slices, exact boxes                    AP 1.00    within slices 1.00    froc 1.00
#     the same boxes, each on the other slice                          AP 1.00    within slices 0.00    froc 0.00
#     four slices with a lesion at the same place, exact boxes         AP 0.25    within slices 1.00    froc 1.00
#     100 slices with a lesion each, boxes at random in the middle     AP 0.04    within slices 0.00    froc 0.00
#     1,000 such slices                                                AP 0.28    within slices 0.00    froc 0.00
#     1,000 slices, boxes moved by a seventh of the lesion's size      AP 0.65    within slices 1.00    froc 1.00
# No thread about it was found.
# Whom it hurts: whoever scores a detector on key slices. They all have 512 x 512 pixels with the patient in the middle, so lesions of different
# patients overlap, and follow-ups of one lesion nearly always do: the more slices there are, the better guesses and the worse good detectors look.
# Instead: move the boxes of image i to the right by i times 512 pixels, both found and true; or average_recall and froc, for which all is one class.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# The CPU build of PyTorch may lie where only pip is told to look.
"$work/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check medeval==0.1.7 torch==2.13.0+cpu scipy==1.17.1 \
  scikit-learn==1.9.1 numpy==2.4.6 2>&1
cat >"$work/precision.py" <<'PYTHON'
import sys

import numpy as np
import torch
from medeval.metrics.detection import froc, mean_average_precision


def overlap(box, lesion):
    """Return the intersection over union of two boxes."""
    sides = np.clip(np.minimum(box[2:], lesion[2:]) - np.maximum(box[:2], lesion[:2]), 0, None)
    both = sides.prod()
    return both / ((box[2:] - box[:2]).prod() + (lesion[2:] - lesion[:2]).prod() - both)


def within_slices(found, scores, lesions):
    """Return the average precision for one box and one lesion a slice."""
    hits = np.array([overlap(box, lesion) >= 0.5 for box, lesion in zip(found, lesions)])[np.argsort(-scores)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float((np.maximum.accumulate(precision[::-1])[::-1] * hits).sum() / len(lesions))


def measured(found, lesions, apart=0):
    """Return medeval's average precision, that within slices and medeval's sensitivity, for one box and one lesion a slice."""
    scores = np.random.default_rng(2).random(len(found))
    aside = apart * np.arange(len(found))[:, None] * np.array([1, 0, 1, 0])
    boxes, truth = ([torch.tensor(row)[None] for row in rows + aside] for rows in (found, lesions))
    labels = [torch.zeros(1) for _ in boxes]
    arguments = boxes, [torch.tensor([score]) for score in scores], labels, truth, labels
    precision = mean_average_precision(*arguments, iou_thresholds=np.array([0.5]))["mAP@0.50"]
    return precision, within_slices(found, scores, lesions), float(froc(*arguments)["sensitivity"][-1])


def slices(number):
    """Return a lesion and a box elsewhere for each of so many slices."""
    random = np.random.default_rng(1)
    half, *middles = random.uniform(8, 30, (number, 2)), random.normal(256, 70, (number, 2)), random.normal(256, 70, (number, 2))
    return [np.hstack([middle - half, middle + half]) for middle in middles]


two = np.array([[100.0, 100, 120, 120], [300, 300, 320, 320]])
four = np.repeat(two[:1], 4, axis=0)
lesions, elsewhere = slices(1000)
moved = lesions + np.tile((lesions[:, 2:] - lesions[:, :2]) / 7, 2)
cases = {
    "two slices, exact": (two, two),
    "two slices, exchanged": (two[::-1], two),
    "four slices, same place, exact": (four, four),
    "100 slices, boxes at random": tuple(reversed(slices(100))),
    "1,000 slices, boxes at random": (elsewhere, lesions),
    "1,000 slices, moved by a seventh": (moved, lesions),
}
seen = {}
for name, (found, truth) in cases.items():
    seen[name] = tuple(round(number, 2) for number in (*measured(found, truth), measured(found, truth, apart=512)[0]))
    print(f"{name:34} AP {seen[name][0]:.2f}, within slices {seen[name][1]:.2f}, froc {seen[name][2]:.2f}, slices moved apart {seen[name][3]:.2f}")
expected = {
    "two slices, exact": (1.0, 1.0, 1.0, 1.0),
    "two slices, exchanged": (1.0, 0.0, 0.0, 0.0),
    "four slices, same place, exact": (0.25, 1.0, 1.0, 1.0),
    "100 slices, boxes at random": (0.04, 0.0, 0.0, 0.0),
    "1,000 slices, boxes at random": (0.28, 0.0, 0.0, 0.0),
    "1,000 slices, moved by a seventh": (0.65, 1.0, 1.0, 1.0),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/precision.py"
