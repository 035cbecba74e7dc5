"""Measures of a matching, from pairs that are known and not complete.

A known pair in one group is a hit. Rows of two different known sequences that were both seen in one study are
certainly two lesions: a group that holds both is wrong. Every other pair is unknown and counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, Ints, LesionArrays
from etl.derive.match_calibration import MM_A_UNIT

RESAMPLES = 2000
SEED = 20


@dataclass(frozen=True)
class PatientCounts:
    """Pairs and queries of one patient.

    Attributes:
        hits: known pairs that are in one group.
        wrong: pairs of one group that are certainly two lesions.
        missed: known pairs in two groups.
        unknown: pairs of one group about which nothing is known.
        queries: (listed pair, direction) across studies: is the nearest row of the other study the lesion?
        top1: queries whose nearest row is of the lesion's known sequence.
        top1_unknown: queries whose nearest row is in no known sequence.
        top1_same_place: queries whose nearest row is of the known sequence, or at the place of a row that is.
    """

    hits: int
    wrong: int
    missed: int
    unknown: int
    queries: int
    top1: int
    top1_unknown: int
    top1_same_place: int


SAME_PLACE_SHARE = 0.25
SAME_PLACE_Z_MM = 5.0
"""Rows of one study are at one place if their centres are less than a quarter of the smaller long diameter
apart in the plane, and less than 5 mm in the published z: a lesion measured in another series, or on the next
slice."""


def count_patient(
    lesions: LesionArrays,
    distance: Floats,
    group: Ints,
    sequence: Ints,
    pairs: Sequence[tuple[int, int]],
) -> PatientCounts:
    """Count one patient.

    Args:
        lesions: n lesions of one patient.
        distance, group: of `etl.derive.matching.PatientMatch`.
        sequence: (n,) of `etl.derive.known_pairs.known_sequences`.
        pairs: the patient's listed pairs, as lesion_ids.
    """
    same, apart = certain(lesions.study, sequence)
    upper = np.triu(np.ones(same.shape, bool), 1)
    joined = (group[:, None] == group[None, :]) & upper
    row = {int(lesion_id): at for at, lesion_id in enumerate(lesions.lesion_id)}
    at_one_place = same_place(lesions)
    queries = top1 = unknown = placed = 0
    for pair in pairs:
        for source, target in (pair, pair[::-1]):
            i, j = row[source], row[target]
            if lesions.study[i] == lesions.study[j]:
                continue
            candidates = np.flatnonzero(lesions.study == lesions.study[j])
            found = candidates[np.argmin(distance[i, candidates])]
            queries += 1
            right = candidates[sequence[candidates] == sequence[i]]
            top1 += int(found in right)
            placed += int(at_one_place[found, right].any())
            unknown += int(sequence[found] < 0)
    return PatientCounts(
        hits=int((joined & same).sum()),
        wrong=int((joined & apart).sum()),
        missed=int((same & upper & ~joined).sum()),
        unknown=int((joined & ~same & ~apart).sum()),
        queries=queries,
        top1=top1,
        top1_unknown=unknown,
        top1_same_place=placed,
    )


def same_place(lesions: LesionArrays) -> NDArray[np.bool_]:
    """Return (n, n): pairs of rows of one study that are at one place, each row with itself among them."""
    apart = lesions.centre_mm[None, :, :2] - lesions.centre_mm[:, None, :2]
    long = np.exp(lesions.log_diameters[:, 0])
    near = np.hypot(apart[..., 0], apart[..., 1]) < SAME_PLACE_SHARE * np.minimum(
        long[:, None], long[None, :]
    )
    z_mm = np.abs(lesions.place[None, :, 2] - lesions.place[:, None, 2]) * MM_A_UNIT
    found: NDArray[np.bool_] = near & (z_mm < SAME_PLACE_Z_MM)
    return found & (lesions.study[:, None] == lesions.study[None, :])


def certain(study: Ints, sequence: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two (n, n) masks: pairs of one known sequence, and pairs that are certainly two lesions."""
    known = (sequence[:, None] >= 0) & (sequence[None, :] >= 0)
    same = known & (sequence[:, None] == sequence[None, :])
    studies = {
        number: set(study[sequence == number].tolist()) for number in np.unique(sequence[sequence >= 0])
    }
    side_by_side = np.array(
        [
            [a >= 0 and b >= 0 and a != b and bool(studies[a] & studies[b]) for b in sequence.tolist()]
            for a in sequence.tolist()
        ],
        bool,
    ).reshape(len(sequence), len(sequence))
    return same, side_by_side


def summarize(counts: Sequence[PatientCounts]) -> dict[str, Any]:
    """Return the measures of all patients with 95 % bootstrap intervals over patients, JSON-ready.

    A measure of nothing, such as top-1 where no pair is across studies, is None.
    """
    table = np.array(
        [[getattr(c, name) for name in PatientCounts.__dataclass_fields__] for c in counts], float
    )
    clean = ((table[:, 1] == 0) & (table[:, 2] == 0)).astype(float)
    everything = np.column_stack([table, clean, np.ones(len(table))])
    draws = np.random.default_rng(SEED).integers(0, len(table), (RESAMPLES, len(table)))
    point = _ratios(everything.sum(axis=0, keepdims=True))
    spread = _ratios(everything[draws].sum(axis=1))
    names = ("top1", "precision", "recall", "f", "patients_without_error")
    total = dict(zip(PatientCounts.__dataclass_fields__, table.sum(axis=0).astype(int).tolist(), strict=True))
    return {
        **{name: _rounded(point[0, at]) for at, name in enumerate(names)},
        "intervals": {name: _interval(spread[:, at]) for at, name in enumerate(names)},
        "patients": len(counts),
        "known_pairs": total["hits"] + total["missed"],
        "missed_pairs": total["missed"],
        "wrong_pairs": total["wrong"],
        "unknown_pairs": total["unknown"],
        "top1_queries": total["queries"],
        "top1_unknown": total["top1_unknown"],
        "top1_of_known": _rounded(point[0, 5]),
        "top1_same_place": _rounded(point[0, 6]),
    }


def _rounded(ratio: float) -> float | None:
    return None if np.isnan(ratio) else round(float(ratio), 4)


def _interval(ratios: Floats) -> list[float] | None:
    there = ratios[~np.isnan(ratios)]
    if not len(there):
        return None
    return [round(float(end), 4) for end in np.quantile(there, (0.025, 0.975))]


def _ratios(sums: Floats) -> Floats:
    hits, wrong, missed, _, queries, top1, unknown, placed, clean, patients = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                top1 / queries,
                hits / (hits + wrong),
                hits / (hits + missed),
                2 * hits / (2 * hits + wrong + missed),
                clean / patients,
                top1 / (queries - unknown),
                placed / queries,
            ],
            axis=1,
        )
