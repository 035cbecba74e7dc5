"""Volumes as NIfTI-1: named, ordered and placed as in the release's official converter."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from etl.core.errors import StoreError
from etl.export.lesion_places import places_file
from etl.export.protocol import ExportFile, Format, Selected
from etl.imaging.geometry import voxel_to_lps_mm
from etl.store.reader import Store

ALIGNED = 2
"""NIfTI code of coordinates that follow the anatomy but are not the scanner's."""
COMPRESSION = 1
"""Gzip level; higher ones take several times as long and save a few percent of CT."""


def nifti_affine(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the 4x4 matrix from (row, column, slice, 1) to (R, A, S, 1) in mm.

    It is `voxel_to_lps_mm` in NIfTI's axes.

    Args:
        spacing_mm: (z, y, x).
    """
    slice_row_column = np.eye(4)[[2, 0, 1, 3]]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(voxel_to_lps_mm(spacing_mm)) @ slice_row_column + 0.0


def encode_nifti(
    voxels_hu: NDArray[np.integer[Any]], spacing_mm: tuple[float, float, float], description: str
) -> bytes:
    """Return a .nii.gz file; equal arguments give equal bytes.

    Args:
        voxels_hu: (z, y, x) as stored, or labels; the file has (row, column, slice).
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
    """Return the file of one row of the volumes table, a named tuple."""
    voxels_hu = np.asarray(store.array(volume.volume_id)[...])
    found, stored = (voxels_hu.min(), voxels_hu.max()), (volume.hu_minimum, volume.hu_maximum)
    if found != stored:
        # Zarr reads a missing shard as its fill value, air.
        raise StoreError(
            "the volume's voxels are not those that were stored",
            where=f"{store.objects.root}/{volume.path}",
            value=f"{found[0]} to {found[1]} HU",
            allowed=f"{stored[0]} to {stored[1]} HU, as in the table `volumes`",
            remedy="run deeplesion verify on the store: it lists what is damaged and what repairs it",
        )
    spacing_mm = volume.spacing_z_mm, volume.spacing_y_mm, volume.spacing_x_mm
    text = f"DeepLesion {volume.volume_id}, HU; store version {store.version['version']}"
    return encode_nifti(voxels_hu, spacing_mm, text)


def encode_labels(labels: NDArray[np.integer[Any]], volume: Any, description: str) -> bytes:
    """Return the file of labels (z, y, x) on the grid of a volume, a row of the table as a named tuple."""
    return encode_nifti(labels, (volume.spacing_z_mm, volume.spacing_y_mm, volume.spacing_x_mm), description)


def _encode_labels(store: Store, volume: Any, rows: list[dict[str, Any]]) -> bytes:
    """Return the masks of one volume by one source, which do not overlap: lesion_id + 1 inside."""
    masks = store.masks
    labels = np.zeros((volume.shape_z, volume.shape_y, volume.shape_x), np.uint32)
    for row in rows:
        labels[masks.read(row)] = row["lesion_id"] + 1
    text = f"DeepLesion {volume.volume_id}, lesion_id + 1; store version {store.version['version']}"
    return encode_labels(labels, volume, text)


def _label_files(store: Store, selected: Selected) -> list[ExportFile]:
    masks = store.masks
    if not masks.exist:
        return []
    rows = masks.rows[masks.rows["lesion_id"].isin(selected.lesions["lesion_id"])]
    volumes = {volume.volume_id: volume for volume in selected.volumes.itertuples(index=False)}
    found = []
    for (volume_id, source, path), own in rows.groupby(["volume_id", "source", "path"]):
        name = f"labels/{volume_id}.{source}.{path.rpartition('/')[2]}.nii.gz"
        found.append(
            ExportFile(name, partial(_encode_labels, store, volumes[volume_id], own.to_dict("records")))
        )
    return found


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    rows = list(selected.volumes.itertuples(index=False))
    names = {volume.volume_id: f"{volume.volume_id}.nii.gz" for volume in rows}
    volumes = [ExportFile(names[volume.volume_id], partial(_encode, store, volume)) for volume in rows]
    return [*volumes, places_file(selected, names), *_label_files(store, selected)]


FORMAT = Format(
    _files,
    "Each file is one int16 volume in HU on the store's grid, <series>_<first slice>-<last slice>.nii.gz.\n"
    "Arrays are (row, column, slice); the affine maps them to mm. The release states no orientation, so\n"
    "the one of its official converter is used: rows run front to back, columns from the patient's right\n"
    "to left, slices head to feet. The origin is the centre of the first voxel. A lesion of the table is at\n"
    "R = -x_mm, A = -y_mm, S = -z_mm; in LPS, which ITK uses, at L = x_mm, P = y_mm, S = -z_mm. lesions.csv\n"
    "has each lesion's file, place in its array, and place and box in mm in LPS and RAS.\n"
    "labels/<volume>.<source>.<image>.nii.gz are masks by others, where the version has any: uint32 on the\n"
    "same grid, 0 outside and lesion_id + 1 inside; `lesions` are whole, `key_slices` are of one slice.",
)
