from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from etl.store.crops import Crop, crop_around

SHAPE, AIR = (3, 4, 5), -1024


@pytest.fixture(scope="module")
def voxels_hu() -> zarr.Array:
    array = zarr.create_array({}, shape=SHAPE, dtype="int16", chunks=(2, 2, 2), fill_value=AIR)
    array[...] = np.arange(60).reshape(SHAPE)
    return array


@pytest.mark.parametrize(
    ("center", "n", "start"),
    [
        (7.0, 1, 7),
        (7.0, 3, 6),
        (7.4, 3, 6),
        (7.5, 3, 7),
        (7.5, 2, 7),
        (7.0, 2, 7),
        (0.0, 4, -1),
        (0.2, 64, -31),
    ],
)
def test_the_middle_is_as_near_as_whole_voxels_allow(center: float, n: int, start: int) -> None:
    assert crop_around((center, 5.0, 0.0), (n, 1, 1)) == Crop((start, 5, 0), (n, 1, 1))


@given(st.tuples(*[st.floats(-10, 600)] * 3), st.tuples(*[st.integers(1, 70)] * 3))
def test_the_middle_is_within_half_a_voxel(center: tuple[float, ...], shape: tuple[int, ...]) -> None:
    crop = crop_around(center, shape)  # type: ignore[arg-type]
    middle = np.array(crop.start) + (np.array(shape) - 1) / 2
    assert np.abs(middle - center).max() <= 0.5 + 1e-9


def test_past_the_border_it_is_air(voxels_hu: zarr.Array) -> None:
    plane = Crop((2, -1, 3), (2, 3, 3)).read(voxels_hu)
    assert plane.dtype == np.int16
    assert plane.tolist() == [
        [[AIR, AIR, AIR], [43, 44, AIR], [48, 49, AIR]],
        [[AIR, AIR, AIR], [AIR, AIR, AIR], [AIR, AIR, AIR]],
    ]


@given(st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
def test_a_crop_is_that_of_the_padded_volume(
    voxels_hu: zarr.Array, start: tuple[int, int, int], shape: tuple[int, int, int]
) -> None:
    padded = np.pad(voxels_hu[...], 20, constant_values=AIR)
    expected = padded[tuple(slice(20 + s, 20 + s + n) for s, n in zip(start, shape, strict=True))]
    assert np.array_equal(Crop(start, shape).read(voxels_hu), expected)
