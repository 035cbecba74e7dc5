"""Coarser levels of a volume, each at twice the spacing of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from etl.imaging.kernels import halve_mean


def halve(volume: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return means of 2x2x2 voxels, rounded half to even; an odd end repeats its last voxel.

    Args:
        volume: int16 (z, y, x), at least one voxel along each axis.

    Returns:
        int16, (n + 1) // 2 voxels along each axis, at twice the spacing; see `level_translation_mm`.

    Raises:
        ValueError: the array is not as above.
    """
    if volume.ndim != 3 or volume.size == 0 or volume.dtype != np.int16:
        raise ValueError(f"volume is {volume.dtype} {volume.shape}; allowed: int16 (z, y, x), not empty")
    out = np.empty([(n + 1) // 2 for n in volume.shape], np.int16)
    halve_mean(np.ascontiguousarray(volume), out)
    return out


def halve_planes(planes: Iterable[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """Yield the planes of `halve` for planes int16 (y, x) that arrive one by one and may share memory."""
    coming = iter(planes)
    for plane in coming:
        first = plane.copy()
        yield halve(np.stack([first, next(coming, first)]))[0]


def level_translation_mm(level: int, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the position (z, y, x) in mm of a level's first voxel centre, relative to that of level 0.

    Args:
        level: 0 is the volume itself, 1 the volume halved once.
        spacing_mm: (z, y, x) of level 0.
    """
    z, y, x = ((2**level - 1) / 2 * spacing for spacing in spacing_mm)
    return z, y, x
