from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from etl.derive.match_calibration import read_calibration
from etl.derive.matching import PatientMatch
from etl.derive.sequences import age_falls, confidence, match_lesions, sequence_id
from tests.support.lesions_over_time import lesions_at

LIVER, LUNG = (0.35, 0.5, 0.55), (0.6, 0.4, 0.3)
CALIBRATION = read_calibration()


def test_rows_of_both_tables_exactly() -> None:
    lesions = lesions_at([1, 2, 2, 4], [LIVER, LUNG, LIVER, LIVER], lesion_id=[7, 9, 11, 30], patient=61)
    ages = pd.Series([60, 58, 58, None], [7, 9, 11, 30], dtype="Int16")
    found = match_lesions(lesions, ages, CALIBRATION)
    rows = found.sequences
    assert rows["lesion_id"] == [7, 9, 11, 30]
    assert rows["sequence_id"] == ["000061_00007", "000061_00009", "000061_00007", "000061_00007"]
    assert rows["position"] == [0, 0, 1, 2]
    assert rows["studies"] == [3, 1, 3, 3]
    assert rows["age_falls"] == [True] * 4
    assert rows["confidence"][0] == 1.0
    assert 0.5 < rows["confidence"][1] < 1
    assert rows["method"] == ["mutual, calibration of 2026-11-29"] * 4

    links = {
        (a, b): (distance, mutual, kept, reason)
        for a, b, distance, mutual, kept, reason in zip(
            *(
                found.links[name]
                for name in ("lesion_id", "other_lesion_id", "distance", "mutual", "kept", "reason")
            ),
            strict=True,
        )
    }
    assert links[7, 11] == links[11, 30] == links[7, 30] == (0.0, True, True, "nearest both ways")
    far = links[7, 9]
    assert far[1:] == (False, False, "not nearer than the threshold")
    assert far[0] > CALIBRATION.threshold
    assert (9, 11) not in links  # one series
    at = found.links["other_lesion_id"].index(11)
    assert found.links["next_distance"][at] == far[0]


def test_algorithm_1_leaves_a_near_lesion_to_a_nearer_one() -> None:
    places = [(x, 0.5, 0.5) for x in (0.50, 0.60, 0.47, 0.555)]
    lesions = lesions_at([1, 1, 2, 2], places, series=[1, 1, 1, 2])
    ages = pd.Series([60] * 4)
    found = match_lesions(lesions, ages, replace(CALIBRATION, paper_threshold=0.07), "paper")
    assert found.sequences["sequence_id"] == [sequence_id(1, first) for first in (0, 1, 0, 1)]
    at = list(zip(found.links["lesion_id"], found.links["other_lesion_id"], strict=True)).index((0, 3))
    assert found.links["distance"][at] == 0.055
    assert found.links["reason"][at] == "another lesion of the study is nearer"


def test_a_lone_lesion_is_a_sequence_without_confidence() -> None:
    found = match_lesions(lesions_at([3], [LIVER]), pd.Series([50], [0]), CALIBRATION)
    assert found.sequences["confidence"] == [None]
    assert found.sequences["sequence_id"] == [sequence_id(1, 0)]
    assert all(column == [] for column in found.links.values())


def test_confidence_exactly() -> None:
    distance = np.array([[0, 2, 6, 30], [2, 0, 8, 30], [6, 8, 0, 40], [30, 30, 40, 0]], float)
    match = PatientMatch(distance, np.array([0, 0, 2, 3]), threshold=5.0)
    expected = [5 / (2 + 5), 5 / (2 + 5), 7 / (5 + 7), 30 / (5 + 30)]
    np.testing.assert_allclose(confidence(match), expected)


@pytest.mark.parametrize(
    ("study", "age", "falls"),
    [
        ([1, 2, 3], [61, 31, 32], True),
        ([1, 2, 3], [61, 61, 62], False),
        ([3, 1, 2], [62, 61, 61], False),
        ([1, 2, 3], [61, None, 60], True),
        ([1, 2], [None, None], False),
        ([1, 1], [61, 60], False),
    ],
)
def test_age_that_falls_with_the_study_number(study: list[int], age: list[float], falls: bool) -> None:
    assert age_falls(np.array(study), np.array(age, float)) is falls
