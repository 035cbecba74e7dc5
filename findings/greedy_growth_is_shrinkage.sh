#!/usr/bin/env bash
# picsl_greedy 1.4.0.3 (SimpleITK 2.5.7, NumPy 2.4.6): -rj says that a lesion shrank where it grew, and -jac of the same tool says that it grew.
#
# Guess: -rj writes the Jacobian determinant of the warp, as the reference says: the volume that the tissue of a voxel has in the moving image over
# its volume in the fixed one. -jac says the same of itself, so both agree; 1.158 is growth by 5 % in each direction, on any grid.
# What happens: for -rj the warp in mm and LPS is differentiated along the indices of the grid, without spacing and without direction. Only cubes of
# 1 mm whose axes run to the left, the back and the head are right. Spacing makes each change stronger or weaker by axis; where an axis runs the
# other way, or two are exchanged, growth counts as shrinkage. There is no warning. -jac and the resliced images of the same call are right.
# Seen 2026-11-30, growth by 5 % in each direction, which is 1.158; masks are a ball's voxels, counted before and after reslicing by the same warp:
#     voxels, axes                                       -rj     -jac    SimpleITK    masks
#     1 x 1 x 1 mm, left back head                      1.158   1.158      1.158      1.154
#     0.8 x 0.8 x 0.8 mm, left back head                1.125   1.158      1.158      1.156
#     0.8 x 0.8 x 5 mm, left back head                  1.352   1.158      1.158      1.141
#     1 x 1 x 1 mm, back left feet                      0.948   1.158      0.948      1.154
#     0.8 x 0.8 x 5 mm, back left feet                  0.749   1.158      0.948      1.141
# and of two registered images, 0.8 x 0.8 x 2 mm, back left feet, a ball that grew from 24 to 30 mm: -rj 0.5, -jac 2.1, masks 1.9; the other way
# round: -rj 1.3, -jac 0.5, masks 0.5. NumPy's determinant of the same warps is 1.9 and 0.5.
# No thread about it was found. The source of lesiontrack 0.2.0 (September 2026) knows of it and computes the determinant itself. ITK's filter, which
# is inside, had the direction wrong as well (ITK's issue 5358, mended there in 2025); SimpleITK 2.5.7 still has it so.
# Whom it hurts: whoever registers two studies of a patient and reads from the determinant whether lesions grew. "Back left feet" is what this store's
# NIfTI exports have, and slices of 5 mm are half of the release: who grew by 16 % is counted as having lost 25 %.
# Instead: -jac warp.nii.gz jacobian.nii.gz, which takes roots of the warp and was off by up to 9 % above; or NumPy's determinant of the warp, as in
# `by_numpy` below. Of a chain of transforms, write one warp with -rc first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" picsl_greedy==1.4.0.3 simpleitk==2.5.7 numpy==2.4.6
cd "$work"
cat >growth.py <<'PYTHON'
import io
import sys

import numpy as np
import SimpleITK
from picsl_greedy import Greedy3D

LEFT_BACK_HEAD = np.eye(3)
BACK_LEFT_FEET = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])


def greedy(command):
    """Run greedy, quietly and on one thread."""
    Greedy3D().execute("-V 0 -threads 1 " + command, out=io.StringIO(), err=io.StringIO())


def points(shape, spacing, direction):
    """Return the points of all voxels in mm and LPS, from the middle of the volume."""
    index = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    return index * spacing @ direction.T


def written(name, array, spacing, direction):
    """Write an array (i, j, k) as an image, with its geometry, and return it."""
    image = SimpleITK.GetImageFromArray(np.moveaxis(array, (0, 2), (2, 0)).astype(np.float32), isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel())
    image.SetOrigin(points(array.shape[:3], spacing, direction)[0, 0, 0])
    SimpleITK.WriteImage(image, name)
    return image


def read(name):
    """Return the voxels (i, j, k) of an image."""
    return np.moveaxis(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(name)), (0, 2), (2, 0))


def by_numpy(name):
    """Return the determinants of a warp, whose displacements are taken from mm to voxels first."""
    image = SimpleITK.ReadImage(name)
    voxels = read(name) @ np.reshape(image.GetDirection(), (3, 3)) / image.GetSpacing()
    gradient = np.stack([np.stack(np.gradient(voxels[..., axis], axis=(0, 1, 2)), -1) for axis in range(3)], -2)
    return np.linalg.det(np.eye(3) + gradient)


def known(spacing, direction, shape=(40, 40, 20)):
    """Return the determinants of growth by 5 % in each direction, and the change of a ball's volume."""
    place = points(shape, spacing, direction)
    ball = np.linalg.norm(place, axis=-1) < 11
    written("ball.nii.gz", ball, spacing, direction)
    warp = written("warp.nii.gz", place * 0.05, spacing, direction)
    greedy("-rf ball.nii.gz -rj rj.nii.gz -rm ball.nii.gz resliced.nii.gz -r warp.nii.gz")
    greedy("-jac warp.nii.gz jac.nii.gz")
    middle = tuple(length // 2 for length in shape)
    itk = SimpleITK.DisplacementFieldJacobianDeterminant(warp)[middle]
    seen = read("rj.nii.gz")[middle], read("jac.nii.gz")[middle], itk, ball.sum() / read("resliced.nii.gz").sum()
    return tuple(round(float(ratio), 3) for ratio in seen)


def registered(before_mm, after_mm, spacing=(0.8, 0.8, 2.0), direction=BACK_LEFT_FEET, shape=(60, 60, 24)):
    """Return the mean determinants, by -rj, -jac and NumPy, within a ball that changed, and the change of its volume."""
    radius = np.linalg.norm(points(shape, spacing, direction), axis=-1)
    for name, diameter in (("before.nii.gz", before_mm), ("after.nii.gz", after_mm)):
        written(name, 100 / (1 + np.exp((radius - diameter / 2) / 0.8)), spacing, direction)
    greedy("-i before.nii.gz after.nii.gz -m SSD -n 60x60 -s 2vox 0.5vox -o warp.nii.gz")
    greedy("-rf before.nii.gz -rj rj.nii.gz -r warp.nii.gz")
    greedy("-jac warp.nii.gz jac.nii.gz")
    before, after = radius < before_mm / 2, radius < after_mm / 2
    determinants = read("rj.nii.gz"), read("jac.nii.gz"), by_numpy("warp.nii.gz")
    return *(float(ratios[before].mean()) for ratios in determinants), float(after.sum() / before.sum())


seen = {}
print(" " * 34, "-rj    -jac   SimpleITK  masks")
for axes, direction in (("left back head", LEFT_BACK_HEAD), ("back left feet", BACK_LEFT_FEET)):
    for spacing in ((1.0, 1.0, 1.0), (0.8, 0.8, 0.8), (0.8, 0.8, 5.0)):
        seen[axes, spacing] = known(spacing, direction)
        print(f"{axes}, {'{:g} x {:g} x {:g} mm'.format(*spacing):18}", "  ".join(f"{ratio:.3f}" for ratio in seen[axes, spacing]))
grown, shrunk = registered(24, 30), registered(30, 24)
for name, ratios in (("grown", grown), ("shrunk", shrunk)):
    print(f"registered, {name:8} -rj {ratios[0]:.2f}, -jac {ratios[1]:.2f}, NumPy {ratios[2]:.2f}, masks {ratios[3]:.2f}")
expected = {
    ("left back head", (1.0, 1.0, 1.0)): (1.158, 1.158, 1.158, 1.154),
    ("left back head", (0.8, 0.8, 0.8)): (1.125, 1.158, 1.158, 1.156),
    ("left back head", (0.8, 0.8, 5.0)): (1.352, 1.158, 1.158, 1.141),
    ("back left feet", (1.0, 1.0, 1.0)): (0.948, 1.158, 0.948, 1.154),
    ("back left feet", (0.8, 0.8, 0.8)): (0.958, 1.158, 0.948, 1.156),
    ("back left feet", (0.8, 0.8, 5.0)): (0.749, 1.158, 0.948, 1.141),
}
turned = grown[0] < 0.8 and min(grown[1:]) > 1.8 and shrunk[0] > 1.1 and max(shrunk[1:]) < 0.6
sys.exit(0 if seen == expected and turned else "the behaviour has changed")
PYTHON
"$work/venv/bin/python" growth.py
