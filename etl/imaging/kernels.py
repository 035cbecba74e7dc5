"""Compiled inner loops: interpolation in plane and between planes, halving, integer sums.

They release the interpreter's lock, start no threads and never reorder floating-point sums, so the same input
gives the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

# 1.5 * 2**23: adding it to a float32 below 2**22 in size leaves no bits for the fraction, so the sum is
# rounded half to even; unlike a call of rint this is vectorised for every instruction set.
_ROUND = np.float32(12582912.0)


def compiled(function: Function) -> Function:
    """Return the function, compiled at its first call; machine code is kept next to the source or in a cache.

    Where neither can be written (a read-only container) each process compiles for itself.
    """
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # numba: no locator available
        return cast(Function, njit(nogil=True)(function))


@compiled
def resample_plane(
    plane: Any,
    low: Any,
    high: Any,
    y_index: Any,
    y_weight: Any,
    x_start: Any,
    x_weight: Any,
    work: Any,
    out: Any,
) -> None:
    """Clip a slice to [low, high] HU and interpolate it along y, then along x.

    Args:
        plane: int16 (rows, columns).
        low, high: float32.
        y_index, y_weight: int32 and float32, (out rows, taps).
        x_start: int32 (out columns,), the first of consecutive taps.
        x_weight: float32 (taps, out columns).
        work: float32 (rows + 1, columns), overwritten.
        out: float32 (out rows, out columns), overwritten.
    """
    rows, columns = plane.shape
    for y in range(rows):
        for x in range(columns):
            work[y, x] = min(max(np.float32(plane[y, x]), low), high)
    row = work[rows]
    for y in range(y_index.shape[0]):
        source, weight = work[y_index[y, 0]], y_weight[y, 0]
        for x in range(columns):
            row[x] = weight * source[x]
        for tap in range(1, y_index.shape[1]):
            source, weight = work[y_index[y, tap]], y_weight[y, tap]
            for x in range(columns):
                row[x] += weight * source[x]
        target = out[y]
        for x in range(target.shape[0]):
            target[x] = x_weight[0, x] * row[x_start[x]]
        for tap in range(1, x_weight.shape[0]):
            for x in range(target.shape[0]):
                target[x] += x_weight[tap, x] * row[x_start[x] + tap]


@compiled
def combine_planes(planes: Any, index: Any, weight: Any, low: Any, high: Any, work: Any, out: Any) -> None:
    """Interpolate one output plane between planes, clip it to [low, high] HU and round half to even.

    Args:
        planes: float32 (depth, rows, columns).
        index, weight: int32 and float32, (taps,).
        low, high: float32 whole numbers, at most 2**22 in size.
        work: float32 (columns,), overwritten.
        out: int16 (rows, columns), overwritten.
    """
    rows, columns = out.shape
    for y in range(rows):
        source = planes[index[0], y]
        for x in range(columns):
            work[x] = weight[0] * source[x]
        for tap in range(1, index.shape[0]):
            source = planes[index[tap], y]
            for x in range(columns):
                work[x] += weight[tap] * source[x]
        for x in range(columns):
            value = min(max(work[x], low), high)
            out[y, x] = np.int16((value + _ROUND) - _ROUND)


@compiled
def halve_mean(volume: Any, out: Any) -> None:
    """Write 2x2x2 means of int16 (z, y, x), rounded half to even; an odd end repeats its last voxel."""
    depth, rows, columns = volume.shape
    pairs = columns // 2
    for z in range(out.shape[0]):
        z0, z1 = 2 * z, min(2 * z + 1, depth - 1)
        for y in range(out.shape[1]):
            y0, y1 = 2 * y, min(2 * y + 1, rows - 1)
            a, b, c, d = volume[z0, y0], volume[z0, y1], volume[z1, y0], volume[z1, y1]
            for x in range(out.shape[2]):
                x0 = 2 * x
                x1 = x0 + 1 if x < pairs else x0
                total: Any = (
                    np.int32(a[x0]) + np.int32(b[x0]) + np.int32(c[x0]) + np.int32(d[x0])
                    + np.int32(a[x1]) + np.int32(b[x1]) + np.int32(c[x1]) + np.int32(d[x1])
                )  # fmt: skip
                # total / 8, rounded half to even: 3 before the shift, 4 where the quotient is odd
                out[z, y, x] = np.int16((total + 3 + ((total >> 3) & 1)) >> 3)


@compiled
def integer_moments(values: Any) -> Any:
    """Return minimum, maximum, sum and sum of squares of int16 (n,), n > 0; exact up to 8e9 values."""
    minimum, maximum = np.int64(values[0]), np.int64(values[0])
    total, squares = np.int64(0), np.int64(0)
    for at in range(values.shape[0]):
        value = np.int64(values[at])
        minimum, maximum = min(minimum, value), max(maximum, value)
        total += value
        squares += value * value
    return minimum, maximum, total, squares
