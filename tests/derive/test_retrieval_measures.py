from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from etl.derive.lesion_arrays import LesionArrays
from etl.derive.retrieval_measures import Labelled, answer, answers_of, by_folds, summarize
from tests.support.lesions_over_time import lesions_at


def labelled(x: list[float], types: list[int], patients: list[int] | None = None) -> Labelled:
    lesions = lesions_at([1] * len(x), [(value, 0.5, 0.5) for value in x])
    if patients is not None:
        lesions = replace(lesions, patient=np.array(patients))
    return Labelled(lesions, np.array(types))


def rows_of(*found: int) -> np.ndarray:
    return np.array([[*found, *[-1] * (20 - len(found))]])


@pytest.mark.parametrize(
    ("found", "top1", "p_at_10", "voted"),
    [
        ([0, 1, 2], 1, 0.2, 4),
        ([2, 1, 0], 0, 0.2, 4),
        ([2, 3, 0, 1], 0, 0.2, 5),  # two votes each: the type of the nearest
        ([0, 2, 3, 1], 1, 0.2, 4),
        ([2, 3, 0], 0, 0.1, 5),
    ],
)
def test_one_query_exactly(found: list[int], top1: int, p_at_10: float, voted: int) -> None:
    gallery = labelled([0.5, 0.6, 0.7, 0.8], [4, 4, 5, 5])
    query = labelled([0.5], [4])
    answers = answers_of(gallery, query, rows_of(*found))
    assert (answers.top1.tolist(), answers.p_at_10.tolist()) == ([top1], [p_at_10])
    assert answers.voted.tolist() == [voted]
    expected = np.mean([abs(0.5 - (0.5, 0.6, 0.7, 0.8)[row]) for row in found])
    assert answers.place_error[0] == pytest.approx(expected)
    assert answers.size_error_mm[0] == pytest.approx(0)


def test_summary_exactly() -> None:
    gallery = labelled([0.1, 0.9], [1, 2])
    queries = labelled([0.1, 0.2, 0.9], [1, 2, 2], [7, 8, 8])
    summary = summarize(answer(gallery, queries, lambda lesions: lesions.place))
    # Patient 1 holds the gallery. Each query is voted the type of its nearest lesion.
    assert summary["top1"] == summary["nn20"] == round(2 / 3, 4)
    assert summary["macro_recall"] == round((1 / 1 + 1 / 2) / 2, 4)
    assert (summary["queries"], summary["patients"]) == (3, 2)
    assert summary["intervals"]["top1"] == [0.5, 1.0]


@pytest.mark.parametrize("without", [[], [1], [0, 2], [0, 1, 2]])
def test_errors_are_those_of_the_queries_that_found_a_lesion(without: list[int]) -> None:
    """A query finds none where it has no vector: one whose volume was rejected, or not embedded yet."""
    gallery = labelled([0.1, 0.9], [1, 2])
    queries = labelled([0.1, 0.2, 0.9], [1, 1, 2], [7, 8, 9])

    def embed(lesions: LesionArrays) -> np.ndarray:
        place = lesions.place.copy()
        place[np.isin(lesions.patient, np.array([7, 8, 9])[without])] = np.nan
        return place

    summary = summarize(answer(gallery, queries, embed))
    left = [np.mean([abs(x - 0.1), abs(x - 0.9)]) for x in np.delete([0.1, 0.2, 0.9], without)]
    expected = round(float(np.mean(left)), 4) if left else None
    assert summary["place_error"] == expected
    assert summary["size_error_mm"] == (0 if left else None)
    assert summary["top1"] == round((3 - len(without)) / 3, 4)
    assert summary["queries"] == 3
    low, high = summary["intervals"]["place_error"]
    assert (low, high) == (None, None) if expected is None else low <= expected <= high
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("patients", [[5], [5, 5, 5], [5, 5, 6]])
def test_folds_of_few_patients_answer_what_they_can(patients: list[int]) -> None:
    rows = labelled([0.1] * len(patients), [3] * len(patients), patients)
    answers = by_folds(rows, lambda part: lambda lesions: lesions.place)
    assert sorted(answers.patient.tolist()) == patients
    assert answers.top1.tolist() == [float(len(set(patients)) > 1)] * len(patients)


def test_folds_never_answer_a_patient_by_itself_or_by_weights_learned_on_it() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(1, 21), 3)
    rows = labelled(rng.uniform(0.1, 0.9, 60).tolist(), [1 + at % 2 for at in range(60)], patients.tolist())
    learned_on: list[set[int]] = []

    def learn(part: Labelled):  # type: ignore[no-untyped-def]
        learned_on.append(set(part.lesions.patient.tolist()))

        def embed(lesions):  # type: ignore[no-untyped-def]
            return lesions.place

        return embed

    answers = by_folds(rows, learn)
    assert len(learned_on) == 5
    assert sorted(answers.patient.tolist()) == patients.tolist()
    start = 0
    for own in learned_on:
        asked = set(answers.patient[start : start + 60 - 3 * len(own)].tolist())
        assert not asked & own
        assert len(asked | own) == 20
        start += 60 - 3 * len(own)
