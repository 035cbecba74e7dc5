"""Datasets of PyTorch's kind of crops: around lesions, and of the same volumes away from them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from etl.imaging.window import to_share
from etl.store.annotated import Annotated, Numbers, WindowChoice, annotated, chosen, tag_values
from etl.store.asked import edges_mm, refuse_place
from etl.store.crops import Crop, crop_around, crop_of_size, on_planes
from etl.store.layout import AXES, Shape
from etl.store.negatives import empty_crops

if TYPE_CHECKING:
    from etl.store.reader import Store

SIZE_VOX = (32, 64, 64)
Transform = Callable[[dict[str, Any]], Any]


class LesionCrops:
    """One sample a lesion, in the order of `lesion_id`: the voxels around it and the boxes in them.

    Every sample has the same shapes, so DataLoader's own collation works; with `size_mm` that holds where all
    volumes have one spacing. Nothing is random. Only numbers and names are held: voxels are read in the
    process that asks for a sample, so workers may be forked or spawned.

    A sample is a dict of:

        image         float32 (z, y, x), the window scaled to 0..1; outside the volume it is air
        boxes         float32 (m, 4): x1, y1, x2, y2 of annotated lesions in voxels of the crop, centres from
                      0. The sample's own lesion comes first, then others with their middle in the crop, then
                      NaN. A box may reach past the crop
        boxes_z       float32 (m,): their key slices, in voxels of the crop; NaN where there is no box
        types         int64 (m,): their coarse types 1 to 8, -1 where unlabelled or there is no box
        box_count     int64: number of rows of `boxes` that hold a box
        lesion_id     int64: row of DL_info.csv
        diameters_mm  float32 (2,): long and short RECIST diameter of the sample's own lesion
        mask          with `masks`: bool (z, y, x), the lesion's mask by others, see `Store.mask`; else False
        mask_kind     with `masks`: int64, 2 for a mask of the whole lesion, 1 of its key slice, 0 without one
        tags          with `tags`: int8 (k,): 1 relevant, -1 uncertain, 0 not given; `tag_names` names them

    m is the greatest count of the dataset.

    Args:
        split: train, val or test; None for all.
        size_vox: shape (z, y, x) of the crops in stored voxels; (32, 64, 64) unless `size_mm` is given.
        window_hu: lower and upper end of the window, or "own" for each lesion's.
        masks: add the masks to each sample.
        type: a coarse type by name, or several; `train` has none. Boxes of others are there all the same.
        lesion_ids: the lesions to take; None for all.
        size_mm: edges along (z, y, x), or one for all, rounded to whole voxels; instead of `size_vox`.
        tags: add the tags by others to each sample.
        transform: called with each sample; what it returns is the sample.

    Raises:
        StoreError: there is no such split, type or lesion, or the version has no masks or tags.
        ValueError: a size is less than 1 or given twice, or the window has no width.
    """

    tag_names: Sequence[str] = ()
    """The names of the columns of `tags`."""

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        size_vox: Shape | None = None,
        window_hu: WindowChoice = (-175.0, 275.0),
        masks: bool = False,
        *,
        type: str | Sequence[str] | None = None,
        lesion_ids: Sequence[int] | None = None,
        size_mm: float | tuple[float, float, float] | None = None,
        tags: bool = False,
        transform: Transform | None = None,
    ) -> None:
        refuse_place(store, "LesionCrops")
        check_window(window_hu)
        self._window_hu, self._transform = window_hu, transform
        self._all = annotated(store, split)
        self._numbers = chosen(store, self._all.lesion_ids, split, type, lesion_ids)
        self._crops = _crops_around(self._all, self._numbers, size_vox, size_mm)
        self._shown = [
            self._own_first(number, crop) for number, crop in zip(self._numbers, self._crops, strict=True)
        ]
        self._most = max(map(len, self._shown), default=0)
        self._masks = store.masks if masks else None
        if self._masks is not None:
            self._masks.rows  # noqa: B018  # read here, not in each loader's process
        self._tags: np.ndarray[Any, Any] | None = None
        if tags:
            self.tag_names, self._tags = tag_values(store, self._all.lesion_ids[self._numbers])

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Any:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        at = range(len(self))[operator.index(index)]
        number = int(self._numbers[at])
        sample = self._sample(number, self._crops[at], self._shown[at], number)
        if self._masks is not None:
            sample |= self._masks.sample(int(self._all.lesion_ids[number]), self._crops[at])
        if self._tags is not None:
            sample["tags"] = self._tags[at].copy()
        return sample if self._transform is None else self._transform(sample)

    def negatives(self, per_lesion: float = 1.0, seed: int = 0) -> Negatives:
        """Return crops of the same volumes without any annotated lesion in them; see `Negatives`."""
        return Negatives(self, per_lesion, seed)

    def _own_first(self, number: int, crop: Crop) -> Numbers:
        inside = self._all.inside(str(self._all.volume_ids[number]), crop)
        return np.concatenate([[number], inside[inside != number]]).astype(np.intp)

    def _sample(self, number: int, crop: Crop, shown: Numbers, own: int | None) -> dict[str, Any]:
        """Return a sample of the volume of a lesion, whose own it is or not."""
        every = self._all
        image = every.image(str(every.volume_ids[number]), crop, every.window(self._window_hu, number))
        return {
            "image": image,
            **every.seen(crop, shown, self._most),
            "lesion_id": np.int64(-1) if own is None else every.lesion_ids[own],
            "diameters_mm": np.full(2, np.nan, np.float32) if own is None else every.diameters_mm[own].copy(),
        }


class Negatives:
    """Crops inside the body of the volumes of `LesionCrops`, at the same places each time for one seed.

    No box of an annotated lesion, as deep as its long diameter, reaches into one. That is all that it means:
    the release annotates some lesions of a volume, not all, so a crop may show one that nobody marked. Train
    with that in mind, and call nothing that is found in them a false positive without a look at it.

    A sample has the keys and shapes of `LesionCrops`, so that both concatenate: `lesion_id` is -1,
    `box_count` 0, `mask` empty, `tags` 0. The window "own" is that of the lesion that the crop is made for.
    A volume without such a place gives none.

    Args:
        crops: of which volumes, and how samples look.
        per_lesion: crops for each lesion of `crops`; 0.5 makes one for every other lesion.
        seed: another one gives other places.
    """

    def __init__(self, crops: LesionCrops, per_lesion: float = 1.0, seed: int = 0) -> None:
        if not 0 < per_lesion < np.inf:
            raise ValueError(f"per_lesion is {per_lesion}; allowed: above 0")
        self._crops_of = crops
        count = int(len(crops) * per_lesion)
        at = np.arange(count) * len(crops) // max(count, 1)
        shapes = [crops._crops[n].shape for n in at]
        found = empty_crops(crops._all, crops._numbers[at], shapes, seed)
        self._places = [
            (int(number), crop) for number, crop in zip(crops._numbers[at], found, strict=True) if crop
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        number, crop = self._places[range(len(self))[operator.index(index)]]
        crops = self._crops_of
        sample = crops._sample(number, crop, np.empty(0, np.intp), None)
        if crops._masks is not None:
            sample |= {"mask": np.zeros(crop.shape, bool), "mask_kind": np.int64(0)}
        if crops._tags is not None:
            sample["tags"] = np.zeros(len(crops.tag_names), np.int8)
        return sample if crops._transform is None else crops._transform(sample)


def check_window(window_hu: WindowChoice) -> None:
    """Raise ValueError if there is no such window."""
    if isinstance(window_hu, str):
        if window_hu != "own":
            raise ValueError(f"window_hu is {window_hu!r}; allowed: two numbers in HU, or 'own'")
        return
    to_share([], window_hu)


def check_size(size_vox: Shape) -> None:
    """Raise ValueError if a crop can't have this shape."""
    if len(size_vox) != len(AXES) or min(size_vox) < 1:
        raise ValueError(f"size_vox is {size_vox}; allowed: three numbers (z, y, x) of at least 1")


def _crops_around(
    every: Annotated,
    numbers: Numbers,
    size_vox: Shape | None,
    size_mm: float | tuple[float, float, float] | None,
) -> list[Crop]:
    volume_ids = every.volume_ids[numbers].tolist()
    centers = on_planes(every.centers[numbers], volume_ids, every.shapes).tolist()
    if size_mm is None:
        size = SIZE_VOX if size_vox is None else size_vox
        check_size(size)
        return [crop_around((z, y, x), size) for z, y, x in centers]
    if size_vox is not None:
        raise ValueError("size_vox and size_mm are both given; allowed: one of them")
    edges = edges_mm(size_mm).tolist()
    rows = every.store.volumes(columns=["volume_id", *(f"spacing_{axis}_mm" for axis in AXES)])
    spacings = {row[0]: row[1:] for row in rows.itertuples(index=False, name=None)}
    return [
        crop_of_size((z, y, x), edges, spacings[volume_id])
        for (z, y, x), volume_id in zip(centers, volume_ids, strict=True)
    ]
