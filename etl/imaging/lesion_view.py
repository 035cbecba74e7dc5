"""A lesion as embedding models see it: planes around its middle, squares of fixed size in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.imaging.body_view import AIR_HU
from etl.imaging.triangles import triangle_weights, whole

Floats = npt.NDArray[np.float32]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class LesionView:
    """Squares of `pixels` x `pixels` pixels with an edge of `edge_mm`, on `slices` planes `slice_mm` apart.

    Beyond the first and last plane of a volume these are repeated; beyond the image it is air.
    """

    pixels: int = 50
    edge_mm: float = 50.0
    slices: int = 3
    slice_mm: float = 2.0

    @property
    def pixel_mm(self) -> float:
        """Edge of a pixel."""
        return self.edge_mm / self.pixels

    def of(self, hu: Any, center_vox: Triple, spacing_mm: Triple) -> Floats:
        """Return the view around a point, with triangles as wide as the coarser of both grids.

        Args:
            hu: (z, y, x), read where it is indexed: only the part that the view shows.
            center_vox: (z, y, x), index in `hu`.
            spacing_mm: (z, y, x).

        Returns:
            float32 (slices, pixels, pixels), in HU.
        """
        counts = (self.slices, self.pixels, self.pixels)
        steps_mm = (self.slice_mm, self.pixel_mm, self.pixel_mm)
        parts: list[slice] = []
        weights: list[Floats] = []
        for axis in range(3):
            n, spacing, step = hu.shape[axis], float(spacing_mm[axis]), steps_mm[axis]
            target = (np.arange(counts[axis]) - (counts[axis] - 1) / 2) * step + center_vox[axis] * spacing
            if axis == 0:
                target = np.clip(target, 0, (n - 1) * spacing)
            reach = max(spacing, step)
            first = min(max(math.floor((target[0] - reach) / spacing), 0), n - 1)
            last = min(max(math.ceil((target[-1] + reach) / spacing), first), n - 1)
            source = np.arange(first, last + 1, dtype=np.float64) * spacing
            own = triangle_weights(target.astype(np.float64), source, spacing, step)
            parts.append(slice(first, last + 1))
            weights.append((whole(own) if axis == 0 else own).astype(np.float32))
        read = np.asarray(hu[tuple(parts)]).astype(np.float32)
        above_air = np.maximum(read, AIR_HU) - AIR_HU
        along, down, across = weights
        planes = np.tensordot(along, above_air, axes=1)
        seen: Floats = (down @ (planes @ across.T) + np.float32(AIR_HU)).astype(np.float32, copy=False)
        return seen
