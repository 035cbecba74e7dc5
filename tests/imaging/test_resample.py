from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.geometry import output_shape
from etl.imaging.hounsfield import to_hu
from etl.imaging.png import read_png
from etl.imaging.weights import INTERPOLATIONS, axis_taps
from tests.support.resampling import CLIP_HU, Triple, random_volume, resampled

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 14))
spacing = st.one_of(
    st.sampled_from([0.25, 0.78, 1.0, 2.5, 5.0]), st.floats(0.2, 6.0).map(lambda value: round(value, 4))
)
spacings = st.tuples(spacing, spacing, spacing)
smooth = st.sampled_from(["linear", "cubic"])


def at_once(
    volume: np.ndarray, spacing_in: Triple, spacing_out: Triple, interpolation: str, antialias: bool
) -> np.ndarray:
    """The unrounded result in float64 from the whole volume: one matrix product an axis."""
    out = np.clip(volume, *CLIP_HU).astype(np.float64)
    for axis in range(3):
        n_in = volume.shape[axis]
        taps = axis_taps(n_in, spacing_in[axis], spacing_out[axis], interpolation, antialias)
        matrix = np.zeros((len(taps.index), n_in))
        np.put_along_axis(matrix, taps.index.astype(np.int64), taps.weight, axis=1)
        out = np.moveaxis(np.tensordot(matrix, out, (1, axis)), 0, axis)
    return np.clip(out, *CLIP_HU)


def by_simpleitk(volume: np.ndarray, spacing_in: Triple, spacing_out: Triple) -> np.ndarray:
    image = sitk.GetImageFromArray(np.clip(volume, *CLIP_HU).astype(np.float32))
    image.SetSpacing(spacing_in[::-1])
    filter_ = sitk.ResampleImageFilter()
    filter_.SetInterpolator(sitk.sitkLinear)
    filter_.SetOutputPixelType(sitk.sitkFloat32)
    filter_.SetOutputSpacing(spacing_out[::-1])
    filter_.SetSize(output_shape(volume.shape, spacing_in, spacing_out)[::-1])
    # Where rounding puts the last voxel a hair outside the image.
    filter_.SetUseNearestNeighborExtrapolator(True)
    return sitk.GetArrayFromImage(filter_.Execute(image))


def test_a_small_table() -> None:
    volume = np.array([[[0, 10]], [[100, 111]]], np.int16)
    out = resampled(volume, (2.0, 1.0, 1.0), (1.0, 1.0, 0.5))
    # 55.25 -> 55, 60.5 -> 60 and 105.5 -> 106: halves to even
    assert out.tolist() == [[[0, 5, 10]], [[50, 55, 60]], [[100, 106, 111]]]


def test_values_are_clipped_before_and_after_interpolation() -> None:
    padded = np.array([[[-3024, 0]]], np.int16)
    assert resampled(padded, (1.0, 1.0, 2.0), (1.0, 1.0, 1.0)).tolist() == [[[-1024, -512, 0]]]
    edge = np.array([[[0, 0, 3071, 3071, 0, 0]]], np.int16)
    unclipped = resampled(edge, (1.0, 1.0, 2.0), (1.0, 1.0, 1.0), "cubic", clip_hu=(-32768, 32767))
    assert unclipped.max() > 3071
    assert unclipped.min() < 0
    clipped = resampled(edge, (1.0, 1.0, 2.0), (1.0, 1.0, 1.0), "cubic", clip_hu=(0, 3071))
    np.testing.assert_array_equal(clipped, np.clip(unclipped, 0, 3071))


@given(shape=shapes, spacing_in=spacings, spacing_out=spacings, value=st.integers(*CLIP_HU), data=st.data())
def test_constants_stay(
    shape: tuple[int, int, int], spacing_in: Triple, spacing_out: Triple, value: int, data: st.DataObject
) -> None:
    interpolation, antialias = data.draw(st.sampled_from(INTERPOLATIONS)), data.draw(st.booleans())
    out = resampled(np.full(shape, value, np.int16), spacing_in, spacing_out, interpolation, antialias)
    assert (out == value).all()


@given(
    shape=shapes,
    spacing_in=spacings,
    spacing_out=spacings,
    slope=st.tuples(*[st.integers(-30, 30)] * 3),
    interpolation=smooth,
    antialias=st.booleans(),
)
def test_ramps_stay_up_to_the_borders(
    shape: tuple[int, int, int],
    spacing_in: Triple,
    spacing_out: Triple,
    slope: tuple[int, int, int],
    interpolation: str,
    antialias: bool,
) -> None:
    grid = np.indices(shape)
    ramp = 1000 + sum(s * g for s, g in zip(slope, grid, strict=True))
    out = resampled(
        ramp.astype(np.int16), spacing_in, spacing_out, interpolation, antialias, clip_hu=(-32768, 32767)
    )
    positions = np.indices(out.shape)
    steps = [o / i if n > 1 else 0.0 for n, i, o in zip(shape, spacing_in, spacing_out, strict=True)]
    expected = 1000 + sum(s * p * step for s, p, step in zip(slope, positions, steps, strict=True))
    assert np.abs(out - expected).max() <= 0.51


@given(
    shape=shapes,
    spacing_in=spacings,
    spacing_out=spacings,
    interpolation=st.sampled_from(INTERPOLATIONS),
    antialias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_streaming_gives_what_the_whole_volume_gives(
    shape: tuple[int, int, int],
    spacing_in: Triple,
    spacing_out: Triple,
    interpolation: str,
    antialias: bool,
    seed: int,
) -> None:
    volume = random_volume(shape, seed)
    out = resampled(volume, spacing_in, spacing_out, interpolation, antialias)
    expected = at_once(volume, spacing_in, spacing_out, interpolation, antialias)
    assert np.abs(out - expected).max() <= 0.51


@given(shape=shapes, spacing_in=spacings, spacing_out=spacings, seed=st.integers(0, 99))
def test_linear_agrees_with_simpleitk(
    shape: tuple[int, int, int], spacing_in: Triple, spacing_out: Triple, seed: int
) -> None:
    volume = random_volume(shape, seed)
    out = resampled(volume, spacing_in, spacing_out)
    assert np.abs(out - by_simpleitk(volume, spacing_in, spacing_out)).max() <= 0.51


@pytest.mark.parametrize(
    ("shape", "spacing_in", "spacing_out"),
    [
        ((4, 9, 7), (5.0, 0.8, 0.8), (1.0, 1.0, 1.0)),
        ((545, 3, 4), (0.25, 0.5, 0.5), (1.0, 1.0, 1.0)),
        ((5, 40, 50), (22.5, 0.18, 0.98), (0.7, 0.7, 0.7)),
        ((4, 5, 6), (1.0, 1.0, 1.0), (100.0, 50.0, 1.0)),
        ((1, 1, 1), (5.0, 0.5, 0.5), (1.0, 1.0, 1.0)),
        ((1, 1, 8), (5.0, 0.5, 0.5), (5.0, 0.5, 1.0)),
    ],
)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("antialias", [False, True])
def test_unusual_shapes(
    shape: tuple[int, int, int], spacing_in: Triple, spacing_out: Triple, interpolation: str, antialias: bool
) -> None:
    volume = random_volume(shape)
    out = resampled(volume, spacing_in, spacing_out, interpolation, antialias)
    expected = at_once(volume, spacing_in, spacing_out, interpolation, antialias)
    assert np.abs(out - expected).max() <= 0.51
    assert out[0, 0, 0] == volume[0, 0, 0]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_equal_spacing_only_clips(interpolation: str) -> None:
    volume = np.random.default_rng(0).integers(-32768, 32768, (5, 6, 7)).astype(np.int16)
    out = resampled(volume, (5.0, 0.7, 0.7), (5.0, 0.7, 0.7), interpolation, True)
    np.testing.assert_array_equal(out, np.clip(volume, *CLIP_HU))
    lossless = resampled(volume, (5.0, 0.7, 0.7), (5.0, 0.7, 0.7), interpolation, True, (-32768, 32767))
    np.testing.assert_array_equal(lossless, volume)


def test_antialias_removes_what_the_coarser_grid_cannot_hold() -> None:
    board = (1000 * (np.indices((16, 32, 32)).sum(axis=0) % 2)).astype(np.int16)
    inside = (slice(1, -1),) * 3
    plain = resampled(board, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0))[inside]
    assert (plain == 0).all(), "every second voxel of a checkerboard has one colour"
    for interpolation in ("linear", "cubic"):
        filtered = resampled(board, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), interpolation, True)[inside]
        assert np.abs(filtered - 500).max() <= 1


@pytest.fixture(scope="module")
def real_volume(real_release: Path) -> np.ndarray:
    files = sorted((real_release / "Images_png" / "000001_01_01").glob("*.png"))
    assert len(files) == 13
    return np.stack([to_hu(read_png(file.read_bytes(), (512, 512))) for file in files])


def test_real_series_agrees_with_simpleitk(real_volume: np.ndarray) -> None:
    spacing_in, spacing_out = (5.0, 0.488281, 0.488281), (1.0, 1.0, 1.0)
    out = resampled(real_volume, spacing_in, spacing_out)
    assert out.shape == (61, 250, 250)
    assert np.abs(out - by_simpleitk(real_volume, spacing_in, spacing_out)).max() <= 0.51


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_real_series_antialiased_keeps_its_mean_and_loses_noise(
    real_volume: np.ndarray, interpolation: str
) -> None:
    body = real_volume[:, 150:350, 150:350]
    spacing_in, spacing_out = (5.0, 0.488281, 0.488281), (5.0, 1.5, 1.5)
    plain = resampled(body, spacing_in, spacing_out, interpolation)
    filtered = resampled(body, spacing_in, spacing_out, interpolation, True)
    assert abs(filtered.mean() - body.mean()) < 3
    roughness = [np.abs(np.diff(volume.astype(float), n=2, axis=2)).mean() for volume in (plain, filtered)]
    assert roughness[1] < 0.9 * roughness[0]
