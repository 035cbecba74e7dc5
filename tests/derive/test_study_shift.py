from __future__ import annotations

import numpy as np
import pytest

from etl.derive.match_calibration import read_calibration
from etl.derive.study_shift import likely_pairs, local_shift, whitening, without_shift

COMMITTED = read_calibration()


def differences(values: np.ndarray) -> np.ndarray:
    return values[None, :] - values[:, None]


def sure(sequence: list[int], study: list[int]) -> np.ndarray:
    """Weights where every pair of one sequence is certain."""
    same = np.equal.outer(sequence, sequence) & ~np.equal.outer(study, study)
    return same.astype(float)


def test_whitened_values_have_the_calibrated_covariances() -> None:
    axes, variance = whitening(COMMITTED)
    np.testing.assert_allclose(axes.T @ COMMITTED.residual @ axes, np.eye(len(axes)), atol=1e-9)
    np.testing.assert_allclose(axes.T @ COMMITTED.shift @ axes, np.diag(variance), atol=1e-9)


def test_likely_pairs_exactly() -> None:
    distance = np.array([[0.0, 0.0, 99.0], [0.0, 0.0, 4.0], [99.0, 4.0, 0.0]])
    found = likely_pairs(distance, np.array([0, 1, 1]), no_match_distance=0.0)
    half = np.exp(-99 / 2)
    of_first = 1 / (1 + half + 1)
    assert found[0, 1] == pytest.approx(of_first * 1 / 2)
    assert found[0, 1] == found[1, 0]
    assert found[1, 2] == 0  # one study


@pytest.mark.parametrize("prior", [1e6, 1.0, 1e-9])
def test_two_studies_are_moved_by_the_shrunk_mean_of_their_pairs(prior: float) -> None:
    # Three certain pairs moved by 2: the mean of three differences of variance 1, and the prior's variance.
    study, sequence = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    values = np.array([[5.0], [9.0], [1.0], [7.0], [11.0], [3.0]])
    moved, left = without_shift(
        differences(values), sure(sequence, study), np.array(study), np.array([prior])
    )
    shrunk = 2 * prior / (prior + 1 / 3)
    assert moved[0, 3, 0] == pytest.approx(2 - shrunk, abs=1e-8)
    assert moved[3, 0, 0] == pytest.approx(shrunk - 2, abs=1e-8)
    assert moved[0, 1, 0] == 4  # one study
    assert left[0, 3, 0] == pytest.approx(1 + prior * (1 / 3) / (prior + 1 / 3), rel=1e-6)


def test_a_third_study_tells_the_shift_of_two_without_a_sure_pair() -> None:
    # Studies 0 and 2 share no sure pair, but both share two with study 1, which lies 3 and 5 away.
    study, sequence = [0, 0, 1, 1, 1, 1, 2, 2], [0, 1, 0, 1, 2, 3, 2, 3]
    values = np.array([[0.0], [4.0], [3.0], [7.0], [20.0], [30.0], [25.0], [35.0]])
    weight = sure(sequence, study)
    moved, left = without_shift(differences(values), weight, np.array(study), np.array([1e6]))
    assert moved[0, 6, 0] == pytest.approx(25 - 8, abs=1e-4)
    assert left[0, 6, 0] == pytest.approx(1 + 1 / 2 + 1 / 2, abs=1e-4)


def test_neighbours_say_how_a_place_moved_and_no_pair_speaks_for_itself() -> None:
    study, sequence = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    here, near, far = (0.5, 0.5, 0.5), (0.52, 0.5, 0.5), (0.5, 0.5, 0.9)
    place = np.array([here, near, far] * 2)
    moved = np.zeros((6, 6, 1))
    moved[1, 4], moved[4, 1] = 3.0, -3.0  # the neighbour moved by 3, the others did not
    found = local_shift(moved, sure(sequence, study), np.array(study), place, COMMITTED)
    close = np.exp(-(7.0**2) / 2 / COMMITTED.local_shift_mm**2)
    assert found[0, 3, 0] == pytest.approx(3 * close / (close + COMMITTED.local_shift_pairs), rel=0.02)
    assert found[3, 0, 0] == -found[0, 3, 0]
    assert abs(found[2, 5, 0]) < 0.01  # 360 mm away
    assert abs(found[1, 4, 0]) < 0.01  # itself
