#!/usr/bin/env bash
# AlbumentationsX 2.5.1 (opencv-python-headless 5.0.0.93, PyTorch 2.13.0+cpu, NumPy 2.4.6): 3D crops stretch boxes instead of moving them.
#
# Guess: boxes given with a volume follow it through 3D crops, pads and turns, as they do through the 2D transforms, which treat a volume slice by
# slice; or an error says that 3D transforms take no boxes, as the page of targets by transform promises for spatial transforms.
# What happens: boxes are held as fractions of height and width. A 3D transform passes them on untouched, and they come back as fractions of the new
# size. The mask of the same call is right. If no transform of the pipeline knows boxes, a warning says so; one 2D transform among them, even with
# probability 0, and there is none. strict=True changes nothing.
# Seen 2026-11-29, a box (20, 15, 28, 21) in a volume of 12 x 40 x 48 voxels:
#     HorizontalFlip(p=0), CenterCrop3D((8, 32, 32)): mask (12, 11, 20, 17), box (13.3, 12.0, 18.7, 16.8), no warning
#     HorizontalFlip(p=0), Pad3D(.., left 20):        mask (40, 19, 48, 25), box (28.3, 18.0, 39.7, 25.2), no warning
#     CenterCrop(32, 32), which is 2D:                mask (12, 11, 20, 17), box (12.0, 11.0, 20.0, 17.0)
# No thread about it was found; threads on new 3D transforms of 2026 name volumes, masks and keypoints as what they take.
# Whom it hurts: whoever trains a detector on slabs around key slices with their boxes: boxes shrink or grow with the volume, and the box of a random
# crop is the same wherever it was cut, so that it may lie on other tissue.
# Instead: 2D crops and pads for x and y and a slice of the planes for z; or the box's corners as keypoints "xyz", which 3D crops do move.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
# The CPU build of PyTorch may lie where only pip is told to look.
"$work/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check albumentationsx==2.5.1 opencv-python-headless==5.0.0.93 \
  torch==2.13.0+cpu numpy==2.4.6 2>&1
cat >"$work/boxes.py" <<'PYTHON'
import sys
import warnings

import albumentations as A
import numpy as np

BOX = 20, 15, 28, 21


def moved(*transforms, strict=False):
    """Return the box of the mask, the box and the box's two corners as keypoints after the transforms, and the number of warnings about boxes."""
    mask = np.zeros((12, 40, 48), np.uint8)
    x1, y1, x2, y2 = BOX
    mask[5, y1:y2, x1:x2] = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline = A.Compose(
            transforms,
            bbox_params=A.BboxParams(coord_format="pascal_voc", label_fields=["lesion_id"]),
            keypoint_params=A.KeypointParams(coord_format="xyz", remove_invisible=False),
            seed=1,
            strict=strict,
            telemetry=False,
        )
        corners = np.array([[x1, y1, 5], [x2, y2, 5]], np.float32)
        done = pipeline(
            volume=mask.astype(np.float32), mask3d=mask, bboxes=np.array([BOX], np.float32), lesion_id=[1], keypoints=corners
        )
    _, y, x = np.nonzero(done["mask3d"])
    of_mask = int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
    box = tuple(round(float(edge), 1) for edge in done["bboxes"][0])
    of_corners = tuple(round(float(edge), 1) for edge in done["keypoints"][:, :2].ravel())
    return of_mask, box, of_corners, sum("bboxes" in str(warning.message) for warning in caught)


flip, crop = A.HorizontalFlip(p=0), A.CenterCrop3D(size=(8, 32, 32), p=1)
seen = {
    "3D crop": moved(crop),
    "2D flip, 3D crop": moved(flip, crop),
    "2D flip, 3D crop, strict": moved(flip, crop, strict=True),
    "2D flip, 3D pad": moved(flip, A.Pad3D(padding=(1, 1, 4, 4, 20, 0), p=1)),
    "2D crop": moved(A.CenterCrop(32, 32, p=1)),
}
for name, (of_mask, box, of_corners, warned) in seen.items():
    print(f"{name:25} mask {of_mask}, box {box}, corners as keypoints {of_corners}, warnings {warned}")
cropped, stretched = (12, 11, 20, 17), (13.3, 12.0, 18.7, 16.8)
expected = {
    "3D crop": (cropped, stretched, cropped, 1),
    "2D flip, 3D crop": (cropped, stretched, cropped, 0),
    "2D flip, 3D crop, strict": (cropped, stretched, cropped, 0),
    "2D flip, 3D pad": ((40, 19, 48, 25), (28.3, 18.0, 39.7, 25.2), (40, 19, 48, 25), 0),
    "2D crop": (cropped, cropped, cropped, 0),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/boxes.py"
