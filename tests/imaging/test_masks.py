"""Masks packed 64 pixels a word, against plain loops over pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from etl.imaging.masks import extent, fill_holes, keep_largest_component, open_blocks, pack
from tests.support.packed import unpack

Pixels = NDArray[np.bool_]


@st.composite
def pixels(draw: st.DrawFn) -> Pixels:
    """Draw pixels of all densities, with columns on either side of whole words."""
    shape = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 9, 63, 64, 65, 127, 128, 130]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.random((shape[0] // 3 + 1, shape[1] // 3 + 1)) < draw(st.floats(0, 1))
    found: Pixels = np.kron(coarse, np.ones((3, 3), bool)).astype(bool)[: shape[0], : shape[1]]
    return found ^ (rng.random(shape) < draw(st.sampled_from([0, 0.02, 0.2])))


def components(mask: Pixels) -> list[set[tuple[int, int]]]:
    """Sets of pixels joined along edges, in the order of their first pixels."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    for pixel in sorted(left):
        if pixel not in left:
            continue
        left.remove(pixel)
        grown = [pixel]
        for y, x in grown:
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left:
                    left.remove(near)
                    grown.append(near)
        found.append(set(grown))
    return found


def picture(shape: tuple[int, int], members: set[tuple[int, int]]) -> Pixels:
    mask = np.zeros(shape, bool)
    for y, x in members:
        mask[y, x] = True
    return mask


@given(pixels())
def test_packed_pixels_come_back(mask: Pixels) -> None:
    packed = pack(mask)
    assert packed.dtype == np.uint64
    np.testing.assert_array_equal(unpack(packed, mask.shape[1]), mask)


@given(pixels(), st.integers(1, 9))
def test_opening_keeps_what_whole_blocks_cover(mask: Pixels, block: int) -> None:
    rows, columns = mask.shape
    expected = np.zeros_like(mask)
    for y, x in itertools.product(range(rows - block + 1), range(columns - block + 1)):
        if mask[y : y + block, x : x + block].all():
            expected[y : y + block, x : x + block] = True
    packed = pack(mask)
    open_blocks(packed, block)
    np.testing.assert_array_equal(unpack(packed, columns), expected)
    assert not (unpack(packed, 64 * packed.shape[1])[:, columns:]).any()


@pytest.mark.parametrize("block", [60, 64, 65, 100, 127])
def test_opening_with_blocks_of_more_than_a_word(block: int) -> None:
    mask = np.zeros((140, 200), bool)
    mask[3 : 3 + block, 50 : 50 + block] = True
    mask[: block - 1, 198] = True
    packed = pack(mask)
    open_blocks(packed, block)
    found = unpack(packed, 200)
    assert found.sum() == block * block
    assert found[3 : 3 + block, 50 : 50 + block].all()
    open_blocks(packed, block + 1)
    assert not packed.any()


@given(pixels())
def test_the_largest_component_is_kept(mask: Pixels) -> None:
    packed = pack(mask)
    keep_largest_component(packed, mask.shape[1])
    largest = max(components(mask), key=len, default=set())
    np.testing.assert_array_equal(unpack(packed, mask.shape[1]), picture(mask.shape, largest))


@given(pixels())
def test_holes_are_filled(mask: Pixels) -> None:
    rows, columns = mask.shape
    holes = [
        part
        for part in components(~mask)
        if not any(y in (0, rows - 1) or x in (0, columns - 1) for y, x in part)
    ]
    packed = pack(mask)
    fill_holes(packed, columns)
    expected = mask | picture(mask.shape, set().union(*holes))
    np.testing.assert_array_equal(unpack(packed, columns), expected)


def test_pixels_that_touch_at_a_corner_are_apart() -> None:
    packed = pack(np.array([[1, 1, 0], [0, 0, 1], [0, 1, 1]], bool))
    keep_largest_component(packed, 3)
    assert unpack(packed, 3).astype(int).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]
    packed = pack(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool))
    fill_holes(packed, 3)
    assert unpack(packed, 3).astype(int).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


@given(pixels())
def test_extent_of_a_mask(mask: Pixels) -> None:
    found = extent(pack(mask), mask.shape[1])
    y, x = np.nonzero(mask)
    if not len(y):
        assert found == (0,) * 7
        return
    assert found == (x.min(), x.max(), y.min(), y.max(), len(y), x.sum(), y.sum())
