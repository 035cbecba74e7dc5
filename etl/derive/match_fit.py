"""Learn the weights and thresholds of matching from known pairs, by folds of whole patients."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etl.core.errors import SourceError
from etl.derive.known_pairs import KnownPairs, known_sequences
from etl.derive.lesion_arrays import Floats, Ints, LesionArrays
from etl.derive.match_calibration import FEATURES, Calibration, vectors
from etl.derive.match_measures import PatientCounts, count_patient, summarize
from etl.derive.matching import ALGORITHMS, Algorithm, average_linkage, match_patient, mutual_distance

FOLDS = 5
ANGLE_WEIGHTS = (0.0, 0.5, 1.0)
THRESHOLDS = (10.0, 11.0, 12.0, 13.0, 14.0, 15.0)
SHRINKAGE = 0.5
"""Share of the way from the measured covariance to its diagonal: few patients don't settle 45 covariances."""
LEAST_VARIANCE = 1e-12
"""A variance below it is rounding: these pairs do not tell how a value varies."""
PAPER_THRESHOLDS = tuple(round(0.03 + 0.01 * step, 2) for step in range(13))
START = Calibration(np.eye(len(FEATURES)), np.eye(len(FEATURES)))
Z_NOISE = (0.01, 0.02)
LIMITS = (
    "an unlisted pair is no error: it is unknown, and counted apart",
    "z of a regressor of one's own may be worse than the published one: see the rows with noise on z",
    "a lesion that splits, or two that merge, have no one-to-one match",
    "pairs that others found with a matcher that knows places flatter places",
)


@dataclass(frozen=True, eq=False)
class KnownPatient:
    """A patient with known pairs: the lesions, the sequence of each (-1: unknown), the listed pairs."""

    lesions: LesionArrays
    sequence: Ints
    pairs: Sequence[tuple[int, int]]


def known_patients(lesions: LesionArrays, known: KnownPairs) -> list[KnownPatient]:
    """Return the patients that have known pairs, each with all its lesions."""
    sequence = known_sequences(lesions.lesion_id, known.pairs)
    patient_of = dict(zip(lesions.lesion_id.tolist(), lesions.patient.tolist(), strict=True))
    pairs: dict[int, list[tuple[int, int]]] = {}
    for pair in known.pairs:
        pairs.setdefault(patient_of[pair[0]], []).append(pair)
    found, start = [], 0
    for one in lesions.by_patient():
        own = pairs.get(int(one.patient[0]))
        if own is not None:
            found.append(KnownPatient(one, sequence[start : start + len(one)], own))
        start += len(one)
    return found


def fit_covariances(patients: Iterable[KnownPatient], start: Calibration) -> Calibration:
    """Estimate how one lesion's values differ between two studies, apart from and by the common shift.

    A study pair of n known pairs weighs n ** .5, so that the few patients with dozens don't decide alone.
    """
    size = len(FEATURES)
    inside, total = np.zeros((size, size)), np.zeros((size, size))
    inside_weight = total_weight = 0.0
    used = pairs = 0
    for one in patients:
        used += 1
        values = vectors(one.lesions)
        study, sequence = one.lesions.study, one.sequence
        same = (sequence[:, None] == sequence[None, :]) & (sequence >= 0)[:, None]
        studies = np.unique(study)
        for at, first in enumerate(studies):
            for second in studies[at + 1 :]:
                rows, others = np.nonzero(same & (study == first)[:, None] & (study == second)[None, :])
                n = len(rows)
                if not n:
                    continue
                pairs += n
                moved = values[others] - values[rows]
                total += moved.T @ moved / n**0.5
                total_weight += n**0.5
                if n > 1:
                    rest = moved - moved.mean(axis=0)
                    inside += rest.T @ rest * n / (n - 1) / n**0.5
                    inside_weight += n**0.5
    residual = inside / inside_weight if inside_weight else inside
    constant = [
        name for name, variance in zip(FEATURES, np.diag(residual), strict=True) if variance < LEAST_VARIANCE
    ]
    if constant:
        raise SourceError(
            "too few known pairs to calibrate from",
            where="the file of pairs",
            value=f"how {', '.join(constant)} vary is not told by {pairs} pairs of {used} patients",
            allowed="in each fold and its rest, two studies with two known pairs or more that differ",
            remedy="use the pairs of a whole split, such as DLT's valid.json; --evaluate fits nothing",
        )
    strength, axes = np.linalg.eigh(total / total_weight - residual)
    shift = (axes * np.maximum(strength, 0)) @ axes.T
    return replace(start, residual=_shrunk(residual), shift=_shrunk(shift))


def _shrunk(covariance: Floats) -> Floats:
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))


def choose(patients: Sequence[KnownPatient], start: Calibration) -> Calibration:
    """Fit covariances, and choose the angle weight and the thresholds over all the patients given.

    Chosen by the sum of F, top-1 and the share of patients without an error for `mutual`, by F for `paper`,
    whose distance has nothing to choose.
    """
    fitted = fit_covariances(patients, start)
    best: tuple[float, Calibration] | None = None
    for angle_weight in ANGLE_WEIGHTS:
        trial = replace(fitted, angle_weight=angle_weight)
        distances = [mutual_distance(one.lesions, trial) for one in patients]
        for threshold in THRESHOLDS:
            groups = [average_linkage(distance, threshold) for distance in distances]
            counts = _counts(patients, distances, groups)
            score = f_score(counts) + top1(counts) + without_error(counts)
            if best is None or score > best[0]:
                best = score, replace(trial, threshold=threshold)
    assert best is not None
    by_f = [
        (f_score(evaluate(patients, replace(fitted, paper_threshold=value), "paper")), -value)
        for value in PAPER_THRESHOLDS
    ]
    return replace(best[1], paper_threshold=-max(by_f)[1])


def evaluate(
    patients: Sequence[KnownPatient], calibration: Calibration, algorithm: Algorithm
) -> list[PatientCounts]:
    """Match every patient and count."""
    matches = [match_patient(one.lesions, calibration, algorithm) for one in patients]
    return _counts(patients, [m.distance for m in matches], [m.group for m in matches])


def calibrate(patients: Sequence[KnownPatient], inputs: Mapping[str, Path]) -> Calibration:
    """Return the calibration made of all patients, with the date and the inputs' SHA-256 in it."""
    made = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "inputs": {
            name: {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for name, path in inputs.items()
        },
        "patients": len(patients),
        "pairs": sum(len(one.pairs) for one in patients),
        "chosen": "angle_weight and threshold by F, top-1 and patients without error, paper_threshold by F",
    }
    return replace(choose(patients, START), made=made)


def score(patients: Sequence[KnownPatient], calibration: Calibration) -> dict[str, Any]:
    """Return the measures of both algorithms, those with noise on z, and the limits, JSON-ready."""
    rows: dict[str, Any] = {
        algorithm: summarize(evaluate(patients, calibration, algorithm)) for algorithm in ALGORITHMS
    }
    for sd in Z_NOISE:
        noisy = with_noise(patients, sd)
        rows[f"mutual_z_noise_{sd}"] = summarize(evaluate(noisy, calibration, "mutual"))
    return {**rows, "calibration": calibration.made, "limits": LIMITS}


def cross_validate(patients: Sequence[KnownPatient]) -> dict[str, Any]:
    """Return the measures of both algorithms where each patient was scored by a calibration of the others."""
    counts: dict[Algorithm, list[PatientCounts]] = {"mutual": [], "paper": []}
    chosen = []
    for fold in range(FOLDS):
        calibration = choose([one for at, one in enumerate(patients) if at % FOLDS != fold], START)
        chosen.append(
            {name: getattr(calibration, name) for name in ("angle_weight", "threshold", "paper_threshold")}
        )
        held_out = patients[fold::FOLDS]
        for algorithm, own in counts.items():
            own += evaluate(held_out, calibration, algorithm)
    measures: dict[str, Any] = {name: summarize(own) for name, own in counts.items()}
    return {**measures, "chosen_by_fold": chosen, "limits": LIMITS}


def with_noise(patients: Sequence[KnownPatient], sd: float) -> list[KnownPatient]:
    """Return the patients with Gaussian noise of one standard deviation on the published z."""
    rng = np.random.default_rng(1)
    noisy = []
    for one in patients:
        place = one.lesions.place.copy()
        place[:, 2] += rng.normal(0, sd, len(place))
        noisy.append(replace(one, lesions=replace(one.lesions, place=place)))
    return noisy


def f_score(counts: Sequence[PatientCounts]) -> float:
    """Return F over all pairs."""
    hits = sum(c.hits for c in counts)
    errors = sum(c.wrong + c.missed for c in counts)
    return 2 * hits / (2 * hits + errors) if hits else 0.0


def top1(counts: Sequence[PatientCounts]) -> float:
    """Return the share of queries whose nearest row is the lesion."""
    return sum(c.top1 for c in counts) / max(sum(c.queries for c in counts), 1)


def without_error(counts: Sequence[PatientCounts]) -> float:
    """Return the share of patients without a wrong and without a missed pair."""
    return sum(not (c.wrong or c.missed) for c in counts) / max(len(counts), 1)


def _counts(
    patients: Sequence[KnownPatient], distances: Sequence[Floats], groups: Sequence[Ints]
) -> list[PatientCounts]:
    return [
        count_patient(one.lesions, distance, group, one.sequence, one.pairs)
        for one, distance, group in zip(patients, distances, groups, strict=True)
    ]
