from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from etl.imaging.pyramid import halve, level_translation_mm

volumes = npst.arrays(np.int16, npst.array_shapes(min_dims=3, max_dims=3, max_side=5))


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 4], 0),  # 0.5
        ([0, 0, 0, 0, 0, 0, 4, 8], 2),  # 1.5
        ([0, 0, 0, 0, 0, 0, 0, 5], 1),
        ([0, 0, 0, 0, 0, 0, 0, -4], 0),  # -0.5
        ([0, 0, 0, 0, 0, 0, -4, -8], -2),  # -1.5
        ([0, 0, 0, 0, 0, 0, 0, -5], -1),
        ([32767] * 8, 32767),
        ([-32768] * 8, -32768),
    ],
)
def test_means_are_rounded_half_to_even(values: list[int], mean: int) -> None:
    assert halve(np.array(values, np.int16).reshape(2, 2, 2)).tolist() == [[[mean]]]


@given(volume=volumes)
def test_every_voxel_is_the_mean_of_its_block(volume: np.ndarray) -> None:
    out = halve(volume)
    assert out.dtype == np.int16
    assert out.shape == tuple((n + 1) // 2 for n in volume.shape)
    padded = np.pad(volume.astype(int), [(0, n % 2) for n in volume.shape], mode="edge")
    for z, y, x in product(*map(range, out.shape)):
        block = padded[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        assert out[z, y, x] == round(Fraction(int(block.sum()), 8))


def test_layout_does_not_matter() -> None:
    volume = np.random.default_rng(0).integers(-1024, 3072, (4, 6, 8)).astype(np.int16)
    np.testing.assert_array_equal(halve(volume.transpose(2, 1, 0)), halve(volume).transpose(2, 1, 0))


@pytest.mark.parametrize(
    "volume", [np.zeros((2, 2), np.int16), np.zeros((2, 2, 2)), np.zeros((0, 2, 2), np.int16)]
)
def test_other_arrays_are_refused(volume: np.ndarray) -> None:
    with pytest.raises(ValueError, match="allowed: int16"):
        halve(volume)


def test_levels_start_between_the_voxels_that_they_average() -> None:
    assert level_translation_mm(0, (5.0, 0.8, 0.6)) == (0.0, 0.0, 0.0)
    assert level_translation_mm(1, (5.0, 0.8, 0.6)) == (2.5, 0.4, 0.3)
    assert level_translation_mm(3, (1.0, 1.0, 2.0)) == (3.5, 3.5, 7.0)


def test_a_ramp_keeps_its_place() -> None:
    ramp = np.broadcast_to(np.arange(0, 160, 10, dtype=np.int16), (16, 16, 16))
    level = halve(halve(ramp))
    start = level_translation_mm(2, (1.0, 1.0, 1.0))[2]
    np.testing.assert_array_equal(level[0, 0], 10 * (start + 4.0 * np.arange(4)))
