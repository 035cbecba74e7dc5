"""The scores of one volume's slices: smoothed, held against a robust line, mapped to the published scale.

Smoothing along z and the test of the slope follow the post-processing of MIC-DKFZ/BodyPartRegression: a
Gaussian of 10 mm, and a slope that is compared with that of the model's training series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.core.errors import ConfigError
from etl.derive.volume_table import VolumeRow

Floats = npt.NDArray[np.float64]

SMOOTHING_MM = 10.0
LEAST_MM = 20.0
"""Length below which a slope says nothing."""
MOST_DEVIATIONS = 4.0
"""Standard deviations of the training series' slopes that a slope may be off their mean."""
_MOST_PAIRED = 300
_KNOTS = 33


class Order(StrEnum):
    """Judgement of a volume's slices by the line through their scores."""

    OK = "ok"
    REVERSED = "reversed"
    IMPLAUSIBLE_SLOPE = "implausible_slope"
    TOO_SHORT = "too_short"


@dataclass(frozen=True)
class Line:
    """A line of scores over mm.

    Attributes:
        slope_per_mm, intercept: medians of the slopes of all pairs (Theil and Sen), and of what is left.
        residual: median absolute distance of scores from it.
    """

    slope_per_mm: float
    intercept: float
    residual: float


@dataclass(frozen=True)
class Scale:
    """The mapping of a model's scores to positions; part of the model.

    Attributes:
        slope_mean, slope_deviation: of the training series' lines, per mm.
        scores, norm_z: knots of the ascending map to the published z; none where no z was published.
        landmarks: (region, norm_z at which it begins), head to feet; none where they are unknown.
        landmarks_from: their source.
    """

    slope_mean: float
    slope_deviation: float
    scores: tuple[float, ...] = ()
    norm_z: tuple[float, ...] = ()
    landmarks: tuple[tuple[str, float], ...] = ()
    landmarks_from: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError where scores can't be mapped by it."""
        starts = [start for _, start in self.landmarks]
        paired = len(self.norm_z) == len(self.scores)
        for name, wrong, allowed in (
            ("slope_deviation", not self.slope_deviation >= 0, "at least 0"),
            ("scores", not _ascends(self.scores, strictly=True), "ascending numbers"),
            ("norm_z", not (paired and _ascends(self.norm_z)), "a z for each of scores"),
            ("landmarks", not _ascends(starts), "regions head to feet, by the z at which they begin"),
        ):
            if wrong:
                raise ConfigError(
                    "a model's scale can't be used",
                    where=f"config.json, scale.{name}",
                    value=getattr(self, name),
                    allowed=allowed,
                    remedy="train the model again",
                )

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Scale:
        """Return the scale of a model's config.json. Raises ConfigError where it can't be used."""
        landmarks = tuple((str(name), float(start)) for name, start in data["landmarks"])
        lists = {name: tuple(map(float, data[name])) for name in ("scores", "norm_z")}
        return Scale(
            float(data["slope_mean"]),
            float(data["slope_deviation"]),
            **lists,
            landmarks=landmarks,
            landmarks_from=str(data["landmarks_from"]),
        )


def _ascends(values: Sequence[float], strictly: bool = False) -> bool:
    steps = np.diff(np.asarray(values, np.float64))
    return bool(np.isfinite(values).all() and ((steps > 0) if strictly else (steps >= 0)).all())


def source_planes(row: VolumeRow) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return for each source slice the nearest stored plane, and its position in mm from the first slice."""
    mm = np.arange(row.source_shape[0], dtype=np.float64) * row.source_spacing_mm[0]
    planes = np.rint(mm / row.spacing_mm[0]).astype(np.intp)
    return np.minimum(planes, row.shape[0] - 1), mm


def read_planes(hu: Any, planes: npt.NDArray[np.intp]) -> tuple[np.ndarray, npt.NDArray[np.intp]]:
    """Read each of some planes of a volume once, in one go: a chunk holds many.

    Args:
        hu: the volume (z, y, x), read where it is indexed.
        planes: ascending; several slices may have the same one.

    Returns:
        The different planes (n, y, x), and for each of `planes` its place among them.
    """
    used, place = np.unique(planes, return_inverse=True)
    return np.asarray(hu[int(used[0]) : int(used[-1]) + 1])[used - used[0]], place


def smoothed(scores: npt.ArrayLike, mm: npt.ArrayLike) -> Floats:
    """Return scores averaged along z with Gaussian weights of the slices that are there.

    Args:
        scores, mm: (n,) of equally or unequally spaced slices.
    """
    values, at = np.asarray(scores, np.float64), np.asarray(mm, np.float64)
    result = np.empty_like(values)
    for start in range(0, len(at), 512):  # keeps the weights of long volumes small
        apart = (at[start : start + 512, None] - at[None, :]) / SMOOTHING_MM
        weights = np.exp(-(apart**2) / 2)
        result[start : start + 512] = weights @ values / weights.sum(axis=1)
    return result


def robust_line(scores: npt.ArrayLike, mm: npt.ArrayLike) -> Line | None:
    """Return the line of Theil and Sen; None with fewer than two positions.

    Of more than 300 slices, 300 at equal gaps are paired.
    """
    values, at = np.asarray(scores, np.float64), np.asarray(mm, np.float64)
    if len(values) > _MOST_PAIRED:
        chosen = np.rint(np.linspace(0, len(values) - 1, _MOST_PAIRED)).astype(int)
        values, at = values[chosen], at[chosen]
    first, second = np.triu_indices(len(at), 1)
    apart = at[second] - at[first]
    if not (apart > 0).any():
        return None
    slope = float(np.median((values[second] - values[first])[apart > 0] / apart[apart > 0]))
    intercept = float(np.median(values - slope * at))
    return Line(slope, intercept, float(np.median(np.abs(values - slope * at - intercept))))


def order_of(line: Line | None, length_mm: float, scale: Scale) -> Order:
    """Return what a volume's line says about its slices."""
    if line is None or length_mm < LEAST_MM:
        return Order.TOO_SHORT
    if line.slope_per_mm < 0:
        return Order.REVERSED
    off = abs(line.slope_per_mm - scale.slope_mean)
    # Slices that look alike, as air does, have no order, however much the training series differ.
    if line.slope_per_mm == 0 or off > MOST_DEVIATIONS * scale.slope_deviation:
        return Order.IMPLAUSIBLE_SLOPE
    return Order.OK


def norm_z_of(scores: npt.ArrayLike, scale: Scale) -> Floats:
    """Return scores on the published scale; beyond the outer knots the outer z. NaN without a map."""
    values = np.asarray(scores, np.float64)
    if not scale.scores:
        return np.full_like(values, np.nan)
    mapped: Floats = np.interp(values, scale.scores, scale.norm_z)
    return mapped


def regions_of(norm_z: Sequence[float] | Floats, scale: Scale) -> list[str | None]:
    """Return the region of each position; None without a position or without landmarks."""
    if not scale.landmarks:
        return [None] * len(norm_z)
    names, starts = zip(*scale.landmarks, strict=True)
    at = np.searchsorted(np.asarray(starts[1:]), np.asarray(norm_z, np.float64), side="right")
    return [None if np.isnan(z) else names[n] for z, n in zip(norm_z, at.tolist(), strict=True)]


def monotone_map(scores: npt.ArrayLike, norm_z: npt.ArrayLike) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the knots of the ascending map from scores to published z with the least squares.

    Violators are pooled; the steps that result are sampled at equal shares of the scores.

    Args:
        scores, norm_z: (n,) of key slices; none gives no knots.
    """
    values, target = np.asarray(scores, np.float64), np.asarray(norm_z, np.float64)
    if not len(values):
        return (), ()
    order = np.argsort(values, kind="stable")
    levels: list[list[float]] = []  # [sum of z, count, sum of scores]
    for score, z in zip(values[order].tolist(), target[order].tolist(), strict=True):
        levels.append([z, 1, score])
        while len(levels) > 1 and levels[-2][0] / levels[-2][1] >= levels[-1][0] / levels[-1][1]:
            last = levels.pop()
            levels[-1] = [a + b for a, b in zip(levels[-1], last, strict=True)]
    at = np.array([level[2] / level[1] for level in levels])
    z_of = np.array([level[0] / level[1] for level in levels])
    shares = np.quantile(values, np.linspace(0, 1, _KNOTS))
    chosen = np.unique(np.round(np.clip(shares, at[0], at[-1]), 6))
    return tuple(chosen.tolist()), tuple(np.round(np.interp(chosen, at, z_of), 6).tolist())
