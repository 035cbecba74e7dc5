"""A patient's lesions in all studies -> groups, each one lesion over time.

`paper` is Algorithm 1 of Yan et al., CVPR 2018 (Deep Lesion Graphs in the Wild), on the published place.
`mutual` corrects the common shift of each pair of studies, weighs differences by how much they vary inside
one lesion's sequence, and joins groups by the mean distance of all their pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints, LesionArrays
from etl.derive.match_calibration import MM_A_UNIT, Calibration, vectors

Algorithm = Literal["mutual", "paper"]
ALGORITHMS: tuple[Algorithm, ...] = ("mutual", "paper")


@dataclass(frozen=True, eq=False)
class PatientMatch:
    """The result of matching one patient's n lesions.

    Attributes:
        distance: (n, n) symmetric; the smaller, the likelier one lesion. `mutual`: about -2 log likelihood,
            `paper`: Euclidean distance of places.
        group: (n,) the first row of each row's sequence.
        threshold: groups further apart than this stay apart.
    """

    distance: Floats
    group: Ints
    threshold: float


def match_patient(
    lesions: LesionArrays, calibration: Calibration, algorithm: Algorithm = "mutual"
) -> PatientMatch:
    """Group one patient's lesions. Ties go to the earlier row, so equal input gives equal bytes.

    Args:
        lesions: of one patient, sorted by lesion_id.
        calibration: weights and thresholds.
        algorithm: see the module.
    """
    if algorithm == "paper":
        apart = lesions.place[None, :] - lesions.place[:, None]
        distance = np.sqrt((apart**2).sum(axis=-1))
        threshold = calibration.paper_threshold
        return PatientMatch(distance, _algorithm_1(distance, lesions.study, threshold), threshold)
    distance = mutual_distance(lesions, calibration)
    return PatientMatch(distance, average_linkage(distance, calibration.threshold), calibration.threshold)


def _algorithm_1(distance: Floats, study: Ints, threshold: float) -> Ints:
    n = len(study)
    near = distance < threshold
    linked = near & (study[:, None] == study[None, :])
    for number in np.unique(study):
        candidates = np.flatnonzero(study == number)
        nearest = candidates[np.argmin(distance[:, candidates], axis=1)]
        rows = np.flatnonzero((study != number) & near[np.arange(n), nearest])
        linked[rows, nearest[rows]] = True
    return components(linked)


def components(linked: NDArray[np.bool_]) -> Ints:
    """Return for each of n nodes the first node of its connected component.

    Args:
        linked: (n, n); an edge counts in both directions.
    """
    either = linked | linked.T
    group = np.full(len(linked), -1, np.int64)
    for start in range(len(linked)):
        if group[start] >= 0:
            continue
        found = np.zeros(len(linked), bool)
        found[start] = True
        while True:
            more = found | either[found].any(axis=0)
            if (more == found).all():
                break
            found = more
        group[found] = start
    return group


def average_linkage(distance: Floats, threshold: float) -> Ints:
    """Join the two groups of the smallest mean distance while it is below the threshold.

    Args:
        distance: (n, n) symmetric and finite.

    Returns:
        (n,) the first row of each row's group.
    """
    n = len(distance)
    mean = distance.astype(np.float64, copy=True)
    np.fill_diagonal(mean, np.inf)
    size = np.ones(n)
    group = np.arange(n, dtype=np.int64)
    for _ in range(n - 1):
        first, second = divmod(int(np.argmin(mean)), n)
        if not mean[first, second] < threshold:
            break
        joined = (size[first] * mean[first] + size[second] * mean[second]) / (size[first] + size[second])
        mean[first], mean[:, first] = joined, joined
        mean[second], mean[:, second] = np.inf, np.inf
        mean[first, first] = np.inf
        size[first] += size[second]
        group[group == second] = first
    return group


def mutual_distance(lesions: LesionArrays, calibration: Calibration) -> Floats:
    """Return the (n, n) distances of one patient's lesions.

    Lesions of two studies: a Student t of their difference in place, size and position in the image, from
    which the two studies' common shift is taken; plus the long diameter's turn and the embedding's cosine.
    Lesions of one study share their grid: their distance is that of their centres in mm.
    """
    values = vectors(lesions)
    difference = values[None, :] - values[:, None]
    studies, study = np.unique(lesions.study, return_inverse=True)
    across = study[:, None] != study[None, :]
    total = np.asarray(np.linalg.inv(calibration.residual + calibration.shift), np.float64)
    distance = _heavy_tail(_quadratic(difference, total), calibration.degrees_of_freedom)
    rounds = calibration.shift_rounds if len(studies) > 1 else 0
    for _ in range(rounds):
        moved, precision = _without_shift(difference, distance, across, study, len(studies), calibration)
        distance = _heavy_tail(_quadratic(moved, precision), calibration.degrees_of_freedom)
    turn = lesions.long_angle_rad[None, :] - lesions.long_angle_rad[:, None]
    distance = distance + calibration.angle_weight * (1 - np.cos(2 * turn))
    if lesions.embedding is not None:
        cosine = (lesions.embedding[None, :] * lesions.embedding[:, None]).sum(axis=-1)
        distance = distance + calibration.embedding_weight * (1 - cosine)
    distance = np.where(across, distance, _within_study(lesions, calibration))
    distance = np.minimum((distance + distance.T) / 2, calibration.largest_distance)
    np.fill_diagonal(distance, 0.0)
    return distance


def _quadratic(difference: Floats, precision: Floats) -> Floats:
    """Return (n, n) quadratic forms; precision is (k, k), or (n, n, k, k) of its own for each pair."""
    form = "ijk,kl,ijl->ij" if precision.ndim == 2 else "ijk,ijkl,ijl->ij"
    # Rounding can leave a form of zeros slightly negative.
    return np.maximum(np.einsum(form, difference, precision, difference), 0.0)


def _heavy_tail(squared: Floats, freedom: float) -> Floats:
    return (freedom + 1) * np.log1p(squared / freedom)


def _without_shift(
    difference: Floats,
    distance: Floats,
    across: NDArray[np.bool_],
    study: Ints,
    studies: int,
    calibration: Calibration,
) -> tuple[Floats, Floats]:
    """Return (n, n, k) differences less the studies' expected shift, and the (n, n, k, k) precision left.

    A pair counts for the shift as much as it is likely to be each other's match; the shift's own variance
    shrinks it towards zero where few pairs speak for it.
    """
    member = np.eye(studies)[study]
    likely = np.where(across, np.exp(-distance / 2), 0.0)
    other = np.exp(-calibration.no_match_distance / 2)
    of_row = (likely @ member)[:, study] + other
    of_column = (member.T @ likely)[study, :] + other
    weight = likely / of_row * likely / of_column
    count = member.T @ weight @ member
    total = np.einsum("ia,ij,ijk,jb->abk", member, weight, difference, member, optimize=True)
    residual, prior = calibration.residual, calibration.shift
    spread = np.linalg.inv(count[:, :, None, None] * prior + residual)
    mean = np.einsum("kl,ablm,abm->abk", prior, spread, total)
    uncertain = residual @ spread @ prior
    precision = np.asarray(
        np.linalg.inv(residual + (uncertain + np.swapaxes(uncertain, -1, -2)) / 2), np.float64
    )
    moved: Floats = difference - mean[study[:, None], study[None, :]]
    return moved, precision[study[:, None], study[None, :]]


def _within_study(lesions: LesionArrays, calibration: Calibration) -> Floats:
    """Return squared distances in units of `same_study_mm`; between series z is the published place's."""
    mm = lesions.centre_mm[None, :] - lesions.centre_mm[:, None]
    z = (lesions.place[None, :, 2] - lesions.place[:, None, 2]) * MM_A_UNIT
    same_series = lesions.series[:, None] == lesions.series[None, :]
    mm[..., 2] = np.where(same_series, mm[..., 2], z)
    return np.minimum((mm**2).sum(axis=-1) / calibration.same_study_mm**2, calibration.same_study_largest)
