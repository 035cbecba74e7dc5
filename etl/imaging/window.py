"""HU as seen through a display window."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Window = tuple[float, float]
"""Lower and upper end in HU."""


def to_share(hu: ArrayLike, window_hu: Window) -> NDArray[np.float32]:
    """Return the position in the window, of any shape: 0 up to its lower end, 1 from its upper end on.

    Raises:
        ValueError: the window has no width.
    """
    low, high = window_hu
    if not low < high:
        raise ValueError(f"window_hu is {window_hu}; allowed: low, high with low < high")
    # In place: new arrays of a crop's size cost more than the arithmetic.
    share = np.array(hu, np.float32)
    share -= np.float32(low)
    share /= np.float32(high - low)
    return np.clip(share, 0, 1, out=share)


def to_grey(hu: ArrayLike, window_hu: Window) -> NDArray[np.uint8]:
    """Return grey values of any shape: 0 up to the window's lower end, 255 from its upper end on.

    Raises:
        ValueError: the window has no width.
    """
    return np.rint(to_share(hu, window_hu) * 255).astype(np.uint8)
