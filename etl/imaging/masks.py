"""Binary masks of one slice, 64 pixels a word: opening, largest component, holes, extent.

A mask is uint64 (rows, words): column x of a row is bit x % 64 of word x // 64, and bits past the last column
are 0. Pixels outside the image count as 0. Components are connected by edges (4 neighbours), the default of
`scipy.ndimage`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from etl.imaging.kernels import compiled

Mask = NDArray[np.uint64]

_ONE, _ALL = np.uint64(1), np.uint64(0xFFFF_FFFF_FFFF_FFFF)
# Multiplying a power of two by this de Bruijn number puts its exponent's own six bits on top.
_DE_BRUIJN, _TOP = np.uint64(0x03F79D71B4CB0A89), np.uint64(58)
_EXPONENT = np.argsort((_DE_BRUIJN << np.arange(64, dtype=np.uint64)) >> _TOP)


def pack(pixels: NDArray[np.bool_]) -> Mask:
    """Return the mask of an array of bools, (rows, columns)."""
    rows, columns = pixels.shape
    mask = np.zeros((rows, -(-columns // 64)), np.uint64)
    mask.view(np.uint8)[:, : -(-columns // 8)] = np.packbits(pixels, axis=1, bitorder="little")
    return mask


@compiled
def open_blocks(mask: Any, block: Any) -> None:
    """Open the mask with a block x block square: keep the pixels that such squares inside it cover."""
    rows, words = mask.shape
    # Windows of 1, 2, 4 ... pixels, each made from two of the size before. Erosion leaves the upper left
    # pixel of each whole square, dilation grows it back to the square.
    width = 1
    while width < block:
        step = min(width, block - width, 32)
        low, high = np.uint64(step), np.uint64(64 - step)
        for y in range(rows):
            row = mask[y]
            for word in range(words - 1):
                row[word] &= (row[word] >> low) | (row[word + 1] << high)
            row[words - 1] &= row[words - 1] >> low
        width += step
    width = 1
    while width < block:
        step = min(width, block - width)
        for y in range(max(rows - step, 0)):
            for word in range(words):
                mask[y, word] &= mask[y + step, word]
        mask[max(rows - step, 0) :] = 0
        width += step
    width = 1
    while width < block:
        step = min(width, block - width)
        for y in range(rows - 1, step - 1, -1):
            for word in range(words):
                mask[y, word] |= mask[y - step, word]
        width += step
    width = 1
    while width < block:
        step = min(width, block - width, 32)
        low, high = np.uint64(step), np.uint64(64 - step)
        for y in range(rows):
            row = mask[y]
            for word in range(words - 1, 0, -1):
                row[word] |= (row[word] << low) | (row[word - 1] >> high)
            row[0] |= row[0] << low
        width += step


@compiled
def _runs(mask: Any, inverted: Any, columns: Any) -> Any:
    """Find the runs of ones along the rows (of zeros, where `inverted`).

    Returns:
        int64 (rows + 1,), the first run of each row, and int64 (runs,) twice: the first column of each run
        and the column after its last.
    """
    rows, words = mask.shape
    flip = _ALL if inverted else np.uint64(0)
    most = rows * (columns // 2 + 1)
    first = np.zeros(rows + 1, np.int64)
    edges = np.empty(2 * most, np.int64)
    count = 0
    for y in range(rows):
        before = np.uint64(0)
        for word in range(words):
            bits = mask[y, word] ^ flip
            if word == words - 1 and columns % 64:
                bits &= _ALL >> np.uint64(64 - columns % 64)
            changes = bits ^ ((bits << _ONE) | before)
            before = bits >> np.uint64(63)
            while changes:
                lowest = changes & (~changes + _ONE)
                edges[count] = 64 * word + _EXPONENT[(lowest * _DE_BRUIJN) >> _TOP]
                count += 1
                changes ^= lowest
        if count % 2:
            edges[count] = columns
            count += 1
        first[y + 1] = count // 2
    return first, edges[:count:2], edges[1:count:2]


@compiled
def _root(parent: Any, run: Any) -> Any:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@compiled
def _components(first: Any, start: Any, stop: Any) -> Any:
    """Return the first run of each run's component: int64 (runs,)."""
    parent = np.arange(start.shape[0])
    for y in range(1, first.shape[0] - 1):
        above, run = first[y - 1], first[y]
        while above < first[y] and run < first[y + 1]:
            if start[above] < stop[run] and start[run] < stop[above]:
                one, other = _root(parent, above), _root(parent, run)
                parent[max(one, other)] = min(one, other)
            if stop[above] < stop[run]:
                above += 1
            else:
                run += 1
    for run in range(start.shape[0]):
        parent[run] = _root(parent, run)
    return parent


@compiled
def _flip(row: Any, start: Any, stop: Any) -> None:
    """Invert the bits of columns `start` to `stop` - 1."""
    for word in range(start // 64, (stop - 1) // 64 + 1):
        bits = _ALL
        if word == start // 64:
            bits &= _ALL << np.uint64(start % 64)
        if word == (stop - 1) // 64:
            bits &= _ALL >> np.uint64(63 - (stop - 1) % 64)
        row[word] ^= bits


@compiled
def keep_largest_component(mask: Any, columns: Any) -> None:
    """Keep the component with most pixels; of equals, the one whose first pixel comes first."""
    first, start, stop = _runs(mask, False, columns)
    if not start.shape[0]:
        return
    root = _components(first, start, stop)
    pixels = np.zeros(root.shape[0], np.int64)
    for run in range(root.shape[0]):
        pixels[root[run]] += stop[run] - start[run]
    largest = np.argmax(pixels)
    for y in range(mask.shape[0]):
        for run in range(first[y], first[y + 1]):
            if root[run] != largest:
                _flip(mask[y], start[run], stop[run])


@compiled
def fill_holes(mask: Any, columns: Any) -> None:
    """Fill the background that no path along edges joins to the image's border."""
    rows = mask.shape[0]
    first, start, stop = _runs(mask, True, columns)
    root = _components(first, start, stop)
    outside = np.zeros(root.shape[0], np.bool_)
    for y in range(rows):
        for run in range(first[y], first[y + 1]):
            if y == 0 or y == rows - 1 or start[run] == 0 or stop[run] == columns:
                outside[root[run]] = True
    for y in range(rows):
        for run in range(first[y], first[y + 1]):
            if not outside[root[run]]:
                _flip(mask[y], start[run], stop[run])


@compiled
def _extent(mask: Any, columns: Any) -> Any:
    first, start, stop = _runs(mask, False, columns)
    left, right, top, bottom, area, column_sum, row_sum = columns, 0, -1, 0, 0, 0, 0
    for y in range(mask.shape[0]):
        for run in range(first[y], first[y + 1]):
            top = y if top < 0 else top
            bottom = y
            left, right = min(left, start[run]), max(right, stop[run] - 1)
            length = stop[run] - start[run]
            area += length
            column_sum += length * (start[run] + stop[run] - 1) // 2
            row_sum += length * y
    return left, right, top, bottom, area, column_sum, row_sum


def extent(mask: Mask, columns: int) -> tuple[int, int, int, int, int, int, int]:
    """Return (first column, last column, first row, last row, pixels, sum of columns, sum of rows), from 0.

    All zeros where the mask is empty.
    """
    found = tuple(int(value) for value in _extent(mask, columns))
    return cast(tuple[int, int, int, int, int, int, int], found if found[4] else (0,) * 7)
