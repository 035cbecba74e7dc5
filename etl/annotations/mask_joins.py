"""Join masks to printed rows: flip the file's grid into the source's, hold the mask to the RECIST lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etl.annotations.entries import Fault, FaultyEntry, MaskEntry, Missing
from etl.annotations.joined import JoinedMask, Unmatched
from etl.annotations.printed_rows import PrintedRow, Rows

JOIN_VERSION = 3
"""Part of the fingerprints of labels; increase it where the same files give other masks or measures."""
MOST_END_POINT_PX = 6.0
"""Largest distance to an end point: 1 of 172 masks is farther, and 94 % or more of those moved by 10 px."""
LEAST_RECIST_SHARE = 0.5
MOST_SPACING_ERROR = 1e-3
_POINTS_A_LINE = 64


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """A mask in its source's grid.

    Attributes:
        voxels: True inside; axes (slice, row, column), slices ascending.
        start: slice number, row and column (0-based) of its first voxel.
    """

    voxels: NDArray[np.bool_]
    start: tuple[int, int, int]


def place_mask(entry: MaskEntry, row: PrintedRow) -> PlacedMask | FaultyEntry:
    """Put a mask into the grid of a row's sub-volume, whose three axes the file reverses.

    Column = W - 1 - i, row = H - 1 - j; slice = last - k of a 3D mask. The k of a GrabCut mask counts in the
    sub-volume cut symmetric about the key slice.
    """
    error = max(abs(a / b - 1) for a, b in zip(entry.spacing_mm, row.spacing_mm, strict=True))
    if error > MOST_SPACING_ERROR:
        return FaultyEntry(
            entry.where,
            Fault.MASK_GRID_DISAGREES,
            f"voxels of {entry.spacing_mm} mm; allowed: {row.spacing_mm}",
        )
    (i, j, k), (width, height), (first, last) = entry.start, row.size_px, row.volume
    count = entry.voxels.shape
    voxels = np.ascontiguousarray(entry.voxels[::-1, ::-1, ::-1].transpose(2, 1, 0))
    column, line, top = width - i - count[0], height - j - count[1], last - k - count[2] + 1
    if not entry.is_3d:
        middle = min(last - row.key_slice, row.key_slice - first)
        if (k, count[2]) != (middle, 1):
            return FaultyEntry(
                entry.where,
                Fault.MASK_MISSES_KEY_SLICE,
                f"its voxels lie in planes {k} to {k + count[2] - 1}; allowed: {middle}, the key slice",
            )
        top = row.key_slice
    if column < 0 or line < 0 or column + count[0] > width or line + count[1] > height:
        return FaultyEntry(
            entry.where, Fault.MASK_OUTSIDE_IMAGE, f"it reaches out of the image of {width} x {height} px"
        )
    if top < first or top + count[2] - 1 > last:
        return FaultyEntry(
            entry.where,
            Fault.SLICE_OUTSIDE_VOLUME,
            f"it reaches slices {top} to {top + count[2] - 1}; allowed: {first} to {last}",
        )
    return PlacedMask(voxels, (top, line, column))


def join_mask(entry: MaskEntry, rows: Rows) -> JoinedMask | Unmatched | FaultyEntry:
    """Join a mask to the lesion of its key slice whose RECIST end points lie nearest to it.

    Of equals the first in the CSV is taken. A mask that leaves out its key slice, lies farther than
    `MOST_END_POINT_PX` from an end point, or covers less than `LEAST_RECIST_SHARE` of the lines is rejected.
    """
    candidates = rows.by_slice.get((entry.series, entry.slice_index), ())
    if not candidates:
        return Unmatched(entry.where, Missing.NOT_IN_CSV)
    joined: list[JoinedMask] = []
    faults: list[FaultyEntry] = []
    for row in candidates:
        placed = place_mask(entry, row)
        if isinstance(placed, FaultyEntry):
            faults.append(placed)
            continue
        at = row.key_slice - placed.start[0]
        plane = placed.voxels[at] if 0 <= at < len(placed.voxels) else None
        if plane is None or not plane.any():
            slices = f"{placed.start[0]} to {placed.start[0] + len(placed.voxels) - 1}"
            message = f"its slices are {slices}; allowed: with the key slice, {row.key_slice}"
            faults.append(FaultyEntry(entry.where, Fault.MASK_MISSES_KEY_SLICE, message))
            continue
        joined.append(_measured(entry, row, plane, placed.start, len(candidates)))
    if not joined:
        return faults[0]
    best = min(joined, key=lambda found: found.end_point_px)
    if best.end_point_px > MOST_END_POINT_PX or best.recist_share < LEAST_RECIST_SHARE:
        return FaultyEntry(
            entry.where,
            Fault.MASK_OFF_LESION,
            f"a RECIST end point lies {best.end_point_px:.1f} px away and {best.recist_share:.0%} of the "
            f"lines inside; allowed: {MOST_END_POINT_PX:g} px and {LEAST_RECIST_SHARE:.0%}",
        )
    return best


def _measured(
    entry: MaskEntry, row: PrintedRow, plane: NDArray[np.bool_], start: tuple[int, int, int], candidates: int
) -> JoinedMask:
    points = np.array(row.recist_px)
    lines, columns = np.nonzero(plane)
    pixels = np.stack([columns + start[2], lines + start[1]], axis=1)
    gaps = points[:, None, :] - pixels[None, :, :]
    end_point = float(np.sqrt((gaps**2).sum(axis=-1)).min(axis=1).max())
    steps = np.linspace(0.0, 1.0, _POINTS_A_LINE)[:, None]
    along = np.concatenate([points[a] * (1 - steps) + points[a + 1] * steps for a in (0, 2)])
    at = np.floor(along + 0.5).astype(int) - (start[2], start[1])
    within = (at >= 0).all(axis=1) & (at[:, 0] < plane.shape[1]) & (at[:, 1] < plane.shape[0])
    share = float(plane[at[within, 1], at[within, 0]].sum() / len(along))
    centre = (pixels.min(axis=0) + pixels.max(axis=0) - points.min(axis=0) - points.max(axis=0)) / 2
    count = int(entry.voxels.sum())
    volume = count * row.spacing_mm[0] * row.spacing_mm[1] * row.spacing_mm[2]
    residual = float(centre[0]), float(centre[1])
    return JoinedMask(entry.where, row, entry.is_3d, count, volume, share, end_point, residual, candidates)
