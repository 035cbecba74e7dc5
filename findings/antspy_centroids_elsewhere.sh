#!/usr/bin/env bash
# ANTsPy (antspyx 0.6.3, numpy 2.3.5): label_image_centroids gives points that lie outside the labels, and no millimetres when asked for them.
#
# Guess: ants.label_image_centroids returns the mean index of each label's voxels, and the points in mm with physical=True, as its docstring says.
# What happens: its lists of coordinates count the voxels with the first axis fastest, as R does, from which it was carried over; the mask is
# flattened with the last axis fastest, as NumPy does. In a cube, first and third coordinate change places; in a volume that is no cube, each
# coordinate mixes several axes. The lists for the third axis have the length of the second. `physical` is accepted, and the lines for it are commented
# out. There is no warning. ants.label_geometry_measures and ants.get_center_of_mass of the same label are right, in LPS mm.
# Seen 2026-11-29, a box of 4 x 6 voxels on one plane, rows 5-8, columns 7-12, plane 3, spacing 0.8 x 0.8 x 5 mm, its centre at 5.2, 7.6, 15.0 mm:
#     volume of 20 x 20 x 20: (3.0, 9.5, 6.5),   with physical=True (3.0, 9.5, 6.5);   true index (6.5, 9.5, 3.0)
#     volume of 20 x 28 x 12: (11.0, 13.0, 9.0), with physical=True (11.0, 13.0, 9.0); true index (6.5, 9.5, 3.0)
# A pull request of 2024 mended the same function for labels with gaps in their numbers; no thread about the coordinates was found.
# Whom it hurts: whoever finds lesions by the centroids of their masks, or matches them over two studies, in ANTsPy: points look
# plausible, lie within the volume, and belong to other tissue.
# Instead: Centroid_x, _y and _z of ants.label_geometry_measures (mm), or scipy.ndimage.center_of_mass of image.numpy() (indices).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" antspyx==0.6.3 numpy==2.3.5
cat >"$work/centroids.py" <<'PYTHON'
import sys

import ants
import numpy as np


def found(shape):
    """Return the label's centroid as index by NumPy, by ANTsPy without and with physical=True, and in mm by two other functions of ANTsPy."""
    mask = np.zeros(shape, np.float32)
    mask[5:9, 7:13, 3] = 1
    image = ants.from_numpy(mask, spacing=(0.8, 0.8, 5.0))
    measures = ants.label_geometry_measures(image).iloc[0]
    points = (
        np.argwhere(mask).mean(axis=0),
        ants.label_image_centroids(image)["vertices"][0],
        ants.label_image_centroids(image, physical=True)["vertices"][0],
        [measures[f"Centroid_{axis}"] for axis in "xyz"],
        ants.get_center_of_mass(image),
    )
    return [tuple(round(float(value), 1) for value in point) for point in points]


seen = {shape: found(shape) for shape in ((20, 20, 20), (20, 28, 12))}
for shape, (index, plain, physical, measured_mm, mass_mm) in seen.items():
    print(f"volume {shape}: index {index}; label_image_centroids {plain}, with physical=True {physical}")
    print(f"    label_geometry_measures {measured_mm} mm, get_center_of_mass {mass_mm} mm")
index, centre_mm = (6.5, 9.5, 3.0), (5.2, 7.6, 15.0)
expected = {
    (20, 20, 20): [index, (3.0, 9.5, 6.5), (3.0, 9.5, 6.5), centre_mm, centre_mm],
    (20, 28, 12): [index, (11.0, 13.0, 9.0), (11.0, 13.0, 9.0), centre_mm, centre_mm],
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" "$work/centroids.py"
