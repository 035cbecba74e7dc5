"""Undo the filters of PNG rows of 16-bit greyscale. Source: PNG specification, W3C 2025, section 9."""

from __future__ import annotations

from typing import Any

import numpy as np

from etl.imaging.kernels import compiled

# Typed Any: the stubs of some versions of numpy have no shifts of an int32 by an int.
_int32: Any = np.int32
_BYTE = _int32(255)


@compiled
def _paeth(left: Any, up: Any, upper_left: Any) -> Any:
    """Return the one of three nearest to left + up - upper_left; of equals left, then up.

    Written as a median of three (stb_image, S. Barrett and F. Giesen), which compiles without branches.
    """
    low, high = min(left, up), max(left, up)
    threshold = 3 * upper_left - (left + up)
    inside = low if high <= threshold else upper_left
    return high if threshold <= low else inside


@compiled
def _unfilter_row(row: Any, above: Any, out: Any) -> None:
    kind, filtered = row[0], row[1:]
    columns = out.shape[0]
    high, low, high_upper_left, low_upper_left = _int32(0), _int32(0), _int32(0), _int32(0)
    if kind == 0:
        for x in range(columns):
            out[x] = np.uint16((_int32(filtered[2 * x]) << 8) | _int32(filtered[2 * x + 1]))
    elif kind == 1:
        for x in range(columns):
            high = (high + _int32(filtered[2 * x])) & _BYTE
            low = (low + _int32(filtered[2 * x + 1])) & _BYTE
            out[x] = np.uint16((high << 8) | low)
    elif kind == 2:
        for x in range(columns):
            up = _int32(above[x])
            high = ((up >> 8) + _int32(filtered[2 * x])) & _BYTE
            low = (up + _int32(filtered[2 * x + 1])) & _BYTE
            out[x] = np.uint16((high << 8) | low)
    elif kind == 3:
        for x in range(columns):
            up = _int32(above[x])
            high = (((high + (up >> 8)) >> 1) + _int32(filtered[2 * x])) & _BYTE
            low = (((low + (up & _BYTE)) >> 1) + _int32(filtered[2 * x + 1])) & _BYTE
            out[x] = np.uint16((high << 8) | low)
    else:
        for x in range(columns):
            up = _int32(above[x])
            high_up, low_up = up >> 8, up & _BYTE
            high = (_paeth(high, high_up, high_upper_left) + _int32(filtered[2 * x])) & _BYTE
            low = (_paeth(low, low_up, low_upper_left) + _int32(filtered[2 * x + 1])) & _BYTE
            high_upper_left, low_upper_left = high_up, low_up
            out[x] = np.uint16((high << 8) | low)


@compiled
def unfilter(rows: Any, out: Any) -> None:
    """Undo the filters of all rows of an image that is not interlaced.

    Args:
        rows: uint8 (rows, 1 + 2 * columns): filter type 0 to 4, then filtered bytes, high one first.
        out: uint16 (rows, columns), overwritten.
    """
    above = np.zeros(out.shape[1], np.uint16)
    for y in range(out.shape[0]):
        _unfilter_row(rows[y], above, out[y])
        above = out[y]
