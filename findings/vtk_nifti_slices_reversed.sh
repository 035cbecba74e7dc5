#!/usr/bin/env bash
# PyVista 0.49.1 (VTK 9.7.2, nibabel 5.4.2, NumPy 2.4.6) reverses the slices of some NIfTI files and drops every affine.
#
# Guess: pyvista.read gives the voxels in the order of the file, and points in the millimetres of the affine, or else plain indices
# times the spacing.
# What happens: origin is (0, 0, 0) and the direction the identity, whatever the file says; threads about PyVista know that part. On
# top, VTK's reader turns the last axis around if the affine is left-handed (pixdim[0] is -1) and moves the affine along; PyVista keeps the
# voxels and drops the affine. So plane 3 of a volume of 12 planes is plane 8, while nibabel, ITK and the tables count from the other end.
# Affines of this store's own exports are right-handed (row, column, slice). Files that tools write in the order x, y, z of the OME-Zarr
# volume with its orientation (x to the left, y to the back, z to the feet) are left-handed.
# Seen 2026-11-29, a marked voxel (z, y, x) = (3, 5, 7) at RAS (-6.3, -4.1, -15.0) mm:
#     right-handed (row, column, slice): index (5, 7, 3), point (4.1, 6.3, 15.0)
#     left-handed (x, y, z):             index (7, 5, 8), point (6.3, 4.1, 40.0)
# Whom it hurts: whoever cuts lesions out of NIfTI files by `z_vox`, or lays meshes of masks over points in mm, in PyVista or a
# program that relies on VTK's reader. Crops look like anatomy, from another place.
# Instead: read with nibabel or SimpleITK and make pyvista.ImageData of the array, spacing, origin and direction_matrix.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" pyvista==0.49.1 vtk==9.7.2 nibabel==5.4.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import nibabel
import numpy as np
import pyvista

Z_MM, Y_MM, X_MM = 5.0, 0.82, 0.9
voxels = np.zeros((12, 20, 28), np.int16)
voxels[3, 5, 7] = 1000
right_handed = np.array([[0, -X_MM, 0, 0], [-Y_MM, 0, 0, 0], [0, 0, -Z_MM, 0], [0, 0, 0, 1]])
left_handed = np.diag([-X_MM, -Y_MM, -Z_MM, 1])
files = {
    "right-handed (row, column, slice)": nibabel.Nifti1Image(voxels.transpose(1, 2, 0), right_handed),
    "left-handed (x, y, z)": nibabel.Nifti1Image(voxels.transpose(2, 1, 0), left_handed),
}
seen = {}
for name, image in files.items():
    nibabel.save(image, "volume.nii.gz")
    read = nibabel.load("volume.nii.gz")
    stored = np.argwhere(np.asarray(read.dataobj) == 1000)[0]
    ras_mm = (read.affine @ [*stored, 1])[:3]
    mesh = pyvista.read("volume.nii.gz")
    position = int(np.argmax(mesh.active_scalars))
    index = tuple(int(i) for i in np.unravel_index(position, mesh.dimensions, order="F"))
    point = tuple(round(float(mm), 2) for mm in mesh.points[position])
    print(f"{name}: stored index {tuple(stored.tolist())}, RAS {np.round(ras_mm, 2).tolist()} mm; PyVista index {index}, point {point}")
    seen[name] = index, point
expected = {
    "right-handed (row, column, slice)": ((5, 7, 3), (4.1, 6.3, 15.0)),
    "left-handed (x, y, z)": ((7, 5, 8), (6.3, 4.1, 40.0)),
}
sys.exit(0 if seen == expected else "the behaviour has changed")
PYTHON
