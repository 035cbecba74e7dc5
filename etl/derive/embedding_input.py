"""The input of an embedding model: the planes around a lesion, and the box of its diameters in them.

Only voxels, the middle of the lesion and the ends of its diameters in mm come in. Display windows, spacing,
field of view, file names, row numbers and the release's boxes, whose margin is counted in pixels, do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.imaging.lesion_view import LesionView
from etl.imaging.window import to_share

Floats = npt.NDArray[np.float32]

ENDS = {
    axis: tuple(f"recist_{kind}_{axis}{end}_vox" for kind in ("long", "short") for end in "12")
    for axis in "yx"
}
LESION_COLUMNS = ("lesion_id", "z_vox", *ENDS["y"], *ENDS["x"])
"""Columns of `lesions` from which inputs are made."""


@dataclass(frozen=True)
class Spot:
    """Place and size of a lesion in a volume.

    Attributes:
        center_vox: (z, y, x), the middle of its diameters on the key slice.
        size_mm: extent of its diameters along y and x.
    """

    center_vox: tuple[float, float, float]
    size_mm: tuple[float, float]


def spots_of(lesions: Mapping[str, Any], spacing_mm: tuple[float, float, float]) -> list[Spot]:
    """Return the spots of lesions.

    Args:
        lesions: `LESION_COLUMNS`.
        spacing_mm: (z, y, x) of the stored voxels.
    """
    found = []
    ends = {axis: np.array([lesions[name] for name in names], np.float64) for axis, names in ENDS.items()}
    for number, z in enumerate(lesions["z_vox"]):
        low, high = ([float(edge(ends[axis][:, number])) for axis in "yx"] for edge in (np.min, np.max))
        center = (float(z), (low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
        size = ((high[0] - low[0]) * spacing_mm[1], (high[1] - low[1]) * spacing_mm[2])
        found.append(Spot(center, size))
    return found


@dataclass(frozen=True)
class EmbeddingInput:
    """The input of a model, by its config.json.

    Attributes:
        window_hu: one window for all lesions, scaled to 0..1.
        margin_mm: around the extent of the diameters, on each side.
    """

    view: LesionView
    window_hu: tuple[float, float]
    margin_mm: float

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> EmbeddingInput:
        """Return the input of a model's config.json."""
        low, high = data["window_hu"]
        view = LesionView(
            int(data["pixels"]), float(data["edge_mm"]), int(data["slices"]), float(data["slice_mm"])
        )
        return EmbeddingInput(view, (float(low), float(high)), float(data["margin_mm"]))

    def crop(self, hu: Any, spot: Spot, spacing_mm: tuple[float, float, float]) -> Floats:
        """Return the planes around a lesion, (slices, pixels, pixels) in 0..1.

        Args:
            hu: (z, y, x), read where it is indexed.
        """
        return self.shares(np.rint(self.view.of(hu, spot.center_vox, spacing_mm)))

    def shares(self, hu: npt.NDArray[np.generic]) -> Floats:
        """Return HU in the window, scaled to 0..1."""
        return to_share(hu, self.window_hu)

    def box(self, spot: Spot) -> Floats:
        """Return the lesion's box in the crop: x1, y1, x2, y2 in 0..1 of its edge, within it."""
        half = [
            (size / 2 + self.margin_mm) / self.view.edge_mm for size in (spot.size_mm[1], spot.size_mm[0])
        ]
        box = np.array([0.5 - half[0], 0.5 - half[1], 0.5 + half[0], 0.5 + half[1]], np.float32)
        inside: Floats = box.clip(0, 1)
        return inside
