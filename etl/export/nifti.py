"""Volumes as NIfTI-1: named, ordered and placed as the release's official converter does it."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from etl.core.errors import StoreError
from etl.export.files import ExportFile, Format
from etl.export.selection import Selected
from etl.imaging.geometry import voxel_to_lps_mm
from etl.store.reader import Store

ALIGNED = 2
"""NIfTI's code for coordinates that follow the anatomy without being the scanner's."""
COMPRESSION = 1
"""Of gzip; more takes several times as long for a few percent of CT."""


def nifti_affine(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """4x4, from (row, column, slice, 1) to (R, A, S, 1) in mm: as `voxel_to_lps_mm`, in NIfTI's axes.

    Args:
        spacing_mm: (z, y, x).
    """
    slice_row_column = np.eye(4)[[2, 0, 1, 3]]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(voxel_to_lps_mm(spacing_mm)) @ slice_row_column + 0.0


def encode_nifti(
    voxels_hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], description: str
) -> bytes:
    """A .nii.gz file, the same bytes every time.

    Args:
        voxels_hu: (z, y, x) as stored; in the file (row, column, slice).
        spacing_mm: (z, y, x).
        description: ASCII, at most 79 characters.
    """
    image = nibabel.nifti1.Nifti1Image(voxels_hu.transpose(1, 2, 0), nifti_affine(spacing_mm))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description
    image.set_sform(image.affine, ALIGNED)
    image.set_qform(image.affine, ALIGNED)
    return gzip.compress(image.to_bytes(), COMPRESSION, mtime=0)


def _encode(store: Store, volume: Any) -> bytes:
    """One row of the catalogue, a named tuple -> its file."""
    voxels_hu = np.asarray(store.array(volume.volume_id)[...])
    found, stored = (voxels_hu.min(), voxels_hu.max()), (volume.hu_minimum, volume.hu_maximum)
    if found != stored:
        # Zarr reads a shard that is gone as air.
        raise StoreError(
            "the volume is not as it was stored",
            where=f"{store.objects.root}/{volume.path}",
            value=f"{found[0]} to {found[1]} HU",
            allowed=f"{stored[0]} to {stored[1]} HU, as in the table `volumes`",
            remedy="python jobs/verify_store.py STORE says what is damaged and what repairs it",
        )
    spacing_mm = volume.spacing_z_mm, volume.spacing_y_mm, volume.spacing_x_mm
    text = f"DeepLesion {volume.volume_id}, HU; store version {store.version['version']}"
    return encode_nifti(voxels_hu, spacing_mm, text)


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    return [
        ExportFile(f"{volume.volume_id}.nii.gz", partial(_encode, store, volume))
        for volume in selected.volumes.itertuples(index=False)
    ]


NIFTI = Format(
    _files,
    "One int16 volume in HU a file, <series>_<first slice>-<last slice>.nii.gz, on the store's grid. Arrays\n"
    "are (row, column, slice); the affine maps them to mm. As in the release's official converter, rows run\n"
    "front to back, columns from the patient's right to left, slices head to feet: the release states no\n"
    "orientation. The origin is the centre of the first voxel. A lesion of the store's table is at\n"
    "R = -x_mm, A = -y_mm, S = -z_mm; in LPS, which ITK uses, at L = x_mm, P = y_mm, S = -z_mm.",
)
