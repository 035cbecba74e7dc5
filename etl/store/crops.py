"""Crops around lesions, padded where the volume ends; one at a time, or as a dataset of PyTorch's kind."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.imaging.window import Window, to_grey, to_share
from etl.store.asked import refuse_place
from etl.store.layout import AXES, Shape

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.level_voxels import LevelVoxels
    from etl.store.reader import Store

Point = tuple[float, float, float]
"""A place (z, y, x) in voxels."""

BOX = ("bbox_x1_vox", "bbox_y1_vox", "bbox_x2_vox", "bbox_y2_vox")
PLACE_COLUMNS = ["lesion_id", "volume_id", "z_vox", *BOX]
"""The columns of `lesions` that say where a lesion lies in its volume."""

CATALOGUE_COLUMNS = [
    *("volume_id", "slice_first", "slice_last", "fingerprint"),
    *(f"{kind}spacing_{axis}_mm" for kind in ("", "source_") for axis in AXES),
]
"""The columns of `volumes` that a crop's attributes are from."""


@dataclass(frozen=True)
class Crop:
    """A box of voxels, which may reach past the volume.

    Attributes:
        start: index (z, y, x) in the volume of its first voxel; may be negative.
        shape: voxels (z, y, x).
    """

    start: Shape
    shape: Shape

    def read(self, voxels_hu: LevelVoxels) -> np.ndarray[Any, Any]:
        """Return int16 HU (z, y, x). Outside the volume it has the array's fill value, which is air."""
        inside = tuple(
            slice(max(start, 0), max(min(start + n, limit), 0))
            for start, n, limit in zip(self.start, self.shape, voxels_hu.shape, strict=True)
        )
        sizes = tuple(max(s.stop - s.start, 0) for s in inside)
        if sizes == self.shape:
            return voxels_hu[inside]
        cropped = np.full(self.shape, voxels_hu.fill_value, voxels_hu.dtype)
        if all(sizes):
            target = tuple(
                slice(s.start - start, s.stop - start) for s, start in zip(inside, self.start, strict=True)
            )
            cropped[target] = voxels_hu[inside]
        return cropped


def crop_around(center_vox: Point, shape: Shape) -> Crop:
    """Return the crop of this shape with its middle as near to a point (z, y, x) as whole voxels allow."""
    z, y, x = (math.floor(c - (n - 1) / 2 + 0.5) for c, n in zip(center_vox, shape, strict=True))
    return Crop((z, y, x), shape)


def crop_of_size(center_vox: Point, sizes_mm: Sequence[float], spacing_mm: Sequence[float]) -> Crop:
    """Return the crop around a point (z, y, x) with edges of these sizes, rounded to whole voxels."""
    nz, ny, nx = (max(round(size / s), 1) for size, s in zip(sizes_mm, spacing_mm, strict=True))
    return crop_around(center_vox, (nz, ny, nx))


def centers_vox(places: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the middles of lesions, the middle of the box on the key slice: (n, 3), z, y, x, in voxels.

    Args:
        places: rows of `lesions` with `PLACE_COLUMNS`.
    """
    x = (places["bbox_x1_vox"] + places["bbox_x2_vox"]) / 2
    y = (places["bbox_y1_vox"] + places["bbox_y2_vox"]) / 2
    return np.stack([places["z_vox"], y, x], axis=1)


def windowed(hu: Any, window_hu: Window, kind: str) -> Any:
    """Return HU as `Store.window` does."""
    if kind not in ("float32", "uint8"):
        raise ValueError(f"kind is {kind!r}; allowed: 'float32', 'uint8'")
    values = (to_grey if kind == "uint8" else to_share)(np.asarray(hu), window_hu)
    xarray = sys.modules.get("xarray")
    if xarray is None or not isinstance(hu, xarray.DataArray):
        return values
    windowed = hu.copy(data=values)
    return windowed.assign_attrs(units="1", window_hu=list(window_hu)).rename("windowed")


class LesionCrops:
    """One sample a lesion, in the order of `lesion_id`: the voxels around it and the boxes in them.

    Every sample has the same shapes, so DataLoader's own collation works. Nothing is random. Only numbers
    and names are held: voxels are read in the process that asks for a sample, so workers may be forked or
    spawned.

    A sample is a dict of:

        image      float32 (z, y, x), the window scaled to 0..1; outside the volume it is air
        boxes      float32 (m, 4): x1, y1, x2, y2 of annotated lesions in voxels of the crop, centres from 0.
                   The sample's own lesion comes first, then others with their middle in the crop, then NaN.
                   A box may reach past the crop
        boxes_z    float32 (m,): their key slices, in voxels of the crop; NaN where there is no box
        box_count  int64: number of rows of `boxes` that hold a box
        lesion_id  int64: row of DL_info.csv
        mask       with `masks`: bool (z, y, x), the lesion's mask by others, see `Store.mask`; else False
        mask_kind  with `masks`: int64, 2 for a mask of the whole lesion, 1 of its key slice, 0 without one

    m is the greatest count of the dataset.

    Args:
        split: train, val or test; None for all.
        size_vox: shape (z, y, x) of the crops in stored voxels.
        window_hu: lower and upper end of the window.
        masks: add the masks to each sample.

    Raises:
        StoreError: there is no such split, or masks are asked for and the version has none.
        ValueError: a size is less than 1, or the window has no width.
    """

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        size_vox: Shape = (32, 64, 64),
        window_hu: Window = (-175.0, 275.0),
        masks: bool = False,
    ) -> None:
        refuse_place(store, "LesionCrops")
        if min(size_vox) < 1:
            raise ValueError(f"size_vox is {size_vox}; allowed: three numbers (z, y, x) of at least 1")
        to_share([], window_hu)
        self._store, self._window_hu = store, window_hu
        places = store.lesions(split=split, columns=PLACE_COLUMNS)
        self._lesion_ids = places["lesion_id"].to_numpy(np.int64)
        self._volume_ids = places["volume_id"].to_numpy(np.str_)
        self._crops = [crop_around((z, y, x), size_vox) for z, y, x in centers_vox(places).tolist()]
        self._boxes_z, self._boxes = places["z_vox"].to_numpy(), places[list(BOX)].to_numpy()
        self._shown = self._lesions_shown(centers_vox(places))
        self._most = max(map(len, self._shown), default=0)
        self._masks = store.masks if masks else None
        if self._masks is not None:
            self._masks.rows  # noqa: B018  # read here, not in each loader's process

    def __len__(self) -> int:
        return len(self._lesion_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        number = range(len(self))[operator.index(index)]
        crop, shown = self._crops[number], self._shown[number]
        voxels_hu = crop.read(self._store.array(str(self._volume_ids[number])))
        z, y, x = crop.start
        boxes = np.full((self._most, 4), np.nan, np.float32)
        boxes[: len(shown)] = self._boxes[shown] - (x, y, x, y)
        boxes_z = np.full(self._most, np.nan, np.float32)
        boxes_z[: len(shown)] = self._boxes_z[shown] - z
        sample = {
            "image": to_share(voxels_hu, self._window_hu),
            "boxes": boxes,
            "boxes_z": boxes_z,
            "box_count": np.int64(len(shown)),
            "lesion_id": self._lesion_ids[number],
        }
        return (
            sample
            if self._masks is None
            else sample | self._masks.sample(int(self._lesion_ids[number]), crop)
        )

    def _lesions_shown(self, centers: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Return for each sample the numbers of the lesions with their middle in its crop, its own first."""
        shown = []
        _, volume = np.unique(self._volume_ids, return_inverse=True)
        order = np.argsort(volume, kind="stable")
        starts, ends = (np.searchsorted(volume[order], volume, side) for side in ("left", "right"))
        for number, crop in enumerate(self._crops):
            near = order[starts[number] : ends[number]]
            first = np.asarray(crop.start) - 0.5
            offsets = centers[near] - first
            inside = near[((offsets >= 0) & (offsets < crop.shape)).all(axis=1) & (near != number)]
            shown.append(np.concatenate([[number], inside]))
        return shown
