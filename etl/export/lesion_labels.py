"""Lesions as labels on a volume's grid, for tools that learn from voxels: masks by others, else boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.store.crops import BOX
from etl.store.masks import StoredMasks
from etl.store.reader import Store

Box = tuple[slice, slice, slice]


def best_masks(store: Store, lesion_ids: pd.Series) -> dict[int, Mapping[str, Any]]:
    """Return the row of `masks` of each of these lesions that has one, the mask of the whole if there is."""
    masks = store.masks
    if not masks.exist:
        return {}
    found = ((int(lesion_id), masks.row(int(lesion_id))) for lesion_id in lesion_ids)
    return {lesion_id: row for lesion_id, row in found if row is not None}


def voxels_of_box(lesion: Any, volume: Any, depth_mm: float) -> Box:
    """Return the voxels (z, y, x) with their centre in a lesion's box, made as deep as this; one at least.

    Args:
        lesion, volume: rows of the tables, as named tuples.
        depth_mm: of the box along z, around the key slice.
    """
    x1, y1, x2, y2 = (float(getattr(lesion, name)) for name in BOX)
    half = depth_mm / float(volume.spacing_z_mm) / 2
    bounds = ((lesion.z_vox - half, lesion.z_vox + half), (y1, y2), (x1, x2))
    shape = volume.shape_z, volume.shape_y, volume.shape_x
    z, y, x = (_inside(low, high, int(n)) for (low, high), n in zip(bounds, shape, strict=True))
    return z, y, x


def _inside(low: float, high: float, count: int) -> slice:
    first, last = math.ceil(low - 1e-6), math.floor(high + 1e-6)
    if last < first:
        first = last = round((low + high) / 2)
    first, last = min(max(first, 0), count - 1), min(max(last, 0), count - 1)
    return slice(first, last + 1)


def paint(labels: NDArray[Any], masks: StoredMasks, row: Mapping[str, Any], value: int) -> None:
    """Write a value into the voxels of a mask.

    Args:
        labels: (z, y, x) of the whole volume, changed in place.
        row: of the table `masks`.
    """
    labels[np.asarray(masks.read(row))] = value
