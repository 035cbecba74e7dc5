"""The common shift of all lesions between a patient's studies: another position on the table, another breath.

Each study has one offset, so that three studies agree on it: the shift of a pair of studies is the difference
of their offsets. Where lesions nearby moved otherwise than the rest, that is taken away, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints
from etl.derive.match_calibration import MM_A_UNIT, Calibration

MM_OF_PLACE = (350.0, 250.0, MM_A_UNIT)
"""Millimetres a unit of the published x, y and z, about."""


def whitening(calibration: Calibration) -> tuple[Floats, Floats]:
    """Return a (k, k) matrix and (k,) variances of the shift.

    Values times the matrix have the identity as the covariance of one lesion's difference between two
    studies, and the variances as the covariance of their common shift.
    """
    variance, axes = np.linalg.eigh(calibration.residual)
    scaled = axes / np.sqrt(variance)
    shift, turn = np.linalg.eigh(scaled.T @ calibration.shift @ scaled)
    return scaled @ turn, np.maximum(shift, 1e-9)


def likely_pairs(distance: Floats, study: Ints, no_match_distance: float) -> Floats:
    """Return (n, n) probabilities that two lesions of different studies are each other's match.

    Args:
        distance: about -2 log likelihood.
        study: (n,) numbered from 0.
        no_match_distance: where a lesion is as likely to have no match in the other study.
    """
    member = np.eye(int(np.max(study)) + 1)[study]
    likely = np.where(study[:, None] != study[None, :], np.exp(-distance / 2), 0.0)
    other = np.exp(-no_match_distance / 2)
    of_row = (likely @ member)[:, study] + other
    of_column = (member.T @ likely)[study, :] + other
    found: Floats = likely / of_row * likely / of_column
    return found


def without_shift(difference: Floats, weight: Floats, study: Ints, variance: Floats) -> tuple[Floats, Floats]:
    """Return whitened differences less the studies' expected shift, and what variance that leaves.

    A pair counts as much as it is likely. A lesion seen in m studies makes m (m - 1) / 2 pairs of which m - 1
    are independent, so each counts 2 / m.

    Args:
        difference: (n, n, k) whitened.
        weight: (n, n) of `likely_pairs`.
        study: (n,) numbered from 0.
        variance: (k,) of the shift, whitened.

    Returns:
        (n, n, k) differences, (n, n, k) variances, 1 where the shift is known exactly.
    """
    member = np.eye(int(np.max(study)) + 1)[study]
    seen = 1 + weight.sum(axis=1)
    share = weight * 4 / (seen[:, None] + seen[None, :])
    count = member.T @ share @ member
    laplacian = np.diag(count.sum(axis=1)) - count
    total = -np.einsum("ia,ij,ijk->ak", member, share, difference, optimize=True)
    prior = 2 / variance
    spread = np.linalg.inv(laplacian[None] + prior[:, None, None] * np.eye(len(count)))
    offset = np.einsum("kab,bk->ak", spread, total)
    own = np.einsum("kaa->ak", spread)
    uncertain = own[:, None] + own[None, :] - 2 * np.moveaxis(spread, 0, -1)
    shift = offset[None, :] - offset[:, None]
    at = (study[:, None], study[None, :])
    return difference - shift[at], 1 + np.maximum(uncertain[at], 0)


def local_shift(
    moved: Floats, weight: Floats, study: Ints, place: Floats, calibration: Calibration
) -> Floats:
    """Return (n, n, k): mean movement of likely pairs near a pair, beyond the studies' shift; antisymmetric.

    The pair itself and those that share a lesion with it are left out.

    Args:
        moved: (n, n, k) of `without_shift`.
        weight, study: as there.
        place: (n, 3) published.
    """
    mm = place * MM_OF_PLACE
    apart = ((mm[None, :] - mm[:, None]) ** 2).sum(axis=-1)
    near: NDArray[np.float64] = np.exp(-apart / 2 / calibration.local_shift_mm**2)
    np.fill_diagonal(near, 0.0)
    local = np.zeros_like(moved)
    rows = [np.flatnonzero(study == number) for number in range(int(np.max(study)) + 1)]
    for first, own in enumerate(rows):
        for others in rows[:first] + rows[first + 1 :]:
            pair = np.ix_(own, others)
            close, likely = near[np.ix_(own, own)], weight[pair]
            of_pair = moved[pair] * likely[..., None]
            total = (close @ of_pair.sum(axis=1))[:, None] - np.einsum("ik,kjd->ijd", close, of_pair)
            count = (close @ likely.sum(axis=1))[:, None] - close @ likely
            local[pair] = total / (count + calibration.local_shift_pairs)[..., None]
    mean: Floats = (local - np.swapaxes(local, 0, 1)) / 2
    return mean
