from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.geometry import output_count
from etl.imaging.weights import INTERPOLATIONS, Taps, axis_taps, is_identity, tap_count

counts = st.integers(1, 60)
spacings = st.one_of(
    st.sampled_from([0.25, 0.5, 0.7, 0.78, 0.976562, 1.0, 1.25, 2.5, 5.0, 22.5]),
    st.floats(0.2, 25.0).map(lambda value: round(value, 6)),
)


def dense(taps: Taps, n_in: int) -> np.ndarray:
    """The taps as a matrix (n_out, n_in)."""
    matrix = np.zeros((len(taps.index), n_in))
    for o, (index, weight) in enumerate(zip(taps.index, taps.weight, strict=True)):
        np.add.at(matrix[o], index, weight)
    return matrix


def naive(
    n_in: int, spacing_in: float, spacing_out: float, interpolation: str, antialias: bool
) -> np.ndarray:
    """The same matrix from the definition, one sample at a time in float64."""

    def kernel(t: float) -> float:
        t = abs(t)
        if interpolation == "linear":
            return max(0.0, 1 - t)
        if t < 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    def extended(i: int) -> np.ndarray:
        """Sample i as a combination of the samples of the axis."""
        if i < 0:
            return 2 * extended(0) - extended(-i)
        if i >= n_in:
            return 2 * extended(n_in - 1) - extended(2 * (n_in - 1) - i)
        return np.eye(n_in)[i]

    rows = []
    stretch = max(1.0, spacing_out / spacing_in) if antialias else 1.0
    reach = int(np.ceil(2 * stretch)) + 1
    for o in range(output_count(n_in, spacing_in, spacing_out)):
        c = o * spacing_out / spacing_in
        c = round(c) if abs(c - round(c)) < 1e-9 else c
        samples = range(int(np.floor(c)) - reach, int(np.floor(c)) + reach + 1)
        weight = {i: kernel((i - c) / stretch) for i in samples}
        total = sum(weight.values())
        weight = {i: w / total for i, w in weight.items()}
        moment = sum(w * (i - c) for i, w in weight.items())
        weight[int(np.floor(c))] += moment
        weight[int(np.floor(c)) + 1] -= moment
        rows.append(sum(w * extended(i) for i, w in weight.items() if abs(w) > 1e-13))
    return np.array(rows)


def test_linear_between_slices() -> None:
    matrix = dense(axis_taps(3, 2.0, 1.0, "linear", True), 3)
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    np.testing.assert_array_equal(matrix, expected)


def test_cubic_between_slices() -> None:
    matrix = dense(axis_taps(5, 2.0, 1.0, "cubic", False), 5)
    np.testing.assert_array_equal(matrix[3], [-1 / 16, 9 / 16, 9 / 16, -1 / 16, 0])
    # sample -1 is 2 x[0] - x[1]
    np.testing.assert_array_equal(matrix[1], [9 / 16 - 2 / 16, 9 / 16 + 1 / 16, -1 / 16, 0, 0])


def test_linear_stretched_by_two() -> None:
    matrix = dense(axis_taps(7, 1.0, 2.0, "linear", True), 7)
    np.testing.assert_array_equal(matrix[1], [0, 0.25, 0.5, 0.25, 0, 0, 0])
    np.testing.assert_array_equal(matrix[0], [1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("n_in", "spacing_in_mm", "spacing_out_mm", "index"),
    [
        (3, 2.0, 1.0, [0, 1, 1, 2, 2]),  # halfway goes up
        (3, 0.2, 0.1, [0, 1, 1, 2, 2]),
        (6, 1.0, 2.0, [0, 2, 4]),
        (6, 1.0, 2.5, [0, 3, 5]),
        (1, 5.0, 1.0, [0]),
    ],
)
def test_nearest(n_in: int, spacing_in_mm: float, spacing_out_mm: float, index: list[int]) -> None:
    taps = axis_taps(n_in, spacing_in_mm, spacing_out_mm, "nearest", True)
    assert taps.index[:, 0].tolist() == index
    assert (taps.weight == 1).all()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_equal_spacing_is_the_identity(interpolation: str) -> None:
    for n_in, spacing_out in ((9, 0.7), (1, 0.2), (1, 5.0)):
        taps = axis_taps(n_in, 0.7, spacing_out, interpolation, True)
        assert taps.index.shape == (n_in, 1)
        np.testing.assert_array_equal(dense(taps, n_in), np.eye(n_in))
        assert is_identity(n_in, 0.7, spacing_out)
    assert not is_identity(9, 0.7, 100.0), "one voxel of nine"
    assert not is_identity(9, 1.0, 0.9), "as many voxels, elsewhere"


@given(
    n_in=counts,
    spacing_in=spacings,
    spacing_out=spacings,
    interpolation=st.sampled_from(INTERPOLATIONS),
    antialias=st.booleans(),
)
def test_shape_of_all_taps(
    n_in: int, spacing_in: float, spacing_out: float, interpolation: str, antialias: bool
) -> None:
    taps = axis_taps(n_in, spacing_in, spacing_out, interpolation, antialias)
    assert taps.index.dtype == np.int32
    assert taps.weight.dtype == np.float32
    assert taps.index.shape == taps.weight.shape
    expected = (
        output_count(n_in, spacing_in, spacing_out),
        tap_count(n_in, spacing_in, spacing_out, interpolation, antialias),
    )
    assert taps.index.shape == expected
    assert taps.index.min() >= 0
    assert taps.index.max() < n_in
    assert (np.diff(taps.index, axis=1) == 1).all()
    assert (np.diff(taps.index[:, 0]) >= 0).all()


@given(
    n_in=counts,
    spacing_in=spacings,
    spacing_out=spacings,
    interpolation=st.sampled_from(["linear", "cubic"]),
    antialias=st.booleans(),
)
def test_constants_and_ramps_keep_their_values(
    n_in: int, spacing_in: float, spacing_out: float, interpolation: str, antialias: bool
) -> None:
    taps = axis_taps(n_in, spacing_in, spacing_out, interpolation, antialias)
    weight = taps.weight.astype(np.float64)
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=2e-6)
    position = np.arange(len(weight)) * spacing_out / spacing_in if n_in > 1 else 0.0
    np.testing.assert_allclose((weight * taps.index).sum(axis=1), position, atol=2e-6 * n_in)


@given(
    n_in=st.integers(2, 25),
    spacing_in=st.floats(0.3, 6.0).map(lambda value: round(value, 3)),
    spacing_out=st.floats(0.3, 6.0).map(lambda value: round(value, 3)),
    interpolation=st.sampled_from(["linear", "cubic"]),
    antialias=st.booleans(),
)
def test_taps_are_those_of_the_definition(
    n_in: int, spacing_in: float, spacing_out: float, interpolation: str, antialias: bool
) -> None:
    if spacing_in == spacing_out:
        return
    found = dense(axis_taps(n_in, spacing_in, spacing_out, interpolation, antialias), n_in)
    np.testing.assert_allclose(
        found, naive(n_in, spacing_in, spacing_out, interpolation, antialias), atol=2e-6
    )


def test_cubic_reproduces_quadratics_inside() -> None:
    taps = axis_taps(30, 5.0, 0.7, "cubic", True)
    position = np.arange(len(taps.index)) * 0.7 / 5.0
    inside = (position >= 1) & (position <= 28)
    found = (taps.weight.astype(float) * taps.index.astype(float) ** 2).sum(axis=1)
    np.testing.assert_allclose(found[inside], position[inside] ** 2, atol=1e-3)
    assert inside.sum() > 180


def test_taps_are_shared_and_read_only() -> None:
    taps = axis_taps(20, 5.0, 1.0, "linear", True)
    assert axis_taps(20, 5.0, 1.0, "linear", True) is taps
    with pytest.raises(ValueError, match="read-only"):
        taps.weight[0, 0] = 2


def test_unknown_interpolations_are_named() -> None:
    with pytest.raises(ValueError, match="'spline'; allowed: nearest, linear, cubic"):
        axis_taps(3, 1.0, 2.0, "spline", True)
