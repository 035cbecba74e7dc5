from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.geometry import mm_to_voxel, output_count, output_shape, pixel_to_mm, voxel_to_lps_mm


@pytest.mark.parametrize(
    ("n_in", "spacing_in_mm", "spacing_out_mm", "n_out"),
    [
        (47, 5.0, 1.0, 231),
        (512, 0.78, 1.0, 399),
        (8, 0.1, 0.7, 2),  # 0.7 / 0.1 is 6.999999999999999 in floats
        (4, 0.1, 0.3, 2),
        (11, 0.1, 0.1, 11),
        (1, 5.0, 1.0, 1),
        (545, 0.25, 1.0, 137),
        (4, 1.0, 100.0, 1),
        (512, 0.488281, 0.488281, 512),
        (3, 22.5, 0.25, 181),
        (3, np.float64(2.0), 1, 5),
    ],
)
def test_output_counts(n_in: int, spacing_in_mm: float, spacing_out_mm: float, n_out: int) -> None:
    assert output_count(n_in, spacing_in_mm, spacing_out_mm) == n_out


@given(
    n_in=st.integers(1, 1200),
    spacing_in=st.decimals("0.01", "25", places=6),
    spacing_out=st.decimals("0.1", "25", places=3),
)
def test_the_last_voxel_lies_inside_and_the_next_one_outside(
    n_in: int, spacing_in: Decimal, spacing_out: Decimal
) -> None:
    last = output_count(n_in, float(spacing_in), float(spacing_out)) - 1
    assert last * spacing_out <= (n_in - 1) * spacing_in < (last + 1) * spacing_out


@pytest.mark.parametrize("spacing", [0.0, -1.0, math.nan, math.inf])
def test_spacings_are_positive(spacing: float) -> None:
    with pytest.raises(ValueError, match=r"spacing_in_mm is .*; allowed: positive"):
        output_count(3, spacing, 1.0)
    with pytest.raises(ValueError, match=r"spacing_out_mm is .*; allowed: positive"):
        output_count(3, 1.0, spacing)


def test_an_axis_has_a_voxel() -> None:
    with pytest.raises(ValueError, match="n_in is 0"):
        output_count(0, 1.0, 1.0)


def test_output_shape_is_axis_by_axis() -> None:
    assert output_shape((47, 512, 256), (5.0, 0.78, 0.5), (1.0, 1.0, 2.0)) == (231, 399, 64)


def test_affine_maps_voxels_to_left_posterior_superior() -> None:
    affine = np.array(voxel_to_lps_mm((5.0, 0.7, 0.6)))
    np.testing.assert_allclose(affine @ [2, 10, 20, 1], [20 * 0.6, 10 * 0.7, -2 * 5.0, 1])
    zeros = [value for row in voxel_to_lps_mm((5.0, 0.7, 0.6)) for value in row if value == 0]
    assert all(math.copysign(1, zero) == 1 for zero in zeros)


def test_published_pixels_to_mm_and_voxels() -> None:
    assert pixel_to_mm(1, 0.5) == 0.0
    assert pixel_to_mm(11.5, 0.5) == 5.25
    assert mm_to_voxel(5.25, 1.5) == 3.5
    np.testing.assert_array_equal(pixel_to_mm(np.array([1.0, 3.0]), 2.0), [0.0, 4.0])
    np.testing.assert_array_equal(mm_to_voxel(np.array([0.0, 4.0]), 2.0), [0.0, 2.0])
