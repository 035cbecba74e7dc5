from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.window import to_grey, to_share


def test_exact_values() -> None:
    hu = np.array([[-1024, -175, -174], [50, 275, 3071]], np.int16)
    grey = to_grey(hu, (-175.0, 275.0))
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[0, 0, 1], [128, 255, 255]]
    assert to_grey(np.array([-183, 70, 323], np.int16), (-182.5, 322.5)).tolist() == [0, 128, 255]


def test_shares_of_the_window() -> None:
    hu = np.array([-3024, -1024, -175, -174, 50, 274, 275, 3071], np.int16)
    shares = to_share(hu, (-175, 275))
    assert shares.dtype == np.float32
    assert shares == pytest.approx([0, 0, 0, 1 / 450, 0.5, 449 / 450, 1, 1], abs=1e-7)


@given(st.integers(-1024, 3070), st.floats(0.5, 4000), st.integers(-32768, 32767))
def test_shares_are_from_0_to_1(low: int, width: float, hu: int) -> None:
    shares = to_share([hu, low, low + width], (low, low + width))
    assert 0 <= shares[0] <= 1
    assert shares[1:] == pytest.approx([0, 1], abs=1e-3)


@given(
    st.lists(st.integers(-1024, 3071), min_size=2, max_size=40),
    st.floats(-2000, 1000),
    st.floats(1, 4000),
)
def test_brighter_is_never_darker(hu: list[int], low: float, width: float) -> None:
    values = np.sort(np.array(hu, np.int16))
    grey = to_grey(values, (low, low + width)).astype(int)
    assert (np.diff(grey) >= 0).all()
    exact = np.clip((values - low) / width, 0, 1) * 255
    assert np.abs(grey - exact).max() <= 0.51


@pytest.mark.parametrize("window_hu", [(275.0, -175.0), (40.0, 40.0)])
def test_a_window_without_width_is_refused(window_hu: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low < high"):
        to_grey(np.zeros(1, np.int16), window_hu)
