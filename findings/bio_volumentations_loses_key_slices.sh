#!/usr/bin/env bash
# Bio-Volumentations 1.4.0 (SciPy 1.17.1, NumPy 2.4.6): a crop drops the box of a lesion on one slice, although the lesion is inside.
#
# Guess: a box names the first and the last voxel of an object: a flip turns it about the last index, and in the package's own tests the box of a whole
# image of 18 planes is 0 to 17. So the box of slice 5 alone is 5 to 5, and goes through a crop that keeps slice 5.
# What happens: after a crop or an affine transform a box is kept only if each far end is greater than the near one. A box of one slice never is, and
# is gone without a warning, even if nothing was moved; the mask of the same call has the lesion. With 5 to 6 instead the box survives, but flips then
# put it one voxel before the mask on each turned axis.
# Seen 2026-11-30, a lesion on slice 5, rows 15-20, columns 20-27 of 12 x 40 x 48 voxels, boxes as z, y, x:
#                                   mask                first and last voxel    far ends one more
#     CenterCrop((8, 32, 32))       3, 11-16, 12-19     no box                  3-4, 11-17, 12-20
#     AffineTransform of nothing    5, 15-20, 20-27     no box                  5-6, 15-21, 20-28
#     Flip on all axes              6, 19-24, 20-27     6-6, 19-24, 20-27       5-6, 18-24, 19-27
# No thread about it was found.
# Whom it hurts: whoever trains a detector on volumes with DeepLesion's boxes, of which each lies on its key slice alone: every crop loses all of
# them, and the model learns that nothing is there.
# Instead: give the edges of the voxels, half a voxel before the first and behind the last, 4.5 to 5.5: crops, affine transforms and flips keep them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" bio-volumentations==1.4.0 scipy==1.17.1 scikit-image==0.26.0 \
  SimpleITK==2.5.7 numpy==2.4.6
cat >"$work/boxes.py" <<'PYTHON'
import sys
import warnings

import numpy as np
from bio_volumentations import AffineTransform, CenterCrop, Compose, Flip

FIRST, LAST = (5, 15, 20), (5, 20, 27)
voxels = np.zeros((1, 12, 40, 48), np.float32)
mask = np.zeros((12, 40, 48), np.int32)
mask[tuple(slice(low, high + 1) for low, high in zip(FIRST, LAST))] = 1
BOXES = {
    "first and last voxel": (FIRST, LAST),
    "far ends one more": (FIRST, tuple(high + 1 for high in LAST)),
    "edges of the voxels": (tuple(low - 0.5 for low in FIRST), tuple(high + 0.5 for high in LAST)),
}
TRANSFORMS = {
    "CenterCrop": CenterCrop((8, 32, 32), p=1),
    "AffineTransform of nothing": AffineTransform(angles=(0, 0, 0), translation=(0, 0, 0), scale=(1, 1, 1), p=1),
    "Flip": Flip(axes=[1, 2, 3], p=1),
}


def moved(transform, box):
    """Return the first and last voxel of the mask, the boxes, and the number of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = Compose([transform])(image=voxels, mask=mask, bboxes=[[*box, 0, "lesion"]])
    inside = np.argwhere(done["mask"])
    ends = tuple(map(int, inside.min(axis=0))), tuple(map(int, inside.max(axis=0)))
    boxes = [tuple(tuple(map(float, end)) for end in found[:2]) for found in done["bboxes"]]
    return ends, boxes, len(caught)


seen = {(name, kind): moved(transform, box) for name, transform in TRANSFORMS.items() for kind, box in BOXES.items()}
for (name, kind), (ends, boxes, warned) in seen.items():
    print(f"{name:26} {kind:20} mask {ends}, boxes {boxes}, warnings {warned}")
masks = {
    "CenterCrop": ((3, 11, 12), (3, 16, 19)),
    "AffineTransform of nothing": ((5, 15, 20), (5, 20, 27)),
    "Flip": ((6, 19, 20), (6, 24, 27)),
}
expected = {}
for name, (low, high) in masks.items():
    before, after = tuple(value - 1 for value in low), tuple(value + 1 for value in high)
    halves = tuple(value - 0.5 for value in low), tuple(value + 0.5 for value in high)
    expected[name, "first and last voxel"] = (low, high), [(low, high)] if name == "Flip" else [], 0
    expected[name, "far ends one more"] = (low, high), [(before, high) if name == "Flip" else (low, after)], 0
    expected[name, "edges of the voxels"] = (low, high), [halves], 0
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/boxes.py"
