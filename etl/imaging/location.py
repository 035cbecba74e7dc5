"""Normalised location of a lesion in its body, from its box and the mask of its key slice; line fits.

Source: fitted to published rows and their key slices; the release describes the location in words only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Published = slope x relative position + intercept, by axis: a min-max over the whole release.
PUBLISHED_LINES = {"x": (0.996425, -0.009063), "y": (0.813521, 0.119793)}


def norm_location(
    axis: str, low_px: ArrayLike, high_px: ArrayLike, first: ArrayLike, last: ArrayLike
) -> NDArray[np.float64]:
    """Return the normalised location along one axis.

    Args:
        axis: x or y.
        low_px, high_px: edges of the bounding box as printed, in pixels from 1.
        first, last: box of the location mask, in pixels from 0. The release mixes the two counts.

    Returns:
        float64 of the arguments' shape; NaN where the mask is one pixel wide.
    """
    slope, intercept = PUBLISHED_LINES[axis]
    centre = (np.asarray(low_px, np.float64) + np.asarray(high_px, np.float64)) / 2
    start = np.asarray(first, np.float64)
    width = np.asarray(last, np.float64) - start
    relative = (centre - start) / np.where(width > 0, width, np.nan)
    return slope * relative + intercept


def norm_location_px(axis: str, norm: float, first: int, last: int) -> float:
    """Return the pixel, from 0, at a normalised location: the inverse of `norm_location`.

    Args:
        axis: x or y.
        norm: normalised location.
        first, last: box of the location mask, in pixels from 0.
    """
    slope, intercept = PUBLISHED_LINES[axis]
    # The release adds a pixel counted from 1 to a mask counted from 0.
    return first + (norm - intercept) / slope * (last - first) - 1


@dataclass(frozen=True)
class Line:
    """A least-squares line y = slope x + intercept.

    Attributes:
        residual: root mean square of y - line, with n - 2 degrees of freedom; None for two points.
        largest_residual: the largest |y - line|.
        points: number of points, n.
    """

    slope: float
    intercept: float
    residual: float | None
    largest_residual: float
    points: int


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """Return the line through points, from exact sums: equal bits everywhere. None where all x are equal."""
    if len(set(x)) < 2:
        return None
    count = len(x)
    middle_x, middle_y = math.fsum(x) / count, math.fsum(y) / count
    squares = math.fsum((a - middle_x) ** 2 for a in x)
    slope = math.fsum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / squares
    apart = [b - middle_y - slope * (a - middle_x) for a, b in zip(x, y, strict=True)]
    return Line(
        slope,
        middle_y - slope * middle_x,
        math.sqrt(math.fsum(d * d for d in apart) / (count - 2)) if count > 2 else None,
        max(map(abs, apart)),
        count,
    )
