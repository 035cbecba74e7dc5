from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.core.errors import ConfigError
from etl.derive.lesion_arrays import lesion_arrays
from etl.derive.match_calibration import encode, read_calibration
from etl.derive.matching import (
    ALGORITHMS,
    Algorithm,
    average_linkage,
    components,
    match_patient,
    mutual_distance,
)
from tests.support.lesions_over_time import lesions_at
from tests.support.tiny_release import csv_row, parse_rows

COMMITTED = read_calibration()
LIVER, LUNG, NODE = (0.35, 0.5, 0.55), (0.6, 0.4, 0.3), (0.5, 0.6, 0.8)


def moved(place: tuple[float, float, float], dx: float, dy: float, dz: float) -> tuple[float, float, float]:
    return place[0] + dx, place[1] + dy, place[2] + dz


@pytest.mark.parametrize(
    ("study", "x", "threshold", "groups"),
    [
        ([1, 2], [0.50, 0.56], 0.07, [0, 0]),
        ([1, 2], [0.50, 0.58], 0.07, [0, 1]),
        ([1, 1], [0.50, 0.56], 0.07, [0, 0]),  # one study: merged when nearer than the threshold
        ([1, 2, 3], [0.50, 0.56, 0.62], 0.07, [0, 0, 0]),  # a chain
        ([1, 1, 2], [0.40, 0.50, 0.46], 0.07, [0, 0, 0]),  # one way: 0.40 -> 0.46 although 0.46 -> 0.50
        ([1, 2, 2], [0.50, 0.51, 0.58], 0.09, [0, 0, 0]),
        ([1, 2, 2], [0.50, 0.51, 0.59], 0.07, [0, 0, 2]),
    ],
)
def test_algorithm_1_exactly(study: list[int], x: list[float], threshold: float, groups: list[int]) -> None:
    lesions = lesions_at(study, [(value, 0.5, 0.5) for value in x])
    found = match_patient(lesions, replace(COMMITTED, paper_threshold=threshold), "paper")
    assert found.group.tolist() == groups
    np.testing.assert_allclose(found.distance, np.abs(np.subtract.outer(x, x)), atol=1e-12)


@pytest.mark.parametrize(
    ("distance", "threshold", "groups"),
    [
        ([[0, 1], [1, 0]], 1.0, [0, 1]),  # the threshold itself does not join
        ([[0, 1], [1, 0]], 1.1, [0, 0]),
        ([[0, 0], [0, 0]], 0.1, [0, 0]),  # a distance of zero is a link
        ([[0, 1, 9], [1, 0, 2], [9, 2, 0]], 5.0, [0, 0, 2]),  # mean of 9 and 2 is 5.5
        ([[0, 1, 7], [1, 0, 2], [7, 2, 0]], 5.0, [0, 0, 0]),  # mean of 7 and 2 is 4.5
        ([[0, 3, 3], [3, 0, 3], [3, 3, 0]], 4.0, [0, 0, 0]),
        ([[0, 2, 2], [2, 0, 9], [2, 9, 0]], 5.0, [0, 0, 2]),  # a tie goes to the earlier pair
        ([[0]], 5.0, [0]),
    ],
)
def test_average_linkage_exactly(distance: list[list[float]], threshold: float, groups: list[int]) -> None:
    assert average_linkage(np.array(distance, float), threshold).tolist() == groups


def test_components_name_the_first_node() -> None:
    linked = np.zeros((5, 5), bool)
    linked[3, 1] = linked[4, 3] = True
    assert components(linked).tolist() == [0, 1, 2, 1, 1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_identical_positions_are_a_link_of_distance_zero(algorithm: Algorithm) -> None:
    found = match_patient(lesions_at([1, 2], [LIVER, LIVER]), COMMITTED, algorithm)
    assert found.distance[0, 1] == 0
    assert found.group.tolist() == [0, 0]


def test_two_series_of_one_study_may_hold_one_lesion_and_one_series_two() -> None:
    lesions = lesions_at([1, 1, 2], [LIVER, moved(LIVER, 0.002, 0, 0.001), LIVER], series=[1, 2, 1])
    assert match_patient(lesions, COMMITTED).group.tolist() == [0, 0, 0]
    apart = lesions_at([1, 1, 2], [LIVER, moved(LIVER, 0.09, 0, 0.0), LIVER], series=[1, 1, 1])
    assert match_patient(apart, COMMITTED).group.tolist() == [0, 1, 0]


@pytest.mark.parametrize("interval_mm", ["5", "1", "0.5"])
def test_runs_of_one_series_at_other_intervals_hold_no_common_positions(interval_mm: str) -> None:
    """Series 003247_02_01 of the release has slices 44 to 111 at 1 mm and 120 to 132 at 5 mm."""
    upper, lower = (
        {"Normalized_lesion_location": ", ".join(map(str, place))}
        for place in ((0.3, 0.5, 0.5), (0.6, 0.4, 0.6))
    )
    rows = [
        csv_row("000001_01_01", 10, (1, 60), Spacing_mm_px_="0.8, 0.8, 5", **upper),
        csv_row("000001_01_01", 28, (1, 60), Spacing_mm_px_="0.8, 0.8, 5", **lower),
        csv_row("000001_02_01", 81, (44, 111), Spacing_mm_px_=f"0.8, 0.8, {interval_mm}", **upper),
        csv_row("000001_02_01", 126, (120, 132), Spacing_mm_px_="0.8, 0.8, 5", **lower),
    ]
    assert match_patient(lesion_arrays(parse_rows(*rows).lesions), COMMITTED).group.tolist() == [0, 1, 0, 1]


def test_common_shift_of_two_studies_is_taken_away() -> None:
    before = [LIVER, LUNG, NODE, moved(LUNG, -0.1, 0.1, 0.05)]
    after = [moved(place, 0.05, 0.04, 0.02) for place in before]
    lesions = lesions_at([1] * 4 + [2] * 4, before + after)
    with_shift = mutual_distance(lesions, COMMITTED)
    without = mutual_distance(lesions, replace(COMMITTED, shift_rounds=0))
    own = [(at, at + 4) for at in range(4)]
    assert all(with_shift[pair] < without[pair] for pair in own)
    assert match_patient(lesions, COMMITTED).group.tolist() == [0, 1, 2, 3] * 2


def test_shift_decides_where_places_alone_mislead() -> None:
    # Three nodes in a row, in the second study moved by most of a step: the next node is the nearest place.
    step = 0.05
    row = [(0.3 + step * at, 0.5, 0.5) for at in range(3)] + [LUNG, NODE]
    later = [moved(place, 0.7 * step, 0, 0) for place in row]
    lesions = lesions_at([1] * 5 + [2] * 5, row + later)
    nearest = mutual_distance(lesions, COMMITTED)[:5, 5:].argmin(axis=1)
    assert nearest.tolist() == [0, 1, 2, 3, 4]
    naive = match_patient(lesions, COMMITTED, "paper").distance[:5, 5:].argmin(axis=1)
    assert naive.tolist() != [0, 1, 2, 3, 4]


def test_an_embedding_tells_apart_what_lies_together() -> None:
    lesions = lesions_at([1, 2, 2], [LIVER, LIVER, LIVER], series=[1, 1, 2])
    looks = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    distance = mutual_distance(replace(lesions, embedding=looks), COMMITTED)
    assert distance[0, 1] == pytest.approx(COMMITTED.embedding_weight)
    assert distance[0, 2] == pytest.approx(0, abs=1e-12)


def test_a_patient_with_a_lesion_without_an_embedding_is_matched_without() -> None:
    lesions = lesions_at([1, 2, 2], [LIVER, LIVER, LUNG], series=[1, 1, 2])
    looks = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]])
    with_looks = mutual_distance(replace(lesions, embedding=looks), COMMITTED)
    np.testing.assert_array_equal(with_looks, mutual_distance(lesions, COMMITTED))


places = st.tuples(*[st.floats(0.1, 0.9).map(lambda value: round(value, 3))] * 3)
patients = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2), places), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(patients)
def test_any_patient_is_matched_the_same_way_alone_and_in_company(
    rows: list[tuple[int, int, tuple[float, float, float]]],
) -> None:
    study, series, place = zip(*rows, strict=True)
    lesions = lesions_at(study, place, series=series)
    for algorithm in ALGORITHMS:
        found = match_patient(lesions, COMMITTED, algorithm)
        again = match_patient(lesions.take(np.arange(len(rows))), COMMITTED, algorithm)
        assert found.distance.tobytes() == again.distance.tobytes()
        assert found.group.tobytes() == again.group.tobytes()
        assert np.isfinite(found.distance).all()
        assert (found.distance >= 0).all()
        assert (found.distance == found.distance.T).all()
        # Each row's group is named by the group's first row.
        assert (found.group <= np.arange(len(rows))).all()
        assert (found.group[found.group] == found.group).all()


def test_calibration_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(encode(COMMITTED))
    again = read_calibration(path)
    assert encode(again) == encode(COMMITTED)
    np.testing.assert_array_equal(again.residual, COMMITTED.residual)
    assert COMMITTED.made is not None
    assert set(COMMITTED.made) == {"date", "inputs", "patients", "pairs", "chosen"}


def changed(text: str, **values: object) -> str:
    return json.dumps(json.loads(text) | values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "{", "Expecting property name"),
        (lambda text: text.replace('"threshold"', '"treshold"', 1), "keys that differ: threshold, treshold"),
        (lambda text: text.replace('"z_of_series"', '"window"'), "features are not"),
        (lambda text: "[]", "no JSON object"),
        (lambda text: changed(text, residual=[[1.0]]), "residual is not 10 x 10"),
        (lambda text: changed(text, residual=np.zeros((10, 10)).tolist()), "residual is no covariance"),
        (lambda text: changed(text, residual=(np.ones((10, 10)) - 2 * np.eye(10)).tolist()), "no covariance"),
        (
            lambda text: changed(text, residual=np.triu(np.ones((10, 10))).tolist()),
            "residual is not symmetric",
        ),
        (lambda text: changed(text, shift=np.full((10, 10), np.nan).tolist()), "shift is not symmetric"),
        (lambda text: changed(text, shift=["x"] * 10), "could not convert"),
        (lambda text: changed(text, threshold="13"), "threshold is '13' and no number"),
        (lambda text: changed(text, threshold=np.nan), "threshold is nan and no number"),
        (lambda text: changed(text, angle_weight=-0.5), "angle_weight is -0.5 and no number"),
        (lambda text: changed(text, largest_distance=np.inf), "largest_distance is inf and no number"),
        (lambda text: changed(text, degrees_of_freedom=0), "degrees_of_freedom is 0"),
        (lambda text: changed(text, shift_rounds=2.5), "shift_rounds is 2.5 and no whole number"),
        (lambda text: changed(text, shift_rounds=True), "shift_rounds is True and no number"),
    ],
)
def test_damaged_calibration_is_refused(tmp_path: Path, damage: Callable[[str], str], said: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(damage(encode(COMMITTED)))
    with pytest.raises(ConfigError, match=said):
        read_calibration(path)
