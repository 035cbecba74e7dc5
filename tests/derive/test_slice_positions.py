from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import ConfigError
from etl.derive.slice_positions import (
    Order,
    Scale,
    monotone_map,
    norm_z_of,
    order_of,
    regions_of,
    robust_line,
    smoothed,
    source_planes,
)
from etl.derive.volume_table import VolumeRow

SCALE = Scale(
    0.01, 0.001, (0.0, 1.0, 3.0), (0.2, 0.4, 0.8), (("chest", 0.0), ("abdomen", 0.4), ("pelvis", 0.7))
)


@pytest.mark.parametrize(
    ("slices", "apart_mm", "planes", "spacing_mm", "expected"),
    [
        (3, 5.0, 11, 1.0, [0, 5, 10]),
        (4, 0.5, 2, 1.0, [0, 0, 1, 1]),  # half a plane rounds to the even one; never past the last
        (3, 2.5, 6, 1.0, [0, 2, 5]),
        (1, 5.0, 1, 1.0, [0]),
        (3, 2.0, 3, 2.0, [0, 1, 2]),
    ],
)
def test_planes_of_source_slices(
    slices: int, apart_mm: float, planes: int, spacing_mm: float, expected: list[int]
) -> None:
    row = VolumeRow("v", "p", 7, (planes, 4, 4), (spacing_mm,) * 3, (slices, 4, 4), (apart_mm, 1, 1))
    found, mm = source_planes(row)
    assert found.tolist() == expected
    assert mm.tolist() == [n * apart_mm for n in range(slices)]


@pytest.mark.parametrize(
    ("scores", "mm", "slope", "residual"),
    [
        ([0, 1, 2, 3], [0, 10, 20, 30], 0.1, 0),
        ([3, 2, 1, 0], [0, 10, 20, 30], -0.1, 0),
        ([0, 1, 50, 3, 4], [0, 10, 20, 30, 40], 0.1, 0),  # one slice is far off
        ([1, 1], [0, 5], 0, 0),
    ],
)
def test_a_robust_line_exactly(scores: list[float], mm: list[float], slope: float, residual: float) -> None:
    line = robust_line(scores, mm)
    assert line is not None
    assert (line.slope_per_mm, line.residual) == pytest.approx((slope, residual))


@pytest.mark.parametrize(("scores", "mm"), [([], []), ([1.0], [0.0]), ([1.0, 2.0], [3.0, 3.0])])
def test_no_line_through_one_position(scores: list[float], mm: list[float]) -> None:
    assert robust_line(scores, mm) is None


def test_a_long_volume_has_the_line_of_a_part_of_its_slices() -> None:
    mm = np.arange(2000) * 0.5
    line = robust_line(mm * 0.01 + 3, mm)
    assert line is not None
    assert (line.slope_per_mm, line.intercept) == pytest.approx((0.01, 3))


@pytest.mark.parametrize(
    ("slope", "length_mm", "expected"),
    [
        (0.0101, 60.0, Order.OK),
        (0.0139, 60.0, Order.OK),
        (0.0141, 60.0, Order.IMPLAUSIBLE_SLOPE),
        (0.0059, 60.0, Order.IMPLAUSIBLE_SLOPE),
        (-0.01, 60.0, Order.REVERSED),
        (0.01, 19.9, Order.TOO_SHORT),
    ],
)
def test_orders(slope: float, length_mm: float, expected: Order) -> None:
    mm = np.linspace(0, length_mm, 7)
    assert order_of(robust_line(mm * slope, mm), length_mm, SCALE) is expected


@pytest.mark.parametrize("deviation", [0.0, 0.002, 1.0])
def test_slices_with_one_score_have_no_order(deviation: float) -> None:
    scale = Scale(slope_mean=0.01, slope_deviation=deviation)
    mm = np.arange(60.0)
    assert order_of(robust_line(np.full(60, 0.3), mm), 59.0, scale) is Order.IMPLAUSIBLE_SLOPE


def test_an_order_needs_a_line() -> None:
    assert order_of(None, 60.0, SCALE) is Order.TOO_SHORT


def test_norm_z_and_regions_exactly() -> None:
    z = norm_z_of([-1, 0, 0.5, 1, 2, 9, math.nan], SCALE)
    assert z.tolist()[:6] == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.6, 0.8])
    assert regions_of(z, SCALE) == ["chest"] * 3 + ["abdomen"] * 2 + ["pelvis", None]
    bare = Scale(0.01, 0.001)
    assert np.isnan(norm_z_of([1.0], bare)).all()
    assert regions_of([0.5], bare) == [None]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_smoothing_keeps_constants_and_bounds(scores: list[float]) -> None:
    mm = np.arange(len(scores)) * 3.0
    smooth = smoothed(scores, mm)
    assert min(scores) - 1e-9 <= smooth.min() <= smooth.max() <= max(scores) + 1e-9
    assert smoothed([scores[0]] * len(scores), mm) == pytest.approx(scores[0])


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 1)), max_size=60))
def test_a_map_ascends_within_the_published_z(pairs: list[tuple[float, float]]) -> None:
    scores, z = [s for s, _ in pairs], [t for _, t in pairs]
    at, mapped = monotone_map(scores, z)
    assert list(at) == sorted(set(at))
    assert list(mapped) == sorted(mapped)
    assert bool(at) == bool(pairs)
    if pairs:
        assert min(z) - 1e-5 <= mapped[0] <= mapped[-1] <= max(z) + 1e-5


def test_a_map_of_a_line_is_the_line() -> None:
    scores = np.linspace(-2, 2, 101)
    at, mapped = monotone_map(scores, scores / 4 + 0.5)
    assert np.array(mapped) == pytest.approx(np.array(at) / 4 + 0.5, abs=1e-5)


def test_a_map_pools_what_falls() -> None:
    at, mapped = monotone_map([0, 1, 2], [0.1, 0.5, 0.3])
    assert np.interp([0, 1.5], at, mapped) == pytest.approx([0.1, 0.4])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"slope_deviation": -0.1}, "scale.slope_deviation"),
        ({"slope_deviation": math.nan}, "scale.slope_deviation"),
        ({"scores": [3, -1]}, "scale.scores"),
        ({"scores": [1, 1]}, "scale.scores"),
        ({"scores": [-1, math.inf]}, "scale.scores"),
        ({"norm_z": [0.5]}, "scale.norm_z"),
        ({"norm_z": [1, 0]}, "scale.norm_z"),
        ({"scores": []}, "scale.norm_z"),
        ({"landmarks": [["pelvis", 0.7], ["chest", 0]]}, "scale.landmarks"),
    ],
)
def test_a_scale_that_maps_nothing_rightly_is_refused(wrong: dict[str, Any], said: str) -> None:
    """For scores that do not ascend, np.interp would give any z."""
    good = {"slope_mean": 0.1, "slope_deviation": 0, "scores": [-1, 3], "norm_z": [0, 1], "landmarks": []}
    data = good | {"landmarks_from": ""}
    assert Scale.from_json(data).scores == (-1, 3)
    with pytest.raises(ConfigError, match="a model's scale can't be used") as error:
        Scale.from_json(data | wrong)
    assert said in str(error.value)
