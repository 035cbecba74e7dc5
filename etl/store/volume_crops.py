"""Crops that cover whole volumes, as a dataset of PyTorch's kind: to search them or to draw from them."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from etl.store.annotated import WindowChoice, annotated
from etl.store.asked import refuse_place
from etl.store.crops import Crop
from etl.store.layout import Shape
from etl.store.lesion_crops import Transform, check_size, check_window

if TYPE_CHECKING:
    from etl.store.reader import Store


def starts_along(count: int, size: int, step: int) -> list[int]:
    """Return the first voxels of crops along an axis that cover it; the last ends where the axis does."""
    if count <= size:
        return [0]
    number = math.ceil((count - size) / step) + 1
    return [min(n * step, count - size) for n in range(number)]


class VolumeCrops:
    """Crops on a grid that covers each volume whole, volume by volume, with the boxes in them.

    Every sample has the same shapes. Nothing is random: shuffle in the DataLoader, or draw crops with
    lesions more often by `box_counts`, for example as weights of PyTorch's WeightedRandomSampler. What is
    said of `Negatives` holds here, too: a crop without a box may show a lesion that nobody marked.

    A sample is a dict of `image`, `boxes`, `boxes_z`, `types` and `box_count` as in `LesionCrops`, of the
    lesions with their middle in the crop, and

        volume      int64: number of the volume in `volume_ids`
        start_vox   int64 (3,): first voxel (z, y, x) of the crop in the volume

    Attributes:
        volume_ids: the volumes, in the order of the table.
        box_counts: number of boxes of each sample.

    Args:
        split: only volumes with lesions of it; None for all volumes, also those without a lesion.
        size_vox: shape (z, y, x) of the crops in stored voxels.
        step_vox: distance (z, y, x) of neighbouring crops; None for `size_vox`. The last of an axis ends
            where the volume does; a volume smaller than a crop is padded with air.
        window_hu: lower and upper end of the window.
        transform: called with each sample; what it returns is the sample.

    Raises:
        StoreError: there is no such split.
        ValueError: a size or step is less than 1, or the window has no width.
    """

    def __init__(
        self,
        store: Store,
        split: str | None = None,
        size_vox: Shape = (32, 128, 128),
        step_vox: Shape | None = None,
        window_hu: tuple[float, float] = (-175.0, 275.0),
        transform: Transform | None = None,
    ) -> None:
        refuse_place(store, "VolumeCrops")
        if isinstance(window_hu, str):
            raise ValueError(
                f"window_hu is {window_hu!r}; allowed: two numbers in HU, for no crop has a lesion of its own"
            )
        check_window(window_hu)
        check_size(size_vox)
        steps = size_vox if step_vox is None else step_vox
        check_size(steps)
        self._window_hu: WindowChoice = window_hu
        self._transform, self._size_vox = transform, size_vox
        self._all = annotated(store, split)
        volumes = store.volumes(split=split, columns=["volume_id"])
        self.volume_ids: NDArray[np.str_] = volumes["volume_id"].to_numpy(np.str_)
        places = []
        for number, volume_id in enumerate(self.volume_ids.tolist()):
            shape = self._all.shapes[volume_id]
            axes = [starts_along(*three) for three in zip(shape, size_vox, steps, strict=True)]
            places += [(number, z, y, x) for z in axes[0] for y in axes[1] for x in axes[2]]
        self._places = np.array(places, np.int64).reshape(-1, 4)
        self.box_counts = self._counts()
        self._most = int(np.max(self.box_counts, initial=0))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        """Return one sample. Raise IndexError past the end, which ends a loop over the dataset."""
        number, *start = self._places[range(len(self))[operator.index(index)]].tolist()
        crop, volume_id = Crop((start[0], start[1], start[2]), self._size_vox), str(self.volume_ids[number])
        every = self._all
        sample = {
            "image": every.image(volume_id, crop, every.window(self._window_hu, None)),
            **every.seen(crop, every.inside(volume_id, crop), self._most),
            "volume": np.int64(number),
            "start_vox": np.array(start, np.int64),
        }
        return sample if self._transform is None else self._transform(sample)

    def _counts(self) -> NDArray[np.int64]:
        """Return the number of boxes of each sample; only volumes with a lesion are looked at."""
        counts = np.zeros(len(self._places), np.int64)
        at = {str(name): number for number, name in enumerate(self.volume_ids)}
        firsts = np.searchsorted(self._places[:, 0], np.arange(len(self.volume_ids) + 1))
        for volume_id, lesions in self._all.by_volume.items():
            part = slice(firsts[at[volume_id]], firsts[at[volume_id] + 1])
            offsets = self._all.on_voxels(volume_id, lesions) - (self._places[part, None, 1:] - 0.5)
            counts[part] = ((offsets >= 0) & (offsets < self._size_vox)).all(axis=-1).sum(axis=1)
        return counts
