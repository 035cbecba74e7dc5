"""Key slices with their neighbours at full in-plane resolution, as DeepLesion's detectors take them."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from etl.imaging.window import Window, to_share
from etl.store.asked import refuse_place
from etl.store.crops import BOX

if TYPE_CHECKING:
    from etl.store.level_voxels import LevelVoxels
    from etl.store.reader import Store

SLAB_COLUMNS = ["lesion_id", "volume_id", "key_slice_index", "z_vox", "coarse_type_code", *BOX]
"""The columns of `lesions` that say where key slices lie and what is on them."""

# A position this near to a plane is that plane; `z_vox` and spacings are rounded.
_SAME_PLANE_VOX = 1e-3


def plane_positions(z_vox: float, planes: int, step_vox: float) -> NDArray[np.float64]:
    """Return the positions of a slab's planes along z, in voxels, around `z_vox`."""
    positions = z_vox + (np.arange(planes) - (planes - 1) / 2) * step_vox
    whole = np.rint(positions)
    return np.where(np.abs(positions - whole) < _SAME_PLANE_VOX, whole, positions)


def read_planes_at(voxels_hu: LevelVoxels, positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return planes at any position along z, float32 HU (positions, y, x).

    Between stored planes they are interpolated linearly. Less than a voxel outside the volume, where a key
    slice may lie, it is the outermost plane; farther out it is air.
    """
    last = voxels_hu.shape[0] - 1
    inside = (positions > -1) & (positions < last + 1)
    at = np.clip(positions, 0, last)
    below = np.floor(at).astype(np.int64)
    share = (at - below).astype(np.float32)
    above = np.where(share > 0, below + 1, below)
    found = np.full((len(positions), *voxels_hu.shape[1:]), voxels_hu.fill_value, np.float32)
    needed = np.unique(np.concatenate([below[inside], above[inside]]))
    stored = voxels_hu.oindex[needed]
    for n in np.flatnonzero(inside):
        low, high = (stored[np.searchsorted(needed, plane)] for plane in (below[n], above[n]))
        found[n] = low
        if share[n]:
            found[n] += share[n] * (high.astype(np.float32) - low)
    return found


class KeySlabs:
    """One sample a key slice: planes around it, whole, and the boxes of all lesions on it.

    In-plane resolution is that of the store; in one built with `volume.spacing_mm: native` it is the
    release's own pixels. Nothing is random. Only numbers and names are held: voxels are read in the process
    that asks for a sample, so workers may be forked or spawned.

    A sample is a dict of:

        image       float32 (planes, y, x), head to feet, the window scaled to 0..1; air outside the volume
        boxes       float32 (m, 4): x1, y1, x2, y2 of the lesions in pixels of the image, centres from 0, then
                    NaN. A box may reach past the image
        types       int64 (m,): coarse types 1 to 8, -1 where unlabelled or there is no box
        lesion_ids  int64 (m,): rows of DL_info.csv; -1 where there is no box
        box_count   int64: number of rows of `boxes` that hold a box

    m is the greatest count of the dataset.

    Args:
        split: train, val or test; None for all.
        planes: number of planes; the key slice is the middle one of an odd number.
        spacing_mm: between planes; those between stored planes are interpolated linearly.
        size_px: (rows, columns) to which images are padded with air, below and at the right, so that samples
            of volumes of different sizes stack; None keeps each volume's own.
        window_hu: lower and upper end of the window.
        threads: that decode at once.

    Raises:
        StoreError: there is no such split.
        ValueError: a number is not above 0, the window has no width, or a volume is larger than `size_px`.
    """

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        planes: int = 9,
        spacing_mm: float = 2.0,
        size_px: tuple[int, int] | None = None,
        window_hu: Window = (-175.0, 275.0),
        threads: int = 1,
    ) -> None:
        refuse_place(store, "KeySlabs")
        if planes < 1 or not 0 < spacing_mm < math.inf:
            raise ValueError(f"planes is {planes}, spacing_mm {spacing_mm}; allowed: above 0")
        to_share([], window_hu)
        self._store, self._window_hu, self._threads = store, window_hu, threads
        self._planes, self._size_px = planes, size_px
        lesions = store.lesions(split=split, columns=SLAB_COLUMNS)
        volumes = store.volumes(columns=["volume_id", "spacing_z_mm", "shape_y", "shape_x"])
        volumes = volumes.set_index("volume_id")
        if size_px is not None:
            used = volumes.loc[lesions["volume_id"].unique()]
            largest = (used["shape_y"].max(), used["shape_x"].max()) if len(used) else (0, 0)
            if size_px[0] < largest[0] or size_px[1] < largest[1]:
                raise ValueError(f"size_px is {size_px}; allowed: at least {tuple(map(int, largest))}")
        keys = lesions[["volume_id", "key_slice_index"]].apply(tuple, axis=1).tolist()
        numbers: dict[tuple[str, int], list[int]] = {}
        for number, key in enumerate(keys):
            numbers.setdefault(key, []).append(number)
        self._slabs = list(numbers.values())
        self._most = max(map(len, self._slabs), default=0)
        self._volume_ids = lesions["volume_id"].to_numpy(np.str_)
        self._z_vox = lesions["z_vox"].to_numpy()
        self._steps_vox = spacing_mm / volumes["spacing_z_mm"].reindex(lesions["volume_id"]).to_numpy()
        self._boxes = lesions[list(BOX)].to_numpy()
        self._types = lesions["coarse_type_code"].fillna(-1).to_numpy(np.int64)
        self._lesion_ids = lesions["lesion_id"].to_numpy(np.int64)

    def __len__(self) -> int:
        return len(self._slabs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        shown = self._slabs[range(len(self))[operator.index(index)]]
        first = shown[0]
        voxels_hu = self._store.array(str(self._volume_ids[first]), threads=self._threads)
        positions = plane_positions(self._z_vox[first], self._planes, self._steps_vox[first])
        image = to_share(read_planes_at(voxels_hu, positions), self._window_hu)
        if self._size_px is not None:
            air = to_share(voxels_hu.fill_value, self._window_hu)
            padded = np.full((len(image), *self._size_px), air, np.float32)
            padded[:, : image.shape[1], : image.shape[2]] = image
            image = padded
        boxes = np.full((self._most, 4), np.nan, np.float32)
        types, lesion_ids = (np.full(self._most, -1, np.int64) for _ in range(2))
        boxes[: len(shown)] = self._boxes[shown]
        types[: len(shown)] = self._types[shown]
        lesion_ids[: len(shown)] = self._lesion_ids[shown]
        return {
            "image": image,
            "boxes": boxes,
            "types": types,
            "lesion_ids": lesion_ids,
            "box_count": np.int64(len(shown)),
        }
