"""The filters of PNG rows against the specification's definition and against Pillow."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from etl.imaging.kernels import compiled
from etl.imaging.unfilter import _paeth, unfilter
from tests.imaging.test_png import SIGNATURE, chunk, header


def by_pillow(rows: np.ndarray) -> np.ndarray:
    height, width = rows.shape[0], (rows.shape[1] - 1) // 2
    body = chunk(b"IDAT", zlib.compress(rows.tobytes())) + chunk(b"IEND", b"")
    return np.array(Image.open(io.BytesIO(SIGNATURE + header(width, height) + body))).astype(np.uint16)


def by_ours(rows: np.ndarray) -> np.ndarray:
    out = np.empty((rows.shape[0], (rows.shape[1] - 1) // 2), np.uint16)
    unfilter(rows, out)
    return out


@pytest.mark.parametrize(
    ("kind", "second"),
    [
        (0, [[0x0110, 0x0220]]),
        (1, [[0x0110, 0x0330]]),
        (2, [[0x11FF, 0x2210]]),
        (3, [[0x0987, 0x16DB]]),
        (4, [[0x11FF, 0x221F]]),
    ],
)
def test_each_filter_on_two_rows(kind: int, second: list[list[int]]) -> None:
    rows = np.array([[0, 0x10, 0xEF, 0x20, 0xF0], [kind, 0x01, 0x10, 0x02, 0x20]], np.uint8)
    np.testing.assert_array_equal(by_ours(rows), [[0x10EF, 0x20F0], *second])
    np.testing.assert_array_equal(by_ours(rows), by_pillow(rows))


@compiled
def every_paeth(out: np.ndarray) -> None:
    for left in range(256):
        for up in range(256):
            for upper_left in range(256):
                out[left, up, upper_left] = _paeth(left, up, upper_left)


def test_paeth_is_the_specification_s_for_all_values() -> None:
    found = np.empty((256, 256, 256), np.uint8)
    every_paeth(found)
    up, upper_left = (axis.astype(np.int16) for axis in np.mgrid[:256, :256])
    for left in range(256):
        estimate = left + up - upper_left
        to_left, to_up, to_upper_left = (abs(estimate - value) for value in (left, up, upper_left))
        nearest = np.where(to_up <= to_upper_left, up, upper_left)
        expected = np.where((to_left <= to_up) & (to_left <= to_upper_left), left, nearest)
        np.testing.assert_array_equal(found[left], expected)


@given(
    filtered=npst.arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 20).map(lambda columns: 1 + 2 * columns))
    ),
    kinds=st.lists(st.integers(0, 4), min_size=9, max_size=9),
)
def test_any_rows_decode_as_pillow_decodes_them(filtered: np.ndarray, kinds: list[int]) -> None:
    filtered[:, 0] = kinds[: len(filtered)]
    np.testing.assert_array_equal(by_ours(filtered), by_pillow(filtered))
