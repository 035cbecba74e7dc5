"""Interpolation along one axis: the input voxels of each output voxel, and their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from etl.imaging.geometry import output_count, spacing_ratio

INTERPOLATIONS = ("nearest", "linear", "cubic")

_RADIUS = {"linear": 1, "cubic": 2}


@dataclass(frozen=True)
class Taps:
    """Interpolation along one axis: `out[o] = sum(weight[o, t] * data[index[o, t]] for t in range(n_taps))`.

    Attributes:
        index: int32 (n_out, n_taps). A row's indices are consecutive, and first indices never decrease.
        weight: float32 (n_out, n_taps). A row's weights sum to 1.
    """

    index: NDArray[np.int32]
    weight: NDArray[np.float32]


def is_identity(n_in: int, spacing_in_mm: float, spacing_out_mm: float) -> bool:
    """Return whether an axis stays as it is, whatever the interpolation."""
    return n_in == 1 or spacing_ratio(spacing_in_mm, spacing_out_mm) == 1


def tap_count(
    n_in: int, spacing_in_mm: float, spacing_out_mm: float, interpolation: str, antialias: bool
) -> int:
    """Return the number of taps in a row of `axis_taps` with the same arguments."""
    if interpolation == "nearest" or is_identity(n_in, spacing_in_mm, spacing_out_mm):
        return 1
    stretch = _stretch(spacing_ratio(spacing_in_mm, spacing_out_mm), antialias)
    return min(2 * _reach(interpolation, stretch), n_in)


@lru_cache(maxsize=256)
def axis_taps(
    n_in: int, spacing_in_mm: float, spacing_out_mm: float, interpolation: str, antialias: bool
) -> Taps:
    """Return the taps of one axis; they preserve constants and linear ramps, up to the borders.

    Output voxel o lies at input coordinate c = o * spacing_out / spacing_in. `nearest` takes the voxel at
    floor(c + 0.5). `linear` weighs by a triangle and `cubic` by the cubic convolution kernel with a = -0.5
    (Keys, IEEE Trans. Acoust. Speech Signal Process. 29(6) 1153, 1981). With `antialias` an axis that is
    reduced uses the kernel stretched by spacing_out / spacing_in; `nearest` ignores it. Beyond its ends the
    axis continues by odd reflection about the last sample, x[-i] = 2 x[0] - x[i], folded into the weights.

    Args:
        n_in: input voxels, 1 or more.
        spacing_in_mm, spacing_out_mm: positive.
        interpolation: one of INTERPOLATIONS.
        antialias: stretch the kernel where spacing_out_mm > spacing_in_mm.

    Returns:
        Taps of `output_count(n_in, spacing_in_mm, spacing_out_mm)` rows, read-only.

    Raises:
        ValueError: an argument is not as above.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}; allowed: {', '.join(INTERPOLATIONS)}")
    n_out = output_count(n_in, spacing_in_mm, spacing_out_mm)
    ratio = spacing_ratio(spacing_in_mm, spacing_out_mm)
    top, bottom = ratio.numerator, ratio.denominator
    # In whole numbers, so that no coordinate depends on how a machine rounds a product.
    if is_identity(n_in, spacing_in_mm, spacing_out_mm):
        return _one_tap(np.arange(n_out))
    if interpolation == "nearest":
        rounded = [(2 * o * top + bottom) // (2 * bottom) for o in range(n_out)]
        return _one_tap(np.minimum(np.array(rounded, dtype=np.int64), n_in - 1))
    floor = np.array([o * top // bottom for o in range(n_out)], dtype=np.int64)
    fraction = np.array([o * top % bottom / bottom for o in range(n_out)], dtype=np.float64)
    weight = _kernel_weights(fraction, interpolation, _stretch(ratio, antialias))
    return _folded(floor, weight, n_in)


def _stretch(ratio: Fraction, antialias: bool) -> float:
    return max(1.0, float(ratio)) if antialias else 1.0


def _reach(interpolation: str, stretch: float) -> int:
    """Return the number of samples on either side of c that the stretched kernel touches."""
    return math.ceil(_RADIUS[interpolation] * stretch)


def _one_tap(index: NDArray[np.int64]) -> Taps:
    return _read_only(index[:, np.newaxis], np.ones((len(index), 1)))


def _read_only(index: NDArray[np.int64], weight: NDArray[np.float64]) -> Taps:
    taps = Taps(np.ascontiguousarray(index, dtype=np.int32), np.ascontiguousarray(weight, dtype=np.float32))
    taps.index.setflags(write=False)
    taps.weight.setflags(write=False)
    return taps


def _kernel_weights(fraction: NDArray[np.float64], interpolation: str, stretch: float) -> NDArray[np.float64]:
    """Return weights of samples floor(c) + 1 - reach to floor(c) + reach, (n_out, 2 * reach), with sum 1."""
    reach = _reach(interpolation, stretch)
    offset = np.arange(1 - reach, reach + 1) - fraction[:, np.newaxis]
    distance = np.abs(offset) / stretch
    weight = _triangle(distance) if interpolation == "linear" else _keys(distance)
    weight /= weight.sum(axis=1, keepdims=True)
    # A stretched kernel sampled at whole steps has its centre slightly off c. Moving weight between the two
    # samples around c puts it back, and ramps come out exactly.
    moment = (weight * offset).sum(axis=1)
    weight[:, reach - 1] += moment
    weight[:, reach] -= moment
    return weight


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - distance)


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))


def _folded(floor: NDArray[np.int64], weight: NDArray[np.float64], n_in: int) -> Taps:
    """Fold samples beyond the axis's ends back onto it.

    With p = n_in - 1, odd reflection about both ends makes sample 2 p m + r equal to
    x[r] + 2 m (x[p] - x[0]) for 0 <= r <= p, and 2 x[p] - x[2 p - r] + 2 m (x[p] - x[0]) for p < r < 2 p.
    """
    reach = weight.shape[1] // 2
    last = n_in - 1
    n_taps = min(2 * reach, n_in)
    start = np.clip(floor + 1 - reach, 0, n_in - n_taps)
    folded = np.zeros((len(floor), n_taps))
    rows = np.arange(len(floor))

    def add(index: NDArray[np.int64] | int, part: NDArray[np.float64]) -> None:
        # A sample outside the row's window has part 0 there, so it may land on any tap.
        folded[rows, np.clip(index - start, 0, n_taps - 1)] += part

    for tap in range(2 * reach):
        sample = floor + 1 - reach + tap
        period, r = np.divmod(sample, 2 * last)
        mirrored = r > last
        add(np.where(mirrored, 2 * last - r, r), np.where(mirrored, -1.0, 1.0) * weight[:, tap])
        add(0, -2.0 * period * weight[:, tap])
        add(last, 2.0 * (period + mirrored) * weight[:, tap])
    return _read_only(start[:, np.newaxis] + np.arange(n_taps), folded)
