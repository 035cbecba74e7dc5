"""Measures of scores of slices against the order of the body: Spearman's correlation and order accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from etl.derive.lesion_arrays import Floats

APART = 1.0
"""Order is asked of pairs whose reference scores differ by more than this; one unit is about 40 mm."""
_SCORED = re.compile(r"\d+_score_(-?\d+(?:\.\d+)?)_.+\.png")


def score_of_file(name: str) -> float | None:
    """Return the score in a name such as `007_score_-8.98059_000228_03_8_54.png`; None if it has none."""
    found = _SCORED.fullmatch(name)
    return float(found[1]) if found else None


def ranks(values: Iterable[float]) -> Floats:
    """Return ranks from 1; equal values share their mean rank."""
    return pd.Series(list(values), dtype=np.float64).rank(na_option="bottom").to_numpy()


def spearman(reference: Iterable[float], predicted: Iterable[float]) -> float:
    """Return Spearman's rank correlation, -1 to 1; NaN where all values of one side are equal."""
    a, b = (ranks(values) - ranks(values).mean() for values in (list(reference), list(predicted)))
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread else float("nan")


def mean_spearman(series: Iterable[tuple[Iterable[float], Iterable[float]]]) -> tuple[float, int]:
    """Return the mean of `spearman` over series, and how many of them have equal scores throughout.

    Those count as 0: they are in no order, as a pair of equal scores is half right in `order_accuracy`. NaN
    where there is no series.

    Args:
        series: positions, which differ, and scores of each.
    """
    found = [spearman(mm, scores) for mm, scores in series]
    return (float(np.nan_to_num(found).mean()) if found else float("nan")), int(np.isnan(found).sum())


def order_accuracy(reference: Iterable[float], predicted: Iterable[float], apart: float = APART) -> float:
    """Return the share of pairs in the right order, of those whose reference differs by more than `apart`.

    A pair with equal predictions counts half. NaN where there is no such pair.
    """
    true, guess = (np.asarray(list(values), np.float64) for values in (reference, predicted))
    first, second = np.triu_indices(len(true), 1)
    step = true[second] - true[first]
    asked = np.abs(step) > apart
    if not asked.any():
        return float("nan")
    right = np.sign(step[asked]) * np.sign((guess[second] - guess[first])[asked])
    return float((right + 1).mean() / 2)
