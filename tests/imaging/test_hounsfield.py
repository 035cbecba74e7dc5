from __future__ import annotations

import statistics as exact

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.hounsfield import HuStatistics, statistics, to_hu


def test_every_stored_value() -> None:
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    hu = to_hu(stored)
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu.astype(np.int64), stored.astype(np.int64) - 32768)
    assert stored[0, 0] == 0, "the input is left as it was"


@pytest.mark.parametrize("dtype", ["int16", ">u2", "int32", "float32"])
def test_only_native_uint16_is_taken(dtype: str) -> None:
    with pytest.raises(ValueError, match="allowed: uint16"):
        to_hu(np.zeros((2, 2), dtype))


def test_statistics_of_a_small_table() -> None:
    hu = np.array([[-1024, 0], [40, 984]], np.int16)
    assert statistics(hu) == HuStatistics(-1024, 984, 0.0, exact.pstdev([-1024, 0, 40, 984]))


@given(values=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_statistics_are_exact(values: list[int]) -> None:
    found = statistics(np.array(values, np.int16))
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.mean == exact.fmean(values)
    assert found.standard_deviation == pytest.approx(exact.pstdev(values), rel=1e-15)


def test_statistics_do_not_overflow_or_depend_on_layout() -> None:
    hu = np.full((200, 512, 512), -32768, np.int16)
    assert statistics(hu) == HuStatistics(-32768, -32768, -32768.0, 0.0)
    part = np.random.default_rng(0).integers(-1024, 3072, (6, 40, 50)).astype(np.int16)
    assert statistics(part[::2, :, ::-3]) == statistics(part[::2, :, ::-3].copy().ravel()[::-1])


@pytest.mark.parametrize("hu", [np.zeros((0, 3), np.int16), np.zeros(3, np.int32)])
def test_statistics_need_int16_values(hu: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16 with at least one"):
        statistics(hu)
