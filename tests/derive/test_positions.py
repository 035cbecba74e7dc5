from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.derive.position_measures import mean_spearman, order_accuracy, ranks, score_of_file, spearman


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, 1.0, 2.0], [3, 1, 2]), ([5.0, 5.0, 1.0], [2.5, 2.5, 1]), ([7.0, 7.0, 7.0], [2, 2, 2]), ([], [])],
)
def test_ranks_exactly(values: list[float], expected: list[float]) -> None:
    assert ranks(values).tolist() == expected


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 400], 1),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1),
        ([1, 2, 3], [1, 3, 2], 0.5),
        ([1, 2, 3], [1, 1, 2], 3**0.5 / 2),
        ([1, 2, 3], [5, 5, 5], nan),
    ],
)
def test_spearman_exactly(reference: list[float], predicted: list[float], expected: float) -> None:
    assert spearman(reference, predicted) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[1, 2, 3], [1, 3, 2]], (0.75, 0)),
        ([[1, 2, 3], [5, 5, 5]], (0.5, 1)),
        ([[5, 5, 5]], (0, 1)),
        ([], (nan, 0)),
    ],
)
def test_a_series_of_equal_scores_counts_as_0(scores: list[list[float]], expected: tuple[float, int]) -> None:
    assert mean_spearman(([0, 5, 10], one) for one in scores) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        ([0, 2, 4], [1, 2, 3], 1),
        ([0, 2, 4], [3, 2, 1], 0),
        ([0, 2, 4], [1, 3, 2], 2 / 3),
        ([0, 1, 4], [2, 1, 3], 1),  # 0 and 1 differ by 1, which is not more than 1
        ([0, 2, 4], [1, 1, 3], 2.5 / 3),  # a tie counts half
        ([0, 1, 1], [0, 1, 2], nan),
    ],
)
def test_order_accuracy_exactly(reference: list[float], predicted: list[float], expected: float) -> None:
    assert order_accuracy(reference, predicted) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20), st.integers(0, 99))
def test_measures_see_order_only(values: list[int], seed: int) -> None:
    guess = np.random.default_rng(seed).integers(-5, 5, len(values)).astype(float)
    for measure in (spearman, order_accuracy):
        assert measure(values, guess) == pytest.approx(measure(values, np.exp(guess)), nan_ok=True)
    share = order_accuracy(values, guess)
    assert order_accuracy(values, -guess) == pytest.approx(1 - share, nan_ok=True)


def test_real_scores_are_in_their_files_names() -> None:
    folder = Path(__file__).parents[3] / "shared" / "body_part" / "scored_slices"
    if not folder.is_dir():
        pytest.skip("needs ../shared/body_part, which is not there")
    scores = [score_of_file(path.name) for path in folder.glob("*.png")]
    known = [score for score in scores if score is not None]
    assert len(known) == len(scores) == 50
    assert (min(known), max(known)) == pytest.approx((-12.1, 11.1), abs=1.5)
    assert (spearman(known, known), order_accuracy(known, known)) == pytest.approx((1, 1))


@pytest.mark.parametrize("name", ["7_score_x_a.png", "score_1_a.png", "001_score_1.5_a.jpg", "001_103.png"])
def test_other_files_have_no_score(name: str) -> None:
    assert score_of_file(name) is None
