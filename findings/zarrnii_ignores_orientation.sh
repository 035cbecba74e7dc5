#!/usr/bin/env bash
# zarrnii 0.22.0 (zarr 3.4.2, nibabel 5.4.2, ngff-zarr 0.50.0) turns an OME-Zarr CT whose axes state their orientation into a mirrored NIfTI.
#
# Guess: zarrnii, which exists to join OME-Zarr and NIfTI, takes the `orientation` of the axes (RFC-4) from the metadata of OME-Zarr 0.5, as
# ngff-zarr, on which it is built, does since September 2026.
# What happens: it looks for attributes of its own, `xyz_orientation` or `orientation` of the group, finds none, and takes RAS without a
# warning. The NIfTI says that x runs to the right, y to the front and z to the head; the store says the opposite of all three. A
# pull request of the project says that RAS is the fallback where "no orientation metadata" is found; none about RFC-4 was found.
# Seen 2026-11-29, a marked voxel (z, y, x) = (3, 5, 7), spacing 5 x 0.82 x 0.9 mm, axes superior-to-inferior, anterior-to-posterior,
# right-to-left:
#     ngff-zarr: orientation of x is right-to-left
#     zarrnii:   axes ('R', 'A', 'S'), the voxel at RAS (6.3, 4.1, 15.0) mm; by the metadata it is at (-6.3, -4.1, -15.0) mm
#     with orientation="LPI": axes ('L', 'P', 'I'), the voxel at RAS (-6.3, -4.1, -15.0) mm
# Whom it hurts: whoever makes NIfTI files of this store's volumes with zarrnii, or overlays an atlas. Feet are head and the
# liver is on the left; voxels are right, so nothing looks broken slice by slice.
# Needs Python 3.12 or 3.13, as PYTHON or in the usual places.
# Instead: from_ome_zarr(path, orientation="LPI"), the three directions in which x, y and z run; or this project's NIfTI export.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for python in "${PYTHON:-python3}" python3.12 python3.13 "$HOME"/.pyenv/versions/3.1[23].*/bin/python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 12), (3, 13)))' >/dev/null 2>&1 && break
done
"$python" -m venv "$work/venv"
export UV_CACHE_DIR="$work/cache"
"$work/venv/bin/python" -m pip install --quiet --no-compile uv==0.13.9 2>&1
"$work/venv/bin/uv" pip install --quiet --python "$work/venv/bin/python" zarrnii==0.22.0 zarr==3.4.2 nibabel==5.4.2 \
  ngff-zarr==0.50.0 dask==2026.8.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import nibabel
import ngff_zarr
import numpy as np
import zarr
from zarrnii import ZarrNii

SPACING_MM = [5.0, 0.82, 0.9]
ORIENTATION = {"z": "superior-to-inferior", "y": "anterior-to-posterior", "x": "right-to-left"}
voxels = np.full((12, 20, 28), -1024, np.int16)
voxels[3, 5, 7] = 1000
group = zarr.open_group("ct.ome.zarr", mode="w", zarr_format=3)
level = group.create_array(
    "0", shape=voxels.shape, shards=(16, 24, 32), chunks=(8, 8, 8), dtype="int16", fill_value=-1024, dimension_names=list("zyx")
)
level[:] = voxels
axes = [
    {"name": name, "type": "space", "unit": "millimeter", "orientation": {"type": "anatomical", "value": value}}
    for name, value in ORIENTATION.items()
]
datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": SPACING_MM}]}]
group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "ct", "axes": axes, "datasets": datasets}]}


def position(**arguments):
    ZarrNii.from_ome_zarr("ct.ome.zarr", **arguments).to_nifti("ct.nii.gz")
    image = nibabel.load("ct.nii.gz")
    index = np.argwhere(np.asarray(image.dataobj) == 1000)[0]
    ras_mm = (image.affine @ [*index, 1])[:3]
    return nibabel.aff2axcodes(image.affine), tuple(round(float(mm), 2) for mm in ras_mm)


read = ngff_zarr.from_ngff_zarr("ct.ome.zarr").images[0]
print("ngff-zarr: orientation of x is", read.axes_orientations["x"].value.value)
plain, told = position(), position(orientation="LPI")
print("zarrnii:", *plain)
print('zarrnii with orientation="LPI":', *told)
expected = (("R", "A", "S"), (6.3, 4.1, 15.0)), (("L", "P", "I"), (-6.3, -4.1, -15.0))
sys.exit(0 if (plain, told) == expected else "the behaviour has changed")
PYTHON
