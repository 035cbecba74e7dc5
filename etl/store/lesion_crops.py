"""Crops around lesions as a map-style dataset: what PyTorch's DataLoader takes, made of numpy arrays."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from etl.imaging.window import Window, to_share
from etl.store.crops import BOX, PLACE_COLUMNS, centers_vox, crop_around
from etl.store.reader import Store
from etl.store.receipts import Shape


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
        box_count  int64: rows of `boxes` that are one
        lesion_id  int64: row of DL_info.csv

    m is the greatest count of the dataset.

    Args:
        split: train, val or test; None for all.
        size_vox: shape (z, y, x) of the crops in stored voxels.
        window_hu: lower and upper end of the window.

    Raises:
        StoreError: there is no such split.
        ValueError: a size is less than 1, or the window has no width.
    """

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        size_vox: Shape = (32, 64, 64),
        window_hu: Window = (-175.0, 275.0),
    ) -> None:
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

    def __len__(self) -> int:
        return len(self._lesion_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Raises IndexError past the end, which is what ends a loop over the dataset."""
        number = range(len(self))[operator.index(index)]
        crop, shown = self._crops[number], self._shown[number]
        voxels_hu = crop.read(self._store.array(str(self._volume_ids[number])))
        z, y, x = crop.start
        boxes = np.full((self._most, 4), np.nan, np.float32)
        boxes[: len(shown)] = self._boxes[shown] - (x, y, x, y)
        boxes_z = np.full(self._most, np.nan, np.float32)
        boxes_z[: len(shown)] = self._boxes_z[shown] - z
        return {
            "image": to_share(voxels_hu, self._window_hu),
            "boxes": boxes,
            "boxes_z": boxes_z,
            "box_count": np.int64(len(shown)),
            "lesion_id": self._lesion_ids[number],
        }

    def _lesions_shown(self, centers: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """For each sample the numbers of the lesions with their middle in its crop, its own first."""
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
