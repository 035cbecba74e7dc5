from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from etl.core.errors import SourceError
from etl.derive.known_pairs import KnownPairs
from etl.derive.match_fit import START, KnownPatient, fit_covariances, known_patients
from tests.support.lesions_over_time import lesions_at


def patient(
    study: Sequence[int], sequence: Sequence[int], varied: bool = True, seed: int = 0
) -> KnownPatient:
    """A patient whose lesions differ at random in every value, or in places alone."""
    rng = np.random.default_rng(seed)
    n = len(study)
    place = rng.uniform(0.2, 0.8, (n, 3))
    lesions = lesions_at(study, [(x, y, z) for x, y, z in place.tolist()])
    if varied:
        long = rng.uniform(2, 3, n)
        lesions = replace(
            lesions,
            log_diameters=np.stack([long, long - rng.uniform(0.1, 0.5, n)], axis=1),
            long_angle_rad=rng.uniform(0, np.pi, n),
        )
    return KnownPatient(lesions, np.array(sequence), [])


def test_residuals_are_what_two_studies_common_shift_leaves() -> None:
    one = patient([1, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 2])
    lesions = one.lesions
    left = np.array([[0.002, 0.004, 0.003], [-0.001, 0.0, -0.001], [-0.001, -0.004, -0.002]])
    later = lesions.place[:3] + np.array([0.03, -0.02, 0.01]) + left
    one = replace(one, lesions=replace(lesions, place=np.concatenate([lesions.place[:3], later])))
    fitted = fit_covariances([one], START)
    np.testing.assert_allclose(np.diag(fitted.residual)[:3], left.var(axis=0, ddof=1))


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        ([], "0 pairs of 0 patients"),
        ([patient([1, 2], [0, 0])], "1 pairs of 1 patients"),  # no two studies with two pairs
        ([patient([1, 1, 2], [0, 0, -1])], "0 pairs of 1 patients"),
        ([patient([1, 1, 2, 2], [0, 1, 0, 1], varied=False)], "log_long_diameter"),
    ],
)
def test_pairs_that_do_not_tell_how_values_vary_are_refused(patients: list[KnownPatient], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        fit_covariances(patients, START)


def test_only_patients_with_known_pairs_are_taken_each_with_all_lesions() -> None:
    lesions = lesions_at([1, 2, 1, 2, 2], [(0.5, 0.5, 0.5)] * 5)
    lesions = replace(lesions, patient=np.array([1, 1, 4, 4, 4]))
    found = known_patients(lesions, KnownPairs(((2, 4),), 1, 0))
    assert [one.lesions.lesion_id.tolist() for one in found] == [[2, 3, 4]]
    assert found[0].sequence.tolist() == [2, -1, 2]
    assert found[0].pairs == [(2, 4)]
