"""Published locations against the masks of the key slices: proof that each lesion sits on its own slice."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.imaging.location import PUBLISHED_LINES, fit_line, norm_location
from etl.tables.built import BuiltVolume
from etl.tables.checks import StoredTables, Wrong, differing

if TYPE_CHECKING:
    import pandas as pd

AGREES_WITHIN = 0.002
"""Largest difference at which `location_agrees`; locations of other slices are further off."""

EXACT_WITHIN = 1e-4
"""Largest difference on the same slice: printed digits leave 1e-6, neighbouring slices mostly more."""

# Locations are sums and quotients of floats.
_TOLERANCE = 1e-9


def location_columns(lesions: pd.DataFrame, built: Sequence[BuiltVolume]) -> dict[str, object]:
    """Return published locations recomputed from the masks of the key slices, and whether they agree."""
    import pandas as pd

    key_slices = lesions["key_slice_index"].tolist()
    rows = [
        volume.slice_masks["location"][key_slice - volume.first]
        for key_slice, volume in zip(key_slices, built, strict=True)
    ]
    columns: dict[str, object] = {}
    agrees = np.ones(len(lesions), bool)
    known = np.ones(len(lesions), bool)
    for axis, side in (("x", "column"), ("y", "row")):
        low_px, high_px = (lesions[f"bbox_{axis}{end}_px"].to_numpy() for end in (1, 2))
        first, last = (np.array([row[f"{side}_{end}"] for row in rows]) for end in ("first", "last"))
        found = norm_location(axis, low_px, high_px, first, last)
        difference = found - lesions[f"norm_{axis}"].to_numpy()
        columns[f"norm_{axis}_recomputed"] = found
        columns[f"norm_{axis}_difference"] = difference
        known &= ~np.isnan(found)
        agrees &= np.abs(difference) <= AGREES_WITHIN
    columns["location_agrees"] = pd.Series(agrees, dtype="boolean").mask(~known)
    return columns


def check_locations(stored: StoredTables) -> Iterator[Wrong]:
    """Check recomputed locations against the masks in `slices`, and the version's counts of them."""
    lesions = stored.rows["lesions"]
    # Versions from before locations were compared lack the column.
    if not stored.complete.issuperset({"lesions", "slices"}) or "location_agrees" not in lesions:
        return
    keys = ["volume_id", "slice_index"]
    placed = lesions.rename(columns={"key_slice_index": "slice_index"}).merge(
        stored.rows["slices"].drop_duplicates(keys), on=keys, suffixes=("", "_of_slice"), validate="m:1"
    )
    furthest = np.zeros(len(placed))
    for axis, side in (("x", "column"), ("y", "row")):
        low_px, high_px, first, last, found, difference, published = (
            placed[name].to_numpy(float)
            for name in (
                *(f"bbox_{axis}1_px", f"bbox_{axis}2_px"),
                *(f"location_mask_{side}_first", f"location_mask_{side}_last"),
                *(f"norm_{axis}_recomputed", f"norm_{axis}_difference", f"norm_{axis}"),
            )
        )
        expected = norm_location(axis, low_px, high_px, first, last)
        furthest = np.maximum(furthest, np.abs(expected - published))
        for name, values, right in (
            (f"norm_{axis}_recomputed", found, expected),
            (f"norm_{axis}_difference", difference, expected - published),
        ):
            same = np.isclose(values, right, rtol=0, atol=_TOLERANCE, equal_nan=True)
            yield from _not_as_masks(placed, name, values, right, same)
    agrees = (furthest <= AGREES_WITHIN).astype(object)
    agrees[np.isnan(furthest)] = None
    named = placed["location_agrees"].to_numpy(object)
    yield from _not_as_masks(placed, "location_agrees", named, agrees, named == agrees)
    own = agreement(lesions, whole_release=False).as_json()
    names = ("compared", "agreeing", "exact")
    values = [(f"locations.{name}", stored.version["locations"][name], own[name]) for name in names]
    yield from differing(stored.where, values)


def _not_as_masks(
    lesions: pd.DataFrame, name: str, found: np.ndarray, expected: np.ndarray, same: np.ndarray
) -> Iterator[Wrong]:
    columns = (lesions["lesion_id"].to_numpy(), found, expected)
    for lesion_id, value, right in zip(*(column[~same] for column in columns), strict=True):
        text = f"{name} is not what the slice's mask gives"
        yield Wrong(text, f"lesions: lesion_id {lesion_id}", f"{value}", f"{right}")


@dataclass(frozen=True)
class Refit:
    """The line of one axis of published locations, fitted to a whole release.

    Attributes:
        slope, intercept: of the fitted line, to compare with `PUBLISHED_LINES`.
        residual, largest_residual: root mean square and greatest distance of the fitted locations from it.
        constants_hold: the line of the constants and the fitted one agree within `AGREES_WITHIN` across the
            body.
        fitted: lesions that it was fitted to.
        left_out: lesions further than `AGREES_WITHIN` from the line through most; mostly of wrong slices.
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
    """The number of published locations that their key slices confirm, as a version file counts them.

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
        """Share of the compared that agree; 1 where there is none to compare."""
        return self.agreeing / self.compared if self.compared else 1.0

    def as_json(self) -> dict[str, Any]:
        """Return the entry `locations` of a version file."""
        return asdict(self) | {"share": self.share}


def agreement(lesions: pd.DataFrame, whole_release: bool) -> Agreement:
    """Count the rows of `lesions` whose published location agrees with their key slice.

    Args:
        whole_release: fit the constants, too.
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
    # Fitting to the lesions that agree with the constants would confirm any constants.
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
    """Return slope and intercept of the line through most points, wherever up to a quarter of them are.

    The slope is the median of pairs that lie half the points apart along x, then the intercept the median of
    the rest (Theil 1950). None where all x are equal.
    """
    points = sorted(zip(x, y, strict=True))
    half = (len(points) + 1) // 2
    pairs = [(a, b) for a, b in zip(points, points[half:], strict=False) if a[0] < b[0]]
    if not pairs:
        return None
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs)
    return slope, statistics.median(b - slope * a for a, b in points)
