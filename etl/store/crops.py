"""Pieces of a volume around lesions, padded where the volume ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import zarr

from etl.store.receipts import Shape

BOX = ("bbox_x1_vox", "bbox_y1_vox", "bbox_x2_vox", "bbox_y2_vox")
PLACE_COLUMNS = ["lesion_id", "volume_id", "z_vox", *BOX]
"""The columns of `lesions` that say where a lesion lies in its volume."""


@dataclass(frozen=True)
class Crop:
    """A box of voxels, which may reach past the volume.

    Attributes:
        start: index (z, y, x) in the volume of its first voxel; may be negative.
        shape: voxels (z, y, x).
    """

    start: Shape
    shape: Shape

    def read(self, voxels_hu: zarr.Array[Any]) -> np.ndarray[Any, Any]:
        """int16 HU (z, y, x). What lies outside the volume has the array's fill value, which is air."""
        inside = tuple(
            slice(max(start, 0), max(min(start + n, limit), 0))
            for start, n, limit in zip(self.start, self.shape, voxels_hu.shape, strict=True)
        )
        cropped = np.full(self.shape, voxels_hu.fill_value, voxels_hu.dtype)
        if all(s.start < s.stop for s in inside):
            target = tuple(
                slice(s.start - start, s.stop - start) for s, start in zip(inside, self.start, strict=True)
            )
            cropped[target] = voxels_hu[inside]
        return cropped


def crop_around(center_vox: tuple[float, float, float], shape: Shape) -> Crop:
    """The crop of this shape with its middle as near to a point (z, y, x) as whole voxels allow."""
    z, y, x = (math.floor(c - (n - 1) / 2 + 0.5) for c, n in zip(center_vox, shape, strict=True))
    return Crop((z, y, x), shape)


def centers_vox(places: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Middles of lesions: the key slice and the middle of the box. (n, 3): z, y, x, in voxels.

    Args:
        places: rows of `lesions` with `PLACE_COLUMNS`.
    """
    x = (places["bbox_x1_vox"] + places["bbox_x2_vox"]) / 2
    y = (places["bbox_y1_vox"] + places["bbox_y2_vox"]) / 2
    return np.stack([places["z_vox"], y, x], axis=1)
