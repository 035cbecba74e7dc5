"""Boxes of voxels around lesions, padded where the volume ends."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.imaging.window import Window, to_grey, to_share
from etl.store.layout import AXES, Shape

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.level_voxels import LevelVoxels

Point = tuple[float, float, float]
"""A place (z, y, x) in voxels."""

BOX = ("bbox_x1_vox", "bbox_y1_vox", "bbox_x2_vox", "bbox_y2_vox")
PLACE_COLUMNS = ["lesion_id", "volume_id", "z_vox", *BOX]
"""The columns of `lesions` that say where a lesion lies in its volume."""

CATALOGUE_COLUMNS = [
    *("volume_id", "slice_first", "slice_last", "fingerprint"),
    *(f"{kind}spacing_{axis}_mm" for kind in ("", "source_") for axis in AXES),
    "patient_index",
    *(f"shape_{axis}" for axis in AXES),
]
"""The columns of `volumes` that crops and searches need: they are read once for all volumes."""


@dataclass(frozen=True)
class Crop:
    """A box of voxels, which may reach past the volume.

    Attributes:
        start: index (z, y, x) in the volume of its first voxel; may be negative.
        shape: voxels (z, y, x).
    """

    start: Shape
    shape: Shape

    def read(self, voxels_hu: LevelVoxels) -> np.ndarray[Any, Any]:
        """Return int16 HU (z, y, x). Outside the volume it has the array's fill value, which is air."""
        inside = tuple(
            slice(max(start, 0), max(min(start + n, limit), 0))
            for start, n, limit in zip(self.start, self.shape, voxels_hu.shape, strict=True)
        )
        sizes = tuple(max(s.stop - s.start, 0) for s in inside)
        if sizes == self.shape:
            return voxels_hu[inside]
        cropped = np.full(self.shape, voxels_hu.fill_value, voxels_hu.dtype)
        if all(sizes):
            target = tuple(
                slice(s.start - start, s.stop - start) for s, start in zip(inside, self.start, strict=True)
            )
            cropped[target] = voxels_hu[inside]
        return cropped


def crop_around(center_vox: Point, shape: Shape) -> Crop:
    """Return the crop of this shape with its middle as near to a point (z, y, x) as whole voxels allow."""
    z, y, x = (math.floor(c - (n - 1) / 2 + 0.5) for c, n in zip(center_vox, shape, strict=True))
    return Crop((z, y, x), shape)


def crop_of_size(center_vox: Point, sizes_mm: Sequence[float], spacing_mm: Sequence[float]) -> Crop:
    """Return the crop around a point (z, y, x) with edges of these sizes, rounded to whole voxels."""
    nz, ny, nx = (max(round(size / s), 1) for size, s in zip(sizes_mm, spacing_mm, strict=True))
    return crop_around(center_vox, (nz, ny, nx))


def centers_vox(places: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the middles of lesions, the middle of the box on the key slice: (n, 3), z, y, x, in voxels.

    Args:
        places: rows of `lesions` with `PLACE_COLUMNS`.
    """
    x = (places["bbox_x1_vox"] + places["bbox_x2_vox"]) / 2
    y = (places["bbox_y1_vox"] + places["bbox_y2_vox"]) / 2
    return np.stack([places["z_vox"], y, x], axis=1)


def on_planes(
    centers: np.ndarray[Any, Any], volume_ids: Sequence[str], shapes: Mapping[str, Shape]
) -> np.ndarray[Any, Any]:
    """Return middles (n, 3), those past the last plane on it: a key slice may lie there by less than a voxel.

    Args:
        shapes: (z, y, x) of each volume.
    """
    last = np.array([shapes[volume_id][0] - 1 for volume_id in volume_ids], float)
    return np.column_stack([np.minimum(centers[:, 0], last), centers[:, 1:]])


def windowed(hu: Any, window_hu: Window, kind: str) -> Any:
    """Return HU as `Store.window` does."""
    if kind not in ("float32", "uint8"):
        raise ValueError(f"kind is {kind!r}; allowed: 'float32', 'uint8'")
    values = (to_grey if kind == "uint8" else to_share)(np.asarray(hu), window_hu)
    xarray = sys.modules.get("xarray")
    if xarray is None or not isinstance(hu, xarray.DataArray):
        return values
    windowed = hu.copy(data=values)
    return windowed.assign_attrs(units="1", window_hu=list(window_hu)).rename("windowed")
