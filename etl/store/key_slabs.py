"""Key slices with their neighbours at full in-plane resolution, as DeepLesion's detectors take them."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from etl.imaging.window import to_share
from etl.store.annotated import WindowChoice, annotated, chosen, tag_values
from etl.store.asked import refuse_place
from etl.store.lesion_crops import Transform, check_window

if TYPE_CHECKING:
    from etl.store.level_voxels import LevelVoxels
    from etl.store.reader import Store

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
        diameters_mm  float32 (m, 2): long and short RECIST diameters; NaN where there is no box
        box_count   int64: number of rows of `boxes` that hold a box
        masks       with `masks`: bool (m, y, x), the masks by others in the plane nearest to the key slice;
                    False without one there
        tags        with `tags`: int8 (m, k): 1 relevant, -1 uncertain, 0 not given; `tag_names` names them

    m is the greatest count of the dataset.

    Args:
        split: train, val or test; None for all.
        planes: number of planes; the key slice is the middle one of an odd number.
        spacing_mm: between planes; those between stored planes are interpolated linearly.
        size_px: (rows, columns) to which images are padded with air, below and at the right, so that samples
            of volumes of different sizes stack; None keeps each volume's own.
        window_hu: lower and upper end of the window, or "own": of the first chosen lesion on the slice.
        threads: that decode at once.
        type, lesion_ids: key slices with such a lesion, as for `LesionCrops`; all its lesions are in `boxes`.
        masks, tags: add them to each sample.
        transform: called with each sample; what it returns is the sample.

    Raises:
        StoreError: there is no such split, type or lesion, or the version has no masks or tags.
        ValueError: a number is not above 0, the window has no width, or a volume is larger than `size_px`.
    """

    tag_names: Sequence[str] = ()
    """The names of the columns of `tags`."""

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        planes: int = 9,
        spacing_mm: float = 2.0,
        size_px: tuple[int, int] | None = None,
        window_hu: WindowChoice = (-175.0, 275.0),
        threads: int = 1,
        *,
        type: str | Sequence[str] | None = None,
        lesion_ids: Sequence[int] | None = None,
        masks: bool = False,
        tags: bool = False,
        transform: Transform | None = None,
    ) -> None:
        refuse_place(store, "KeySlabs")
        if planes < 1 or not 0 < spacing_mm < math.inf:
            raise ValueError(f"planes is {planes}, spacing_mm {spacing_mm}; allowed: above 0")
        check_window(window_hu)
        self._store, self._window_hu, self._threads = store, window_hu, threads
        self._planes, self._size_px, self._transform = planes, size_px, transform
        self._all = every = annotated(store, split)
        taken = chosen(store, every.lesion_ids, split, type, lesion_ids)
        volumes = store.volumes(columns=["volume_id", "spacing_z_mm", "shape_z", "shape_y", "shape_x"])
        volumes = volumes.set_index("volume_id")
        if size_px is not None:
            used = volumes.loc[np.unique(every.volume_ids[taken])]
            largest = (used["shape_y"].max(), used["shape_x"].max()) if len(used) else (0, 0)
            if size_px[0] < largest[0] or size_px[1] < largest[1]:
                raise ValueError(f"size_px is {size_px}; allowed: at least {tuple(map(int, largest))}")
        key_slices = store.lesions(split=split, columns=["key_slice_index"])["key_slice_index"].tolist()
        keys = list(zip(every.volume_ids.tolist(), key_slices, strict=True))
        numbers: dict[tuple[str, int], list[int]] = {}
        for number, key in enumerate(keys):
            numbers.setdefault(key, []).append(number)
        # By slice its first chosen lesion.
        first_chosen = {keys[number]: int(number) for number in reversed(taken.tolist())}
        self._slabs = [(first_chosen[key], slab) for key, slab in numbers.items() if key in first_chosen]
        self._most = max((len(slab) for _, slab in self._slabs), default=0)
        self._steps_vox = spacing_mm / volumes["spacing_z_mm"].reindex(every.volume_ids).to_numpy()
        self._last_plane = volumes["shape_z"].reindex(every.volume_ids).to_numpy() - 1
        self._masks = store.masks if masks else None
        if self._masks is not None:
            self._masks.rows  # noqa: B018  # read here, not in each loader's process
        self._tags: NDArray[np.int8] | None = None
        if tags:
            self.tag_names, self._tags = tag_values(store, every.lesion_ids)

    def __len__(self) -> int:
        return len(self._slabs)

    def __getitem__(self, index: int) -> Any:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        first, shown = self._slabs[range(len(self))[operator.index(index)]]
        every = self._all
        window_hu = every.window(self._window_hu, first)
        voxels_hu = self._store.array(str(every.volume_ids[first]), threads=self._threads)
        positions = plane_positions(every.centers[first, 0], self._planes, self._steps_vox[first])
        image = to_share(read_planes_at(voxels_hu, positions), window_hu)
        shape = image.shape[1:]
        sample = {
            "image": image
            if self._size_px is None
            else self._padded(image, to_share(voxels_hu.fill_value, window_hu)),
            "boxes": self._rows(every.boxes[shown].astype(np.float32), np.nan),
            "types": self._rows(every.types[shown], -1),
            "lesion_ids": self._rows(every.lesion_ids[shown], -1),
            "diameters_mm": self._rows(every.diameters_mm[shown], np.nan),
            "box_count": np.int64(len(shown)),
        }
        if self._masks is not None:
            plane = min(round(every.centers[first, 0]), int(self._last_plane[first]))
            found = [self._masks.plane(int(every.lesion_ids[n]), plane, shape) for n in shown]
            drawn = np.stack([np.zeros(shape, bool) if mask is None else mask for mask in found])
            sample["masks"] = self._rows(
                drawn if self._size_px is None else self._padded(drawn, False), False
            )
        if self._tags is not None:
            sample["tags"] = self._rows(self._tags[shown], 0)
        return sample if self._transform is None else self._transform(sample)

    def _rows(self, values: NDArray[Any], empty: Any) -> NDArray[Any]:
        """Return values of the lesions of a slice, filled up to the greatest count of the dataset."""
        filled = np.full((self._most, *values.shape[1:]), empty, values.dtype)
        filled[: len(values)] = values
        return filled

    def _padded(self, planes: NDArray[Any], fill: Any) -> NDArray[Any]:
        assert self._size_px is not None
        padded = np.full((len(planes), *self._size_px), fill, planes.dtype)
        padded[:, : planes.shape[1], : planes.shape[2]] = planes
        return padded
