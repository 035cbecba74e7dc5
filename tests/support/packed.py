"""The pixels of packed masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etl.imaging.masks import Mask


def unpack(mask: Mask, columns: int) -> NDArray[np.bool_]:
    """Return the pixels as bools, (rows, columns)."""
    bits = np.unpackbits(mask.view(np.uint8), axis=1, count=columns, bitorder="little")
    return bits.view(np.bool_)
