"""Volumes as NIfTI-1: named, ordered and placed as the release's official converter does it."""

from __future__ import annotations

import gzip
from functools import partial

import nibabel
import numpy as np
from numpy.typing import NDArray

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


def _encode(store: Store, volume_id: str, spacing_mm: tuple[float, float, float]) -> bytes:
    voxels_hu = np.asarray(store.array(volume_id)[...])
    return encode_nifti(
        voxels_hu, spacing_mm, f"DeepLesion {volume_id}, HU; store version {store.version['version']}"
    )


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    columns = ["volume_id", *(f"spacing_{axis}_mm" for axis in "zyx")]
    return [
        ExportFile(f"{volume_id}.nii.gz", partial(_encode, store, volume_id, tuple(spacing)))
        for volume_id, *spacing in selected.volumes[columns].itertuples(index=False)
    ]


NIFTI = Format(
    _files,
    "One int16 volume in HU a file, <series>_<first slice>-<last slice>.nii.gz, on the store's grid. Arrays\n"
    "are (row, column, slice); the affine maps them to mm. As in the release's official converter, rows run\n"
    "front to back, columns from the patient's right to left, slices head to feet: the release states no\n"
    "orientation. The origin is the centre of the first voxel. A lesion of the store's table is at\n"
    "R = -x_mm, A = -y_mm, S = -z_mm; in LPS, which ITK uses, at L = x_mm, P = y_mm, S = -z_mm.",
)
