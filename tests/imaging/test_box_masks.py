"""Masks between grids, against the overlap of boxes computed in floating point; outlines and runs by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etl.imaging.box_masks import BoxMask, box_mask, clip_to, halve, outline, run_lengths, to_stored_grid
from etl.imaging.geometry import output_count, output_shape

Spacing = tuple[float, float, float]
spacings = st.tuples(*[st.sampled_from([0.3, 0.488281, 0.5, 0.977, 1.0, 2.0, 2.5, 5.0])] * 3)


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    voxels = np.random.default_rng(draw(st.integers(0, 999))).random(shape) < draw(
        st.sampled_from([0.2, 0.6])
    )
    voxels[tuple(n // 2 for n in shape)] = True
    return voxels


def whole(mask: BoxMask, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    voxels = np.zeros(shape, bool)
    voxels[tuple(slice(a, b) for a, b in zip(mask.start, mask.stop, strict=True))] = mask.voxels
    return voxels


def shares(n: int, before: float, after: float) -> NDArray[np.float64]:
    """The share of each output voxel that lies in each input voxel, by their edges in mm."""
    out = np.arange(output_count(n, before, after))[:, None] * after
    low, high = np.maximum(out - after / 2, -before / 2), np.minimum(out + after / 2, (n - 0.5) * before)
    left = (np.arange(n) - 0.5) * before
    return np.clip(np.minimum(high, left + before) - np.maximum(low, left), 0, None) / (high - low)


@given(voxels=masks(), before=spacings, after=spacings)
def test_a_stored_voxel_is_inside_where_more_than_half_of_it_is(
    voxels: NDArray[np.bool_], before: Spacing, after: Spacing
) -> None:
    mask = box_mask(voxels)
    assert mask is not None
    shape = voxels.shape
    stored = to_stored_grid(mask, (shape[0], shape[1], shape[2]), before, after, is_3d=True)
    found = whole(stored, output_shape((shape[0], shape[1], shape[2]), before, after))
    weights = [shares(n, a, b) for n, a, b in zip(shape, before, after, strict=True)]
    share = np.einsum("az,by,cx,zyx->abc", *weights, voxels.astype(float))
    assert not (found & (share < 0.5 - 1e-6)).any() or (share < 0.5 + 1e-6).all()
    assert found[share > 0.5 + 1e-6].all()
    assert stored.count == found.sum() > 0


@pytest.mark.parametrize(
    ("slices", "before", "after", "key", "planes"),
    [
        (5, 5.0, 1.0, 2, range(8, 13)),
        (5, 2.0, 1.0, 2, range(3, 5)),
        (5, 1.0, 1.0, 2, range(2, 3)),
        (9, 0.5, 1.0, 3, range(2, 3)),
        (9, 0.5, 1.0, 8, range(4, 5)),
        (4, 1.0, 4.0, 3, range(1)),
    ],
)
def test_a_mask_of_a_slice_fills_the_planes_nearest_to_it(
    slices: int, before: float, after: float, key: int, planes: range
) -> None:
    mask = BoxMask(np.ones((1, 2, 2), bool), (key, 1, 1))
    stored = to_stored_grid(mask, (slices, 4, 4), (before, 1.0, 1.0), (after, 1.0, 1.0), is_3d=False)
    assert (stored.start, stored.stop) == ((planes.start, 1, 1), (planes.stop, 3, 3))
    assert stored.voxels.all()


def test_halves_go_to_the_nearest_voxel() -> None:
    line = box_mask(np.array([0, 1, 1, 0, 0, 1], bool).reshape(1, 1, 6))
    assert line is not None
    stored = to_stored_grid(line, (1, 1, 6), (1, 1, 2), (1, 1, 1), is_3d=True)
    assert whole(stored, (1, 1, 11)).ravel().astype(int).tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1]


@given(voxels=masks())
def test_a_coarser_voxel_is_inside_where_half_of_its_voxels_are(voxels: NDArray[np.bool_]) -> None:
    mask = box_mask(voxels)
    assert mask is not None
    shape = voxels.shape
    coarse = halve(mask, (shape[0], shape[1], shape[2]))
    expected = np.zeros([(n + 1) // 2 for n in shape], bool)
    for at in np.ndindex(expected.shape):
        block = voxels[tuple(slice(2 * n, 2 * n + 2) for n in at)]
        expected[at] = 2 * block.sum() >= block.size
    assert (whole(coarse, expected.shape) == expected).all() or (not expected.any() and coarse.count == 1)


def test_masks_are_cut_to_their_voxels_and_to_a_grid() -> None:
    voxels = np.zeros((4, 4, 4), bool)
    voxels[1, 2, 3] = voxels[2, 2, 2] = True
    mask = box_mask(voxels, (-2, 0, 5))
    assert mask is not None
    assert (mask.start, mask.stop) == ((-1, 2, 7), (1, 3, 9))
    cut = clip_to(mask, (9, 9, 9))
    assert cut is not None
    assert (cut.start, cut.voxels.tolist()) == ((0, 2, 7), [[[True]]])
    assert clip_to(mask, (9, 2, 9)) is None
    assert box_mask(np.zeros((2, 2, 2), bool)) is None
    assert mask.overlaps(BoxMask(np.ones((1, 1, 1), bool), (-1, 2, 8)))
    assert not mask.overlaps(BoxMask(np.ones((1, 1, 1), bool), (-1, 2, 7)))
    assert not mask.overlaps(BoxMask(np.ones((1, 1, 1), bool), (5, 2, 7)))


def test_outline_and_runs() -> None:
    plane = np.zeros((4, 5), bool)
    plane[0:3, 1:4] = True
    assert np.argwhere(plane & ~outline(plane)).tolist() == [[1, 2]]
    assert run_lengths(plane) == [4, 3, 1, 3, 1, 3, 5]
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]
