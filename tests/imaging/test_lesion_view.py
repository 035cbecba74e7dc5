from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.body_view import AIR_HU
from etl.imaging.lesion_view import LesionView


class Recorded:
    """An array that notes what is read of it."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.read = values, values.shape, 0

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        part: np.ndarray = self._values[key]
        self.read += part.size
        return part


Triple = tuple[int, int, int]


def ramp(shape: Triple, slopes: tuple[float, float, float]) -> np.ndarray:
    return sum(n * slope for n, slope in zip(np.indices(shape), slopes, strict=True)) - 500.0


@pytest.mark.parametrize(
    ("shape", "center", "spacing_mm"),
    [((9, 20, 30), (4, 10, 15), (1.0, 1.0, 1.0)), ((5, 60, 60), (2, 30, 30), (5.0, 0.5, 0.5))],
)
def test_a_ramp_exactly(shape: Triple, center: Triple, spacing_mm: tuple[float, float, float]) -> None:
    """A linear image is the same in mm, whatever the spacing."""
    dz, dy, dx = spacing_mm
    seen = LesionView(4, 8.0, 3, 2.0).of(ramp(shape, (10 * dz, 2 * dy, -3 * dx)), center, spacing_mm)
    # Planes are 2 mm apart around the middle, pixels lie at -3, -1, 1 and 3 mm from it.
    z, y, x = (n * mm for n, mm in zip(center, spacing_mm, strict=True))
    at = np.array([-3.0, -1.0, 1.0, 3.0])
    expected = -500 + 10 * (z + np.array([-2, 0, 2]))[:, None, None]
    expected = expected + 2 * (y + at)[None, :, None] - 3 * (x + at)[None, None, :]
    assert seen == pytest.approx(expected, abs=1e-3)


def test_beyond_the_image_is_air_and_beyond_the_slices_their_last() -> None:
    seen = LesionView(10, 10.0, 3, 2.0).of(np.full((1, 6, 6), 40, np.int16), (0, 0, 0), (1.0, 1.0, 1.0))
    assert (seen == seen[0]).all()
    assert seen[0, 0, 0] == AIR_HU
    assert seen[0, 7, 7] == pytest.approx(40)
    far = LesionView(10, 10.0, 3, 2.0).of(np.full((1, 6, 6), 40, np.int16), (0, 90, 90), (1.0, 1.0, 1.0))
    assert (far == AIR_HU).all()


def test_padding_below_air_does_not_bleed() -> None:
    hu = np.full((1, 6, 6), 40, np.int16)
    hu[:, :, :3] = -3024
    seen = LesionView(6, 6.0, 1, 2.0).of(hu, (0, 2.5, 2.5), (1.0, 1.0, 1.0))
    assert seen.min() == AIR_HU


def test_only_the_part_that_is_seen_is_read() -> None:
    hu = Recorded(np.zeros((100, 300, 300), np.int16))
    LesionView().of(hu, (50, 150, 150), (1.0, 1.0, 1.0))
    assert hu.read <= 9 * 54 * 54


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(0.2, 20), st.floats(0.2, 1), st.floats(0.2, 1)),
    st.tuples(st.floats(-3, 9), st.floats(-5, 45), st.floats(-5, 45)),
)
def test_any_volume_is_seen_within_its_values(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], center: tuple[float, float, float]
) -> None:
    hu = np.random.default_rng(1).integers(-1000, 3000, shape).astype(np.int16)
    seen = LesionView(8, 12.0, 3, 2.0).of(hu, center, spacing)
    assert seen.shape == (3, 8, 8)
    assert seen.min() >= AIR_HU - 1e-3
    assert seen.max() <= hu.max() + 0.01
