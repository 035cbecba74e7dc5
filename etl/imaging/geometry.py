"""Counts, spacings and positions of voxels. Axes are in (z, y, x) order everywhere.

z is the slice, y the image row, x the image column. Spacings and positions are in mm; positions count from
the centre of the first voxel.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Number = TypeVar("Number", float, "NDArray[np.float64]")
Matrix = tuple[tuple[float, float, float, float], ...]


# A plan of the release makes 60,000 calls with a few thousand different spacings.
@lru_cache(maxsize=8192)
def spacing_ratio(spacing_in_mm: float, spacing_out_mm: float) -> Fraction:
    """Return `spacing_out_mm / spacing_in_mm`, exact in the printed decimals of both.

    Raises:
        ValueError: a spacing is not positive and finite.
    """
    for name, spacing in (("spacing_in_mm", spacing_in_mm), ("spacing_out_mm", spacing_out_mm)):
        if not (math.isfinite(spacing) and spacing > 0):
            raise ValueError(f"{name} is {spacing}; allowed: positive numbers")
    return Fraction(repr(float(spacing_out_mm))) / Fraction(repr(float(spacing_in_mm)))


def output_count(n_in: int, spacing_in_mm: float, spacing_out_mm: float) -> int:
    """Return the number of voxels along a resampled axis: floor((n_in - 1) * spacing_in / spacing_out) + 1.

    The first output voxel sits on the first input voxel and none lies beyond the last. Computed without
    rounding, so 8 voxels of 0.1 mm give 2 of 0.7 mm.

    Raises:
        ValueError: `n_in` is less than 1 or a spacing is not positive.
    """
    if n_in < 1:
        raise ValueError(f"n_in is {n_in}; allowed: 1 or more")
    return int((n_in - 1) // spacing_ratio(spacing_in_mm, spacing_out_mm)) + 1


def output_shape(
    shape: tuple[int, int, int],
    spacing_in_mm: tuple[float, float, float],
    spacing_out_mm: tuple[float, float, float],
) -> tuple[int, int, int]:
    """Return the shape (z, y, x) of the resampled volume; see `output_count`."""
    z, y, x = (
        output_count(n, spacing_in, spacing_out)
        for n, spacing_in, spacing_out in zip(shape, spacing_in_mm, spacing_out_mm, strict=True)
    )
    return z, y, x


def voxel_to_lps_mm(spacing_mm: tuple[float, float, float]) -> Matrix:
    """Return the 4x4 affine that maps a column (z, y, x, 1) of voxel indices to (L, P, S, 1) in mm.

    L grows to the patient's left, P to posterior, S to superior. The release does not state the orientation:
    this is its official converter's assumption that slices run head to feet, rows anterior to posterior and
    columns from the patient's right to left. The origin is the first voxel's centre, not a position in the
    scanner.
    """
    z, y, x = spacing_mm
    return (
        (0.0, 0.0, float(x), 0.0),
        (0.0, float(y), 0.0, 0.0),
        (-float(z), 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, 1.0),
    )


def pixel_to_mm(pixel_1based: Number, spacing_mm: Number | float) -> Number:
    """Return the position in mm of a published coordinate: pixel 1 has its centre at 0 mm."""
    return (pixel_1based - 1) * spacing_mm


def mm_to_voxel(mm: Number, spacing_out_mm: Number | float) -> Number:
    """Return the 0-based, fractional voxel coordinate of a position in mm."""
    return mm / spacing_out_mm
