"""Masks of the body in a slice: the one behind published locations, and one without table and blankets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.imaging.masks import Mask, extent, fill_holes, keep_largest_component, open_blocks, pack

MASK_DTYPE = np.dtype(
    [
        ("column_first", np.int32),
        ("column_last", np.int32),
        ("row_first", np.int32),
        ("row_last", np.int32),
        ("area_px", np.int32),
        ("column_sum", np.int64),
        ("row_sum", np.int64),
    ]
)
"""A mask's box in pixels from 0, both ends included, its number of pixels, and the sums of their columns and
rows, which divided by that number give the centroid."""

SLICE_MASKS_DTYPE = np.dtype([("location", MASK_DTYPE), ("body", MASK_DTYPE)])
"""Both masks of a slice: the one behind published locations, and the body alone."""

# The release's own mask: stored value > 32000, opened with 7 x 7 ones.
LOCATION_ABOVE_HU = 32000 - 32768
LOCATION_BLOCK_PX = 7
# Half way from air to water: mattress foam and the air in the lungs lie below, fat and skin above.
BODY_ABOVE_HU = -500
# Separates the body from the table; thinner than any wall of the chest.
BODY_TOUCHING_MM = 3.0
# Removes the shell of a table that is still attached; the body is solid by then.
BODY_ATTACHED_MM = 10.0


def location_mask(hu: NDArray[np.int16]) -> Mask:
    """Return the mask that published lesion locations are relative to; it includes table and blankets.

    It reproduces them to 1e-6. Pixels outside the image count as background in the opening.

    Args:
        hu: a slice before clipping and resampling, (rows, columns).
    """
    mask = pack(hu > LOCATION_ABOVE_HU)
    open_blocks(mask, LOCATION_BLOCK_PX)
    return mask


def body_mask(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> Mask:
    """Return the mask of the body without table and blankets, its lungs and bowel filled.

    Threshold, opening, largest component, holes filled, and a wider opening of the solid body. Arms or legs
    that the slice shows apart from the trunk are left out, and so are lungs open to the image's border.

    Args:
        hu: a slice before clipping and resampling, (rows, columns).
        spacing_mm: (row, column) spacing.
    """
    columns = hu.shape[1]
    mask = pack(hu > BODY_ABOVE_HU)
    open_blocks(mask, _block_px(BODY_TOUCHING_MM, spacing_mm))
    keep_largest_component(mask, columns)
    fill_holes(mask, columns)
    open_blocks(mask, _block_px(BODY_ATTACHED_MM, spacing_mm))
    keep_largest_component(mask, columns)
    return mask


def measure_masks(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> NDArray[np.void]:
    """Measure both masks of a slice; see `location_mask` and `body_mask`.

    Returns:
        `SLICE_MASKS_DTYPE`, shape (). An empty mask is all zeros, but the box of `location` is then the whole
        slice, as published locations take it.
    """
    rows, columns = hu.shape
    found = np.zeros((), SLICE_MASKS_DTYPE)
    location = extent(location_mask(hu), columns)
    found["location"] = location if location[4] else (0, columns - 1, 0, rows - 1, 0, 0, 0)
    found["body"] = extent(body_mask(hu, spacing_mm), columns)
    return found


def _block_px(size_mm: float, spacing_mm: tuple[float, float]) -> int:
    return max(1, round(size_mm / max(spacing_mm)))
