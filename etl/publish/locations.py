"""Published locations against what the key slices say: proof that each lesion sits on its own slice.

Pure: tables' columns in, tables' columns out.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl.imaging.body import MASK_DTYPE, SLICE_MASKS_DTYPE, mask_columns
from etl.imaging.location import (
    AGREES_WITHIN,
    EXACT_WITHIN,
    PUBLISHED_LINES,
    Line,
    fit_line,
    norm_location,
)
from etl.plan.plan import PlannedVolume
from etl.release.names import SeriesKey
from etl.store.receipts import Receipt

Built = tuple[PlannedVolume, Receipt]

PREDICTS_FROM_SPAN_MM = 50.0
"""Key slices of a series closer together than this say too little of the slope to predict from it."""


def lesion_columns(lesions: pd.DataFrame, built: Sequence[Built]) -> dict[str, object]:
    """Recomputed locations for the `lesions` table.

    Args:
        built: the volume that holds the key slice of each row.
    """
    key_slices = lesions["key_slice_index"].tolist()
    masks = np.zeros(len(lesions), MASK_DTYPE)
    for row, (key_slice, (volume, receipt)) in enumerate(zip(key_slices, built, strict=True)):
        masks[row] = receipt.slice_masks["location"][key_slice - volume.first]
    columns: dict[str, object] = {}
    agrees = np.ones(len(lesions), bool)
    known = np.ones(len(lesions), bool)
    for axis, side in (("x", "column"), ("y", "row")):
        low_px, high_px = (lesions[f"bbox_{axis}{end}_px"].to_numpy() for end in (1, 2))
        found = norm_location(axis, low_px, high_px, masks[f"{side}_first"], masks[f"{side}_last"])
        difference = found - lesions[f"norm_{axis}"].to_numpy()
        columns[f"norm_{axis}_recomputed"] = found
        columns[f"norm_{axis}_difference"] = difference
        known &= ~np.isnan(found)
        agrees &= np.abs(difference) <= AGREES_WITHIN
    columns["location_agrees"] = pd.Series(agrees, dtype="boolean").mask(~known)
    return columns


def slice_columns(built: Sequence[Built]) -> dict[str, np.ndarray]:
    """Where the body lies, for the `slices` table: one row a slice of each volume, in order."""
    none = np.zeros(0, SLICE_MASKS_DTYPE)
    spacing_mm = np.array([v.source_spacing_mm[1:] for v, _ in built], float).reshape(-1, 2)
    return mask_columns(
        np.concatenate([none, *(receipt.slice_masks for _, receipt in built)]),
        np.repeat(spacing_mm, [len(volume.slices) for volume, _ in built], axis=0),
    )


def z_lines(lesions: pd.DataFrame, built: Sequence[Built]) -> list[tuple[Line, float] | None]:
    """For each volume the line of published z on its z_mm, and how far apart the key slices lie, in mm.

    A line is of all key slices of the series, on slice number x slice interval; where the intervals within a
    series differ, of the volume's own key slices. None where there are not two.

    Args:
        lesions: of these volumes.
    """
    scores: dict[SeriesKey, dict[int, float]] = defaultdict(dict)
    names = ("patient_index", "study_index", "series_index", "key_slice_index", "norm_z")
    for *key, index, z in zip(*(lesions[name].tolist() for name in names), strict=True):
        scores[SeriesKey(*key)][index] = z
    intervals: dict[SeriesKey, set[float]] = defaultdict(set)
    for volume, _ in built:
        intervals[volume.series].add(volume.source_spacing_mm[0])
    lines: list[tuple[Line, float] | None] = []
    for volume, _ in built:
        interval_mm = volume.source_spacing_mm[0]
        whole = len(intervals[volume.series]) == 1
        points = [
            ((index - volume.first) * interval_mm, z)
            for index, z in sorted(scores[volume.series].items())
            if whole or volume.first <= index <= volume.last
        ]
        line = fit_line(*zip(*points, strict=True)) if points else None
        lines.append((line, points[-1][0] - points[0][0]) if line else None)
    return lines


def volume_z_columns(lines: Sequence[tuple[Line, float] | None]) -> dict[str, object]:
    """The lines of z, for the `volumes` table."""
    nothing = (Line(np.nan, np.nan, None, np.nan, 0), np.nan)
    rows = [line or nothing for line in lines]
    return {
        "norm_z_slope_per_mm": [line.slope for line, _ in rows],
        "norm_z_intercept": [line.intercept for line, _ in rows],
        "norm_z_residual": [line.residual for line, _ in rows],
        "norm_z_key_slices": [line.points for line, _ in rows],
        "norm_z_span_mm": [span_mm for _, span_mm in rows],
    }


def predicted_z(lines: Sequence[tuple[Line, float] | None], z_mm: Sequence[np.ndarray]) -> np.ndarray:
    """z of every slice of each volume by its line, for the `slices` table; NaN where the span is too small.

    Args:
        z_mm: of the slices of each volume.
    """
    parts = [np.zeros(0)]
    for line, heights_mm in zip(lines, z_mm, strict=True):
        if line is None or line[1] < PREDICTS_FROM_SPAN_MM:
            parts.append(np.full(len(heights_mm), np.nan))
        else:
            parts.append(line[0].intercept + line[0].slope * heights_mm)
    return np.concatenate(parts)


@dataclass(frozen=True)
class Refit:
    """The line of one axis of published locations, fitted anew to a whole release.

    Attributes:
        slope, intercept: to compare with `PUBLISHED_LINES`.
        residual, largest_residual: of the published locations that it was fitted to, from the new line.
        fitted: lesions that it was fitted to.
        left_out: lesions further than `AGREES_WITHIN` from the line through most: of wrong slices, mostly.
        constants_hold: whether the constants' line is the new one within `AGREES_WITHIN`, across the body.
    """

    slope: float
    intercept: float
    residual: float | None
    largest_residual: float
    constants_hold: bool
    fitted: int
    left_out: int


@dataclass(frozen=True)
class Agreement:
    """How many published locations are those that their key slices give.

    Attributes:
        compared: lesions whose location could be recomputed.
        agreeing: those that agree within `tolerance`.
        tolerance: in x and in y.
        exact: those that agree within `exact_tolerance`, as the same pixels do.
        refit: by axis, where the whole release was built; otherwise None.
    """

    compared: int
    agreeing: int
    tolerance: float
    exact: int
    exact_tolerance: float
    refit: dict[str, Refit | None] | None

    @property
    def share(self) -> float:
        """Agreeing of compared; 1 where there is none to compare."""
        return self.agreeing / self.compared if self.compared else 1.0

    def as_json(self) -> dict[str, Any]:
        """As a version file has it."""
        return asdict(self) | {"share": self.share}


def agreement(lesions: pd.DataFrame, whole_release: bool) -> Agreement:
    """What the `lesions` table says about published locations.

    Args:
        whole_release: fit the constants anew.
    """
    agrees = lesions["location_agrees"].dropna().astype(bool)
    differences = lesions.loc[agrees.index, [f"norm_{axis}_difference" for axis in PUBLISHED_LINES]].abs()
    exact = int((differences.max(axis=1) <= EXACT_WITHIN).sum())
    refit = {axis: _refit(lesions, axis) for axis in PUBLISHED_LINES} if whole_release else None
    return Agreement(len(agrees), int(agrees.sum()), AGREES_WITHIN, exact, EXACT_WITHIN, refit)


def _refit(lesions: pd.DataFrame, axis: str) -> Refit | None:
    known = lesions[lesions[f"norm_{axis}_recomputed"].notna()]
    slope, intercept = PUBLISHED_LINES[axis]
    relative = ((known[f"norm_{axis}_recomputed"] - intercept) / slope).tolist()
    published = known[f"norm_{axis}"].tolist()
    most = _line_of_most(relative, published)
    if most is None:
        return None
    # Not those that agree with the constants: these are what is in question.
    near = [
        (x, y)
        for x, y in zip(relative, published, strict=True)
        if abs(y - most[1] - most[0] * x) <= AGREES_WITHIN
    ]
    line = fit_line(*zip(*near, strict=True)) if near else None
    if line is None:
        return None
    # Lesions lie from one side of the body, 0, to the other, 1.
    ends = (line.intercept - intercept, line.intercept + line.slope - intercept - slope)
    holds = max(map(abs, ends)) <= AGREES_WITHIN
    return Refit(
        line.slope,
        line.intercept,
        line.residual,
        line.largest_residual,
        holds,
        line.points,
        len(known) - line.points,
    )


def _line_of_most(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Slope and intercept of the line through most points, wherever up to a quarter of them are.

    The median slope of pairs that lie half the points apart along x, then the median intercept, after Theil
    (1950). None where all x are one.
    """
    points = sorted(zip(x, y, strict=True))
    half = (len(points) + 1) // 2
    pairs = [(a, b) for a, b in zip(points, points[half:], strict=False) if a[0] < b[0]]
    if not pairs:
        return None
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs)
    return slope, statistics.median(b - slope * a for a, b in points)
