"""A volume that was built, as the tables describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from etl.release.names import SeriesKey

if TYPE_CHECKING:
    from etl.imaging.hounsfield import HuStatistics

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class BuiltVolume:
    """A stored volume and the run of slices that it was made of. Shapes and spacings are (z, y, x).

    Attributes:
        path: of the OME-Zarr group, relative to the store.
        bytes, sha256: of all its objects; of its receipt.
        slices: rows of the release's slice index, consecutive slice numbers ascending.
        source_shape, source_spacing_mm: of the run.
        shape, spacing_mm: of the stored voxels.
        archives: names of the archives or folders that its slices are from.
        hu: of the stored voxels.
        slice_hu: of each source slice before clipping.
        slice_masks: where the body lies in each source slice; `SLICE_MASKS_DTYPE`, (slices,).
    """

    volume_id: str
    path: str
    fingerprint: str
    bytes: int
    sha256: str
    series: SeriesKey
    slices: np.ndarray
    source_shape: Shape
    source_spacing_mm: Spacing
    shape: Shape
    spacing_mm: Spacing
    archives: tuple[str, ...]
    hu: HuStatistics
    slice_hu: tuple[HuStatistics, ...]
    slice_masks: np.ndarray

    @property
    def first(self) -> int:
        return int(self.slices["index"][0])

    @property
    def last(self) -> int:
        return int(self.slices["index"][-1])

    @property
    def z_mm(self) -> np.ndarray:
        """Distance of each source slice from the first, (slices,)."""
        return np.arange(len(self.slices)) * self.source_spacing_mm[0]
