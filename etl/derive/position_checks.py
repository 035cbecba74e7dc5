"""Errors of predicted positions: against published z of key slices, and of one lesion seen twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from etl.derive.lesion_arrays import Floats
from etl.derive.position_measures import spearman

GOAL_SPEARMAN, GOAL_ERROR = 0.98, 0.02
"""Goals of a model of the whole release on the key slices of the official test patients."""
PUBLISHED_REPEATABILITY = 0.0048
"""Median difference of the published z of one lesion in two studies, over the pairs of DLT's valid.json."""
_RESAMPLED = 500


def key_slice_measures(published: ArrayLike, predicted: ArrayLike, patients: Sequence[str]) -> dict[str, Any]:
    """Return how near predictions are to published z; nothing but the count with fewer than three.

    Args:
        published, predicted: (n,) of key slices; NaN where the model knows no published z.
        patients: of each, for the interval.
    """
    true, guess = (np.asarray(values, np.float64) for values in (published, predicted))
    measured: dict[str, Any] = {"key_slices": len(true)}
    if len(true) < 3 or np.isnan(guess).any():
        return measured
    off = np.abs(true - guess)
    return measured | {
        "spearman": number(spearman(true, guess)),
        "mean_absolute_error": number(off.mean()),
        "mean_absolute_error_95": interval(off, patients),
        # The floor: what the mean of the published z would be off.
        "mean_absolute_error_of_the_mean": number(np.abs(true - true.mean()).mean()),
    }


def release_check(test: dict[str, Any]) -> dict[str, Any]:
    """Return if the measures of the test patients reach the goal; null where they could not be measured."""
    found, off = test.get("spearman"), test.get("mean_absolute_error")
    reached = None if found is None or off is None else bool(found >= GOAL_SPEARMAN and off <= GOAL_ERROR)
    return {
        "spearman_at_least": GOAL_SPEARMAN,
        "mean_absolute_error_at_most": GOAL_ERROR,
        "reached": reached,
    }


def repeatability(published: ArrayLike, predicted: ArrayLike) -> dict[str, Any]:
    """Return the median difference of z of one lesion in two studies, published and predicted.

    It needs no true position: a lesion stays where it is in the body.

    Args:
        published, predicted: (n, 2), z of both key slices of each pair; NaN where there is none.
    """
    true, guess = (np.asarray(values, np.float64).reshape(-1, 2) for values in (published, predicted))
    return {
        "pairs": len(guess),
        "median_difference": _median(guess),
        "median_difference_of_published": _median(true),
        "of_published_in_the_release": PUBLISHED_REPEATABILITY,
    }


def _median(pairs: Floats) -> float | None:
    known = pairs[~np.isnan(pairs).any(axis=1)]
    return number(np.median(np.abs(known[:, 0] - known[:, 1]))) if len(known) else None


def interval(values: ArrayLike, patients: Sequence[str]) -> list[float | None]:
    """Return the 95 % interval of a mean, over patients drawn again and again."""
    _, at = np.unique(np.asarray(patients), return_inverse=True)
    sums, counts = np.bincount(at, np.asarray(values, np.float64)), np.bincount(at)
    random = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLED):
        drawn = random.integers(0, len(counts), len(counts))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    return [number(q) for q in np.quantile(means, [0.025, 0.975])]


def number(value: Any) -> float | None:
    """Return a number as JSON has it: six digits, null where it is none."""
    return None if math.isnan(value) else round(float(value), 6)
