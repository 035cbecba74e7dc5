"""Rows of the tables `sequences` and `links`, from lesions as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.derive.lesion_arrays import Floats, LesionArrays
from etl.derive.match_calibration import Calibration
from etl.derive.matching import Algorithm, PatientMatch, match_patient

NEAREST_BOTH_WAYS = "nearest both ways"
NEAREST_ONE_WAY = "nearest one way"
TOO_FAR = "not nearer than the threshold"
NEAR_IN_VAIN = {
    "mutual": "other lesions of the sequence are too far",
    "paper": "another lesion of the study is nearer",
}
"""Why lesions that are nearer than the threshold are not linked, by algorithm."""
DECIMALS = 6

SequenceRows = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Matched:
    """Columns of both tables by name, rows sorted by their keys."""

    sequences: SequenceRows
    links: SequenceRows


def match_lesions(
    lesions: LesionArrays,
    age_years: pd.Series,
    calibration: Calibration,
    algorithm: Algorithm = "mutual",
    compared_by: str = "place",
) -> Matched:
    """Match every patient and return the rows of `sequences` and `links`.

    Args:
        lesions: of any number of patients, sorted by patient and lesion_id.
        age_years: age by lesion_id, null where it is missing.
        calibration: weights and thresholds.
        algorithm: see `etl.derive.matching`.
        compared_by: what lesions that have embeddings were compared by, for the column `method`.
    """
    date = (calibration.made or {}).get("date", "no date")
    sequences: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    for one in lesions.by_patient():
        match = match_patient(one, calibration, algorithm)
        falls = age_falls(
            one.study, age_years.loc[one.lesion_id.tolist()].to_numpy(np.float64, na_value=np.nan)
        )
        by = f" by {compared_by}" if one.are_embedded else ""
        method = f"{algorithm}{by}, calibration of {date}"
        sequences += _sequence_rows(one, match, falls, method)
        links += _link_rows(one, match, NEAR_IN_VAIN[algorithm])
    sequences.sort(key=lambda row: row["lesion_id"])
    links.sort(key=lambda row: (row["lesion_id"], row["other_lesion_id"]))
    return Matched(_columns(sequences, SEQUENCE_COLUMNS), _columns(links, LINK_COLUMNS))


SEQUENCE_COLUMNS = (
    *("lesion_id", "sequence_id", "patient_index", "study_index", "position", "studies"),
    *("confidence", "age_falls", "method"),
)
LINK_COLUMNS = (
    *("lesion_id", "other_lesion_id", "patient_index", "distance", "next_distance"),
    *("mutual", "kept", "reason"),
)


def age_falls(study: NDArray[np.int64], age_years: Floats) -> bool:
    """Return if a later study number has a smaller age: study numbers are then no safe order of time.

    Args:
        study, age_years: of one patient's lesions; NaN where the age is missing.
    """
    ages = [age_years[(study == number) & ~np.isnan(age_years)] for number in np.unique(study)]
    known = [(values.min(), values.max()) for values in ages if len(values)]
    return any(later[0] < earlier[1] for at, earlier in enumerate(known) for later in known[at + 1 :])


def sequence_id(patient: int, lesion_id: int) -> str:
    """Return the name of a sequence: its patient and its smallest lesion_id."""
    return f"{patient:06d}_{lesion_id:05d}"


def confidence(match: PatientMatch) -> Floats:
    """Return for each lesion how much nearer its own sequence is than the best alternative, 0 to 1.

    alternative / (own + alternative): own is the mean distance to the sequence's other lesions (the threshold
    if there are none), alternative the mean distance to the nearest other sequence (at most the threshold for
    a lesion that has company). 0.5 is undecided. NaN for a lesion that is its patient's only one.
    """
    groups = np.unique(match.group)
    member = match.group[:, None] == groups[None, :]
    size = member.sum(axis=0)
    total = match.distance @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(member, total / (size - 1), 0).sum(axis=1, where=member)
        other = np.where(member, np.inf, total / size).min(axis=1)
        alone = size[np.searchsorted(groups, match.group)] == 1
        own = np.where(alone, match.threshold, own)
        other = np.where(alone, other, np.minimum(other, match.threshold))
        share: Floats = np.where(np.isinf(other), np.nan, other / (own + other))
    return share


def _sequence_rows(
    lesions: LesionArrays, match: PatientMatch, falls: bool, method: str
) -> list[dict[str, Any]]:
    sure = confidence(match)
    rows = []
    for at in range(len(lesions)):
        studies = np.unique(lesions.study[match.group == match.group[at]])
        patient = int(lesions.patient[at])
        rows.append(
            {
                "lesion_id": int(lesions.lesion_id[at]),
                "sequence_id": sequence_id(patient, int(lesions.lesion_id[match.group[at]])),
                "patient_index": patient,
                "study_index": int(lesions.study[at]),
                "position": int(np.searchsorted(studies, lesions.study[at])),
                "studies": len(studies),
                "confidence": None if np.isnan(sure[at]) else round(float(sure[at]), DECIMALS),
                "age_falls": falls,
                "method": method,
            }
        )
    return rows


def _link_rows(lesions: LesionArrays, match: PatientMatch, near_in_vain: str) -> list[dict[str, Any]]:
    """Return one row for each pair of which one is the other's nearest in its series."""
    nearest: dict[tuple[int, int], list[float | None]] = {}
    image = np.stack([lesions.study, lesions.series], axis=1)
    for key in np.unique(image, axis=0):
        inside = np.flatnonzero((image == key).all(axis=1))
        for at in np.flatnonzero((image != key).any(axis=1)):
            order = inside[np.argsort(match.distance[at, inside], kind="stable")]
            following = float(match.distance[at, order[1]]) if len(order) > 1 else None
            first, second = sorted((int(at), int(order[0])))
            nearest.setdefault((first, second), []).append(following)
    rows = []
    for (first, second), after in nearest.items():
        distance = float(match.distance[first, second])
        kept = bool(match.group[first] == match.group[second])
        mutual = len(after) == 2
        known = [value for value in after if value is not None]
        if kept:
            reason = NEAREST_BOTH_WAYS if mutual else NEAREST_ONE_WAY
        else:
            reason = near_in_vain if distance < match.threshold else TOO_FAR
        rows.append(
            {
                "lesion_id": int(lesions.lesion_id[first]),
                "other_lesion_id": int(lesions.lesion_id[second]),
                "patient_index": int(lesions.patient[first]),
                "distance": round(distance, DECIMALS),
                "next_distance": round(min(known), DECIMALS) if known else None,
                "mutual": mutual,
                "kept": kept,
                "reason": reason,
            }
        )
    return rows


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> SequenceRows:
    return {name: [row[name] for row in rows] for name in names}
