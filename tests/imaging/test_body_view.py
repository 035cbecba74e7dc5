from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.body_view import AIR_HU, BodyView

VIEW = BodyView(8, 10.0)


def test_a_view_of_the_same_grid_is_the_image() -> None:
    hu = np.arange(64, dtype=np.int16).reshape(1, 8, 8)
    assert np.allclose(VIEW.of(hu, (10.0, 10.0))[:, 1:-1, 1:-1], hu[:, 1:-1, 1:-1], atol=1e-3)


def test_a_small_image_is_in_the_middle_of_air() -> None:
    view = VIEW.of(np.zeros((4, 4), np.int16), (10.0, 10.0))
    assert view[2:6, 2:6] == pytest.approx(0, abs=1e-3)
    view[2:6, 2:6] = AIR_HU
    assert view == pytest.approx(AIR_HU)


def test_values_below_air_count_as_air() -> None:
    assert VIEW.of(np.full((20, 20), -3024, np.int16), (10.0, 10.0)) == pytest.approx(AIR_HU)


@given(st.integers(20, 90), st.floats(0.5, 12), st.integers(-1000, 3000))
def test_a_constant_stays_one_inside(n: int, spacing_mm: float, value: int) -> None:
    """On finer and coarser grids than the view's; pixels that the image does not reach are air."""
    view = VIEW.of(np.full((n, n), value, np.int16), (spacing_mm, spacing_mm))
    reach_mm = (n - 1) / 2 * spacing_mm - max(spacing_mm, VIEW.pixel_mm)
    at_mm = np.abs((np.arange(8) - 3.5) * 10)
    inside = view[np.ix_(at_mm <= reach_mm, at_mm <= reach_mm)]
    assert inside == pytest.approx(value, rel=1e-4, abs=0.1)
    assert view.min() >= min(value, AIR_HU) - 0.5
    assert view.max() <= max(value, AIR_HU) + 0.5


def test_the_field_of_view_does_not_matter() -> None:
    """The same disc at another size of pixel and image gives nearly the same view."""

    def disc(n: int, spacing_mm: float) -> np.ndarray:
        y, x = (np.mgrid[:n, :n] - (n - 1) / 2) * spacing_mm
        return np.where(np.hypot(y, x) < 25, 40, -1000).astype(np.int16)

    one, other = VIEW.of(disc(100, 1.0), (1.0, 1.0)), VIEW.of(disc(300, 0.5), (0.5, 0.5))
    assert np.abs(one - other).mean() < 10
