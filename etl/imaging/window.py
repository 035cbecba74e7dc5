"""HU -> grey values, as a display window says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_grey(hu: NDArray[np.int16], window_hu: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey values of any shape: 0 at the window's lower end and below, 255 at its upper end and above.

    Raises:
        ValueError: the window has no width.
    """
    low, high = window_hu
    if not low < high:
        raise ValueError(f"window_hu is {window_hu}; allowed: low, high with low < high")
    share = (hu.astype(np.float32) - low) / (high - low)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
