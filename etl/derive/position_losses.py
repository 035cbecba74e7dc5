"""Losses of body-part regressors on the scores of one volume's slices, in numpy: the oracle of a training.

`order` is that of SSBR's code (Yan et al., Deep Lesion Graphs in the Wild, CVPR 2018), `distance` that of
MIC-DKFZ/BodyPartRegression (Schuhegger, 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from etl.derive.lesion_arrays import Floats

BETA = 0.01
"""Score of a millimetre, so that a sigmoid of the distance is not flat below about 300 mm."""


def order_loss(scores: ArrayLike) -> float:
    """Return the mean of -log sigmoid(2 d) plus the mean smooth L1 of second differences.

    Args:
        scores: (n,) of n >= 3 slices at equal gaps, head to feet; d are their differences.
    """
    step = np.diff(np.asarray(scores, np.float64))
    return float(np.logaddexp(0, -2 * step).mean() + smooth_l1(np.diff(step)).mean())


def distance_loss(scores: ArrayLike, mm: ArrayLike, beta: float = BETA) -> float:
    """Return the mean of (sigmoid(beta x mm apart) - sigmoid(score apart))^2 of neighbouring slices.

    Args:
        scores: (n,) of n >= 2 slices, head to feet.
        mm: (n,) their positions.
        beta: score of a millimetre.
    """
    step, apart = (np.diff(np.asarray(values, np.float64)) for values in (scores, mm))
    return float(((_sigmoid(beta * apart) - _sigmoid(step)) ** 2).mean())


def smooth_l1(values: ArrayLike) -> Floats:
    """Return half the square below 1, and the absolute value less a half above."""
    size = np.abs(np.asarray(values, np.float64))
    return np.where(size < 1, size**2 / 2, size - 0.5)


def _sigmoid(values: Floats) -> Floats:
    result: Floats = np.exp(-np.logaddexp(0, -values))
    return result
