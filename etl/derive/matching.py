"""A patient's lesions in all studies -> groups, each one lesion over time.

`paper` is Algorithm 1 of Yan et al., CVPR 2018 (Deep Lesion Graphs in the Wild), on the published place.
`mutual` corrects the common shift of the studies, weighs differences by how much they vary inside
one lesion's sequence, and joins groups by the mean distance of all their pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints, LesionArrays
from etl.derive.match_calibration import MM_A_UNIT, Calibration, vectors
from etl.derive.study_shift import likely_pairs, local_shift, whitening, without_shift

Algorithm = Literal["mutual", "paper"]
ALGORITHMS: tuple[Algorithm, ...] = ("mutual", "paper")
LOCAL_ROUNDS = 2
"""In so many last rounds the shift near a lesion is taken away, too."""


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
    Lesions of one study share their grid: their distance is that of their centres in mm. If one of the
    patient's lesions has no embedding, all are compared without, so that none is nearer for lack of it.
    """
    axes, variance = whitening(calibration)
    values = vectors(lesions) @ axes
    difference = values[None, :] - values[:, None]
    studies, study = np.unique(lesions.study, return_inverse=True)
    across = study[:, None] != study[None, :]
    distance = _heavy_tail((difference**2 / (1 + variance)).sum(axis=-1), calibration.degrees_of_freedom)
    rounds = calibration.shift_rounds if len(studies) > 1 else 0
    for number in range(rounds):
        weight = likely_pairs(distance, study, calibration.no_match_distance)
        moved, left = without_shift(difference, weight, study, variance)
        if number >= rounds - LOCAL_ROUNDS:
            moved = moved - local_shift(moved, weight, study, lesions.place, calibration)
        distance = _heavy_tail((moved**2 / left).sum(axis=-1), calibration.degrees_of_freedom)
    turn = lesions.long_angle_rad[None, :] - lesions.long_angle_rad[:, None]
    distance = distance + calibration.angle_weight * (1 - np.cos(2 * turn))
    if lesions.embedding is not None and lesions.are_embedded:
        cosine = (lesions.embedding[None, :] * lesions.embedding[:, None]).sum(axis=-1)
        distance = distance + calibration.embedding_weight * (1 - cosine)
    distance = np.where(across, distance, _within_study(lesions, calibration))
    distance = np.minimum((distance + distance.T) / 2, calibration.largest_distance)
    np.fill_diagonal(distance, 0.0)
    return distance


def _heavy_tail(squared: Floats, freedom: float) -> Floats:
    return (freedom + 1) * np.log1p(squared / freedom)


def _within_study(lesions: LesionArrays, calibration: Calibration) -> Floats:
    """Return squared distances in units of `same_study_mm`; between series z is the published place's."""
    mm = lesions.centre_mm[None, :] - lesions.centre_mm[:, None]
    z = (lesions.place[None, :, 2] - lesions.place[:, None, 2]) * MM_A_UNIT
    same_series = lesions.series[:, None] == lesions.series[None, :]
    mm[..., 2] = np.where(same_series, mm[..., 2], z)
    return np.minimum((mm**2).sum(axis=-1) / calibration.same_study_mm**2, calibration.same_study_largest)
