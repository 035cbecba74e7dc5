"""Measures of a search for lesions of other patients that are like a lesion: type, place and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from etl.derive.lesion_arrays import Floats, Ints, LesionArrays
from etl.derive.nearest import nearest, values_of

NEIGHBOURS = 20
SHOWN = 10
TYPES = 8
FOLDS = 5
RESAMPLES = 2000
SEED = 20
REFERENCE = {
    "x, y, z": {"top1": 0.755, "p_at_10": 0.727, "nn20": 0.795, "type_classifier": 0.801},
    "x, y, z and diameters": {"top1": 0.724, "p_at_10": 0.679, "nn20": 0.763, "type_classifier": 0.817},
    "the paper's sequence loss on these numbers": {"p_at_10": 0.735, "nn20": 0.800},
    "posterior of gradient boosting": {"top1": 0.732, "p_at_10": 0.736, "nn20": 0.810},
    "reach of the model place": {"top1": 0.770, "p_at_10": 0.755, "nn20": 0.825},
    "Yan et al., CVPR 2018, with pixels": {"top1": 0.905},
    "Yan et al., CVPR 2018, ImageNet features": {"top1": 0.862},
}
"""Measures on the release's test rows with val as gallery, but for the paper's own; older than this code."""
NAMES = ("top1", "p_at_10", "nn20", "macro_recall", "place_error", "size_error_mm")


class Labelled(NamedTuple):
    """Lesions with a coarse type: n lesions, and (n,) codes 1 to 8."""

    lesions: LesionArrays
    coarse_type: Ints

    def take(self, rows: Ints) -> Labelled:
        """Return some rows."""
        return Labelled(self.lesions.take(rows), self.coarse_type[rows])


@dataclass(frozen=True, eq=False)
class Answers:
    """The results of n queries.

    Attributes:
        patient, coarse_type: (n,) of the queries.
        top1: (n,) 1 where the nearest lesion is of the query's type.
        p_at_10: (n,) share of the query's type among the ten nearest.
        voted: (n,) type that most of the twenty nearest have; of equal numbers, that of the nearest lesion.
        place_error: (n,) mean Euclidean distance of the published places of the ten nearest; NaN where none
            was found, as for a query without a vector.
        size_error_mm: (n,) mean difference of their long diameters; NaN likewise.
    """

    patient: Ints
    coarse_type: Ints
    top1: Floats
    p_at_10: Floats
    voted: Ints
    place_error: Floats
    size_error_mm: Floats


def vectors(lesions: LesionArrays) -> Floats:
    """Return the (n, d) vectors that lesions have from a model.

    Raises:
        ValueError: they have none.
    """
    if lesions.embedding is None:
        raise ValueError("these lesions have no embedding")
    return lesions.embedding


def answer(gallery: Labelled, queries: Labelled, embed: Callable[[LesionArrays], Floats]) -> Answers:
    """Search each query among the gallery's lesions of other patients."""
    rows, _ = nearest(
        embed(gallery.lesions),
        gallery.lesions.lesion_id,
        embed(queries.lesions),
        NEIGHBOURS,
        gallery.lesions.patient,
        queries.lesions.patient,
    )
    return answers_of(gallery, queries, rows)


def answers_of(gallery: Labelled, queries: Labelled, rows: Ints) -> Answers:
    """Judge neighbours.

    Args:
        rows: (n, 20) rows of the gallery, nearest first, -1 for none.
    """
    found, shown = values_of(rows, gallery.coarse_type, 0), rows[:, :SHOWN]
    right = found == queries.coarse_type[:, None]
    apart = values_of(shown, gallery.lesions.place, np.nan) - queries.lesions.place[:, None]
    size = np.exp(values_of(shown, gallery.lesions.log_diameters[:, 0], np.nan))
    size_apart = np.abs(size - np.exp(queries.lesions.log_diameters[:, :1]))
    return Answers(
        patient=queries.lesions.patient,
        coarse_type=queries.coarse_type,
        top1=right[:, 0].astype(float),
        p_at_10=right[:, :SHOWN].sum(axis=1) / SHOWN,
        voted=_votes(found),
        place_error=_mean_of_found(np.sqrt((apart**2).sum(axis=-1))),
        size_error_mm=_mean_of_found(size_apart),
    )


def _mean_of_found(values: Floats) -> Floats:
    """Return the mean of each row's values that are there; NaN without any."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(there, values, 0).sum(axis=1) / there.sum(axis=1)
    return means


def _votes(found: Ints) -> Ints:
    votes = np.stack([(found == code).sum(axis=1) for code in range(TYPES + 1)], axis=1)
    votes[:, 0] = 0
    most = votes == votes.max(axis=1, keepdims=True)
    first = np.argmax(np.take_along_axis(most, found, axis=1), axis=1)
    return found[np.arange(len(found)), first]


def summarize(answers: Answers) -> dict[str, Any]:
    """Return the measures with 95 % bootstrap intervals over patients, JSON-ready.

    Errors are means over the queries that found a lesion; None where none did.
    """
    patients, at = np.unique(answers.patient, return_inverse=True)
    hit = answers.voted == answers.coarse_type
    found = ~np.isnan(answers.place_error)
    columns = [
        answers.top1,
        answers.p_at_10,
        hit,
        np.where(found, answers.place_error, 0),
        np.where(found, answers.size_error_mm, 0),
        np.ones(len(at)),
        found,
    ]
    for code in range(1, TYPES + 1):
        columns += [hit & (answers.coarse_type == code), answers.coarse_type == code]
    sums = np.stack([np.bincount(at, values.astype(float), len(patients)) for values in columns], axis=1)
    draws = np.random.default_rng(SEED).integers(0, len(patients), (RESAMPLES, len(patients)))
    counted = np.array([np.bincount(draw, minlength=len(patients)) for draw in draws], np.float64)
    point, spread = _ratios(sums.sum(axis=0, keepdims=True))[0], _ratios(counted @ sums)
    return {
        **{name: _rounded(value) for name, value in zip(NAMES, point, strict=True)},
        "intervals": {name: _interval(spread[:, column]) for column, name in enumerate(NAMES)},
        "queries": len(at),
        "patients": len(patients),
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _interval(values: Floats) -> list[float | None]:
    there = values[~np.isnan(values)]
    return [_rounded(v) for v in np.quantile(there, (0.025, 0.975))] if len(there) else [None, None]


def _ratios(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, errors = sums[:, :3] / sums[:, 5:6], sums[:, 3:5] / sums[:, 6:7]
        recall = np.nanmean(sums[:, 7::2] / sums[:, 8::2], axis=1)
    return np.column_stack([shares, recall, errors])


def by_folds(rows: Labelled, learn: Callable[[Labelled], Callable[[LesionArrays], Floats]]) -> Answers:
    """Answer each patient's lesions by the other folds' lesions and an embedding learned on these."""
    patients = np.unique(rows.lesions.patient)
    fold_of = np.random.default_rng(0).permutation(len(patients)) % FOLDS
    fold = fold_of[np.searchsorted(patients, rows.lesions.patient)]
    parts = []
    for number in range(FOLDS):
        gallery = rows.take(np.flatnonzero(fold != number))
        parts.append(answer(gallery, rows.take(np.flatnonzero(fold == number)), learn(gallery)))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in Answers.__annotations__
    }
    return Answers(**joined)
