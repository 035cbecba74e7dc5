from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
import pytest

from etl.derive.known_pairs import read_known_pairs
from etl.derive.position_checks import (
    PUBLISHED_REPEATABILITY,
    interval,
    key_slice_measures,
    release_check,
    repeatability,
)
from etl.release.annotations import parse_annotations
from tests.support.processes import ROOT

SHARED = ROOT.parent / "shared"


def test_measures_of_key_slices_exactly() -> None:
    found = key_slice_measures([0.2, 0.4, 0.6], [0.3, 0.4, 0.5], ["a", "b", "b"])
    assert found == {
        "key_slices": 3,
        "spearman": 1.0,
        "mean_absolute_error": 0.066667,
        # Patient a alone is off by 0.1, b alone by 0.05.
        "mean_absolute_error_95": [0.05, 0.1],
        "mean_absolute_error_of_the_mean": 0.133333,
    }


@pytest.mark.parametrize(("true", "guess"), [([0.1, 0.2], [0.1, 0.2]), ([0.1, 0.2, 0.3], [nan] * 3)])
def test_nothing_is_measured_of_few_slices_or_without_a_scale(true: list[float], guess: list[float]) -> None:
    assert key_slice_measures(true, guess, ["a"] * len(true)) == {"key_slices": len(true)}


@pytest.mark.parametrize(
    ("measured", "reached"),
    [
        ({"spearman": 0.98, "mean_absolute_error": 0.02}, True),
        ({"spearman": 0.979, "mean_absolute_error": 0.02}, False),
        ({"spearman": 0.99, "mean_absolute_error": 0.021}, False),
        ({"spearman": None, "mean_absolute_error": 0.01}, None),
        ({"key_slices": 2}, None),
    ],
)
def test_the_check_of_a_release(measured: dict[str, Any], reached: bool | None) -> None:
    assert release_check(measured)["reached"] is reached


def test_repeatability_exactly() -> None:
    found = repeatability([[0.5, 0.52], [0.1, 0.1], [0.7, 0.76]], [[0.5, 0.51], [0.2, 0.5], [nan, 0.1]])
    assert found["pairs"] == 3
    assert found["median_difference"] == pytest.approx(0.155)
    assert found["median_difference_of_published"] == pytest.approx(0.02)
    assert repeatability([], [])["median_difference"] is None


def test_an_interval_is_over_patients() -> None:
    """Many slices of one patient are no many patients."""
    low, high = interval([0.0] * 50 + [1.0], ["a"] * 50 + ["b"])
    assert (low, high) == (0.0, 1.0)


@pytest.mark.slow
def test_the_published_repeatability_is_that_of_the_known_pairs() -> None:
    rows, pairs = SHARED / "real/DL_info_part.csv", SHARED / "annotations/dlt/valid.json"
    if not rows.is_file() or not pairs.is_file():
        pytest.skip("needs ../shared/real and ../shared/annotations, which are not there")
    lesions = parse_annotations(rows.read_bytes(), rows.name).lesions
    z, study = (
        dict(zip(lesions["lesion_id"], lesions[column], strict=True)) for column in ("norm_z", "study_index")
    )
    known = read_known_pairs(pairs.read_bytes(), pairs.name, lesions).pairs
    several = [(z[a], z[b]) for a, b in known if study[a] != study[b]]
    assert len(several) == 426
    found = repeatability(several, np.full((426, 2), nan))["median_difference_of_published"]
    assert found == pytest.approx(PUBLISHED_REPEATABILITY, abs=5e-5)
