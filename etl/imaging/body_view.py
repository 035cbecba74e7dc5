"""One slice as body-part regressors see it: a square of fixed size in mm around the image's centre.

A whole-slice resize would make the result depend on the field of view.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.imaging.triangles import triangle_weights

Floats = npt.NDArray[np.float32]

AIR_HU = -1024.0


@dataclass(frozen=True)
class BodyView:
    """A square of `pixels` x `pixels`, `pixel_mm` each; outside the image it is air.

    Attributes:
        pixels: edge.
        pixel_mm: edge of one pixel.
    """

    pixels: int = 128
    pixel_mm: float = 3.5

    def of(self, hu: npt.NDArray[np.generic], spacing_mm: tuple[float, float]) -> Floats:
        """Return slices resampled to the view, with triangles as wide as the coarser of both grids.

        Args:
            hu: (..., rows, columns).
            spacing_mm: of rows and columns.

        Returns:
            float32 (..., pixels, pixels), in HU.
        """
        down, across = (
            _weights(n, float(mm), self.pixels, self.pixel_mm)
            for n, mm in zip(hu.shape[-2:], spacing_mm, strict=True)
        )
        above_air = np.maximum(hu.astype(np.float32), AIR_HU) - AIR_HU
        return (down @ (above_air @ across.T) + np.float32(AIR_HU)).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=64)
def _weights(n: int, spacing_mm: float, pixels: int, pixel_mm: float) -> Floats:
    """Return (pixels, n) weights; a row sums to 1 inside the image, and to less at its edge."""
    source_mm = (np.arange(n, dtype=np.float64) - (n - 1) / 2) * spacing_mm
    target_mm = (np.arange(pixels, dtype=np.float64) - (pixels - 1) / 2) * pixel_mm
    return triangle_weights(target_mm, source_mm, spacing_mm, pixel_mm).astype(np.float32)
