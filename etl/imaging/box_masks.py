"""Masks of lesions as the box that holds them: from the source's grid to the stored one, and coarser.

A voxel of either grid is a box around its centre, and both grids have the centre of voxel 0 in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from etl.imaging.geometry import output_count, spacing_ratio

Index = tuple[int, int, int]
# Shares are sums of a few products of ratios; those of a half are told from others far above rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask in a grid of voxels.

    Attributes:
        voxels: bool (z, y, x), True inside; no plane at its six sides is empty.
        start: index (z, y, x) in the grid of its first voxel.
    """

    voxels: NDArray[np.bool_]
    start: Index

    @property
    def stop(self) -> Index:
        """Index (z, y, x) after its last voxel."""
        z, y, x = (low + n for low, n in zip(self.start, self.voxels.shape, strict=True))
        return z, y, x

    @property
    def count(self) -> int:
        """Voxels inside."""
        return int(np.count_nonzero(self.voxels))

    def overlaps(self, other: BoxMask) -> bool:
        """Return if a voxel lies in both."""
        low = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        high = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return False
        parts = [
            mask.voxels[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, mask.start, strict=True))]
            for mask in (self, other)
        ]
        return bool((parts[0] & parts[1]).any())


def box_mask(voxels: NDArray[np.bool_], start: Index = (0, 0, 0)) -> BoxMask | None:
    """Return the mask cut to its voxels; None where it has none."""
    bounds = []
    for axis in range(3):
        planes = np.flatnonzero(voxels.any(axis=tuple(a for a in range(3) if a != axis)))
        if not planes.size:
            return None
        bounds.append((int(planes[0]), int(planes[-1]) + 1))
    z, y, x = (low + first for low, (first, _) in zip(start, bounds, strict=True))
    return BoxMask(np.ascontiguousarray(voxels[tuple(slice(*bound) for bound in bounds)]), (z, y, x))


def clip_to(mask: BoxMask, shape: Index) -> BoxMask | None:
    """Return the part of a mask, whose start may be negative, in a grid of this shape; None without any."""
    cut = tuple(
        slice(max(-low, 0), max(min(low + n, limit) - low, 0))
        for low, n, limit in zip(mask.start, mask.voxels.shape, shape, strict=True)
    )
    z, y, x = (max(low, 0) for low in mask.start)
    return box_mask(mask.voxels[cut], (z, y, x))


def to_stored_grid(
    mask: BoxMask,
    shape: Index,
    spacing_in_mm: tuple[float, float, float],
    spacing_out_mm: tuple[float, float, float],
    *,
    is_3d: bool,
) -> BoxMask:
    """Return a mask of the source's grid in the stored one.

    A stored voxel is inside if more than half of it is, and at just half if the nearest source voxel is (that
    at floor(c + 0.5)). A mask of one slice fills the planes to which its slice is the nearest, at least one.
    A mask is never empty: where no voxel is half inside, the one with the largest share is.

    Args:
        mask: in the source's grid.
        shape: (z, y, x) of the source's grid.
        spacing_in_mm, spacing_out_mm: of the two grids, (z, y, x).
        is_3d: False for a mask of one slice, which says nothing about the next ones.
    """
    shares: NDArray[np.float64] = mask.voxels.astype(np.float64)
    start: list[int] = []
    nearest: list[NDArray[np.int64]] = []
    for axis in range(3):
        low, high = mask.start[axis], mask.stop[axis]
        grid = shape[axis], spacing_in_mm[axis], spacing_out_mm[axis]
        first, weight, near = (
            _plane_weights(low, *grid) if axis == 0 and not is_3d else _weights(low, high, *grid)
        )
        start.append(first)
        nearest.append(near)
        shares = np.moveaxis(np.tensordot(weight, shares, (1, axis)), 0, axis)
    inside = shares > 0.5 + _ROUNDING
    for z, y, x in np.argwhere(np.abs(shares - 0.5) <= _ROUNDING).tolist():
        at = int(nearest[0][z]), int(nearest[1][y]), int(nearest[2][x])
        inside[z, y, x] = min(at) >= 0 and bool(mask.voxels[at])
    if not inside.any():
        inside.flat[int(np.argmax(shares))] = True
    found = box_mask(inside, (start[0], start[1], start[2]))
    assert found is not None
    return found


def halve(mask: BoxMask, shape: Index) -> BoxMask:
    """Return the mask in the grid of half the resolution: a voxel is inside if half of its 2x2x2 are.

    Args:
        shape: (z, y, x) of the grid that the mask is in; odd ends have blocks of one plane.
    """
    low = [first // 2 for first in mask.start]
    counts = [-(-last // 2) - first for last, first in zip(mask.stop, low, strict=True)]
    block = np.zeros([2 * n for n in counts], np.uint8)
    inner = tuple(
        slice(first - 2 * at, first - 2 * at + n)
        for first, at, n in zip(mask.start, low, mask.voxels.shape, strict=True)
    )
    block[inner] = mask.voxels
    inside = block.reshape(counts[0], 2, counts[1], 2, counts[2], 2).sum(axis=(1, 3, 5), dtype=np.int64)
    sizes = [
        np.minimum(2, n - 2 * (first + np.arange(count)))
        for n, first, count in zip(shape, low, counts, strict=True)
    ]
    whole = sizes[0][:, None, None] * sizes[1][None, :, None] * sizes[2][None, None, :]
    half = 2 * inside >= whole
    if not half.any():
        half.flat[int((inside / whole).argmax())] = True
    found = box_mask(half, (low[0], low[1], low[2]))
    assert found is not None
    return found


@lru_cache(maxsize=4096)
def _weights(
    low: int, high: int, n_in: int, spacing_in_mm: float, spacing_out_mm: float
) -> tuple[int, NDArray[np.float64], NDArray[np.int64]]:
    """Return for the output voxels that touch the input voxels [low, high) the first one's index, the share
    of each that lies in each input voxel, (outputs, inputs), and its nearest input voxel less `low`, or -1.

    Whole numbers: output o covers [2o - 1, 2o + 1] * top and input i [2i - 1, 2i + 1] * bottom.
    """
    ratio = spacing_ratio(spacing_in_mm, spacing_out_mm)
    top, bottom = ratio.numerator, ratio.denominator
    last = output_count(n_in, spacing_in_mm, spacing_out_mm) - 1
    first = min(max(((2 * low - 1) * bottom + top) // (2 * top), 0), last)
    end = max(min(-(-((2 * high - 1) * bottom - top) // (2 * top)), last), first)
    weight, near = np.zeros((end - first + 1, high - low)), np.full(end - first + 1, -1)
    for row, o in enumerate(range(first, end + 1)):
        from_, to = max((2 * o - 1) * top, -bottom), min((2 * o + 1) * top, (2 * n_in - 1) * bottom)
        for column, i in enumerate(range(low, high)):
            shared = min(to, (2 * i + 1) * bottom) - max(from_, (2 * i - 1) * bottom)
            weight[row, column] = max(shared, 0) / (to - from_)
        at = min((2 * o * top + bottom) // (2 * bottom), n_in - 1)
        if low <= at < high:
            near[row] = at - low
    return first, weight, near


@lru_cache(maxsize=4096)
def _plane_weights(
    at: int, n_in: int, spacing_in_mm: float, spacing_out_mm: float
) -> tuple[int, NDArray[np.float64], NDArray[np.int64]]:
    """Return `_weights` of one input slice that fills the output planes it is nearest to, at least one."""
    first, _, near = _weights(at, at + 1, n_in, spacing_in_mm, spacing_out_mm)
    planes = np.flatnonzero(near == 0)
    if planes.size:
        return first + int(planes[0]), np.ones((planes.size, 1)), near[planes]
    ratio = spacing_ratio(spacing_in_mm, spacing_out_mm)
    top, bottom = ratio.numerator, ratio.denominator
    last = output_count(n_in, spacing_in_mm, spacing_out_mm) - 1
    return min((2 * at * bottom + top) // (2 * top), last), np.ones((1, 1)), np.zeros(1, np.int64)


def outline(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a plane, (rows, columns), that are inside and share an edge with one outside."""
    padded = np.pad(plane, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return plane & ~inner


def run_lengths(plane: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs down one column after the other, the first outside, as COCO counts them."""
    flat = plane.ravel(order="F")
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    counts = [b - a for a, b in pairwise(edges)] if flat.size else []
    return [0, *counts] if flat.size and flat[0] else counts
