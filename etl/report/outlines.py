"""Outlines of masks: as a path of SVG, and as the voxels that a viewer marks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.imaging.box_masks import outline
from etl.store.masks import StoredMasks


def edge_path(plane: NDArray[np.bool_]) -> str:
    """Return the edges between inside and outside as an SVG path, in pixels; pixel centres are whole numbers.

    Args:
        plane: bool (rows, columns).
    """
    padded = np.pad(plane, 1)
    parts = []
    for axis, run in ((0, "h"), (1, "v")):
        edges = np.diff(padded.astype(np.int8), axis=axis) != 0
        lines = edges if axis == 0 else edges.T
        for line in np.flatnonzero(lines.any(axis=1)).tolist():
            ends = np.flatnonzero(np.diff(np.concatenate([[False], lines[line], [False]]).astype(np.int8)))
            for begin, end in ends.reshape(-1, 2).tolist():
                at = (begin - 1.5, line - 0.5) if axis == 0 else (line - 0.5, begin - 1.5)
                parts.append(f"M{at[0]:g} {at[1]:g}{run}{end - begin}")
    return "".join(parts)


def masked_lesions(masks: StoredMasks) -> list[int]:
    """Return the `lesion_id` of every lesion with a mask; of a version without masks, none."""
    return masks.rows["lesion_id"].tolist() if masks.exist else []


def outline_voxels(masks: StoredMasks, lesion_id: int) -> list[list[int]]:
    """Return the outline of a lesion's mask in every plane, as voxels (z, y, x) of the stored grid.

    Raises:
        StoreError: the labels are missing or damaged.
    """
    row = masks.row(lesion_id) if masks.exist else None
    if row is None:
        return []
    voxels = masks.read(row)
    planes = np.flatnonzero(voxels.any(axis=(1, 2))).tolist()
    return [[z, *at] for z in planes for at in np.argwhere(outline(voxels[z])).tolist()]
