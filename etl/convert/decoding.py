"""PNG files of slices -> arrays, and the reason for each file that can't be decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.core.errors import SliceError
from etl.core.rejects import Reason
from etl.imaging.png import PngError, PngFault, read_png

REASONS = {
    PngFault.NOT_PNG: Reason.SLICE_NOT_PNG,
    PngFault.NOT_16BIT_GREY: Reason.SLICE_NOT_16BIT_GREY,
    PngFault.SIZE_MISMATCH: Reason.SLICE_SIZE_MISMATCH,
    PngFault.TRUNCATED: Reason.SLICE_TRUNCATED,
    PngFault.CORRUPT: Reason.SLICE_CRC_MISMATCH,
}


def decode_slice(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Return the stored values of a slice, (rows, columns).

    Args:
        shape: (rows, columns) of the slice's run.

    Raises:
        SliceError: the file can't be decoded, or has another shape.
    """
    try:
        return read_png(data, shape)
    except PngError as error:
        raise SliceError(REASONS[error.fault], error.message) from error
