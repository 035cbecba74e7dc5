from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from etl.derive.match_measures import PatientCounts, certain, count_patient, same_place, summarize
from tests.support.lesions_over_time import lesions_at


def test_certain_pairs_exactly() -> None:
    #      sequence 0 in studies 1, 2; sequence 1 in 2, 3; sequence 5 in 4; one row unknown
    study = np.array([1, 2, 2, 3, 4, 4])
    sequence = np.array([0, 0, 1, 1, 5, -1])
    same, apart = certain(study, sequence)
    assert set(zip(*(axis.tolist() for axis in np.nonzero(np.triu(same, 1))), strict=True)) == {
        (0, 1),
        (2, 3),
    }
    found = set(zip(*(axis.tolist() for axis in np.nonzero(np.triu(apart, 1))), strict=True))
    assert found == {(0, 2), (0, 3), (1, 2), (1, 3)}


@pytest.mark.parametrize(
    ("group", "hits", "wrong", "missed", "unknown"),
    [
        ([0, 0, 2, 2, 4], 2, 0, 0, 0),
        ([0, 1, 2, 3, 4], 0, 0, 2, 0),
        ([0, 0, 0, 0, 4], 2, 4, 0, 0),
        ([0, 0, 2, 2, 0], 2, 0, 0, 2),
        ([0, 1, 1, 0, 4], 0, 2, 2, 0),
    ],
)
def test_pairs_are_counted_exactly(
    group: list[int], hits: int, wrong: int, missed: int, unknown: int
) -> None:
    lesions = lesions_at([1, 2, 1, 2, 2], [(0.5, 0.5, 0.5)] * 5)
    sequence = np.array([0, 0, 2, 2, -1])
    counts = count_patient(lesions, np.zeros((5, 5)), np.array(group), sequence, [(0, 1), (2, 3)])
    assert (counts.hits, counts.wrong, counts.missed, counts.unknown) == (hits, wrong, missed, unknown)


def test_top1_looks_at_all_rows_of_the_other_study_and_at_no_row_of_one_study() -> None:
    x = [0.50, 0.52, 0.51, 0.90]  # 0 -> its lesion is 1, but the unlisted row 2 is nearer; 1 -> 0 is right
    lesions = lesions_at([1, 2, 2, 2], [(value, 0.5, 0.5) for value in x], series=[1, 1, 1, 2])
    distance = np.abs(np.subtract.outer(x, x))
    sequence = np.array([0, 0, -1, 0])
    counts = count_patient(lesions, distance, np.arange(4), sequence, [(0, 1), (1, 3)])
    assert (counts.queries, counts.top1, counts.top1_unknown) == (2, 1, 1)


@pytest.mark.parametrize(
    ("study", "dx", "dz", "together"),
    [
        (2, 0.0, 0.0, True),
        (2, 4.9 / 350, 4.9 / 900, True),  # a quarter of 20 mm, 5 mm
        (2, 5.1 / 350, 0.0, False),
        (2, 0.0, 5.1 / 900, False),
        (3, 0.0, 0.0, False),  # another study has another grid
    ],
)
def test_rows_of_one_study_at_one_place(study: int, dx: float, dz: float, together: bool) -> None:
    lesions = lesions_at([2, study], [(0.5, 0.5, 0.5), (0.5 + dx, 0.5, 0.5 + dz)], series=[1, 2])
    assert same_place(lesions).tolist() == [[True, together], [together, True]]


def test_a_row_at_the_place_of_the_lesion_is_counted_apart() -> None:
    # The lesion of row 0 is row 1; row 2 is the same lesion in another series, which nobody listed.
    lesions = lesions_at([1, 2, 2], [(0.5, 0.5, 0.5)] * 3, series=[1, 1, 2])
    distance = np.array([[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    counts = count_patient(lesions, distance, np.arange(3), np.array([0, 0, -1]), [(0, 1)])
    assert (counts.queries, counts.top1, counts.top1_unknown, counts.top1_same_place) == (2, 1, 1, 2)


def test_summary_exactly() -> None:
    clean = PatientCounts(
        hits=8, wrong=0, missed=0, unknown=3, queries=10, top1=10, top1_unknown=0, top1_same_place=10
    )
    bad = PatientCounts(
        hits=1, wrong=2, missed=1, unknown=0, queries=4, top1=2, top1_unknown=1, top1_same_place=3
    )
    result = summarize([clean, bad])
    assert result["top1"] == round(12 / 14, 4)
    assert result["top1_of_known"] == round(12 / 13, 4)
    assert result["top1_same_place"] == round(13 / 14, 4)
    assert (result["precision"], result["recall"]) == (round(9 / 11, 4), 0.9)
    assert result["f"] == round(18 / 21, 4)
    assert result["patients_without_error"] == 0.5
    assert (result["patients"], result["known_pairs"], result["unknown_pairs"]) == (2, 10, 3)
    assert result["intervals"]["f"] == [0.4, 1.0]  # either patient alone
    assert summarize([clean, bad]) == result
    same = summarize([clean] * 5)
    assert same["intervals"]["precision"] == [1.0, 1.0]


def test_a_measure_of_nothing_is_none() -> None:
    # Pairs within one study ask no query, and no pair is joined.
    apart = PatientCounts(
        hits=0, wrong=0, missed=2, unknown=0, queries=0, top1=0, top1_unknown=0, top1_same_place=0
    )
    result = summarize([apart] * 3)
    assert [result[name] for name in ("top1", "top1_of_known", "top1_same_place", "precision")] == [None] * 4
    assert result["intervals"]["top1"] is result["intervals"]["precision"] is None
    assert (result["recall"], result["f"], result["intervals"]["recall"]) == (0.0, 0.0, [0.0, 0.0])
    json.dumps(result, allow_nan=False)
    seen = replace(apart, queries=2, top1=1, top1_same_place=1)
    assert summarize([apart] * 30 + [seen])["intervals"]["top1"] == [0.5, 0.5]
