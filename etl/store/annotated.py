"""The lesions of a version as arrays: which are chosen, which lie in a crop, what a sample says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from etl.core.errors import StoreError
from etl.imaging.window import Window, to_share
from etl.store.crops import BOX, PLACE_COLUMNS, Crop, centers_vox
from etl.store.layout import Shape

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store

COLUMNS = [
    *PLACE_COLUMNS,
    *("coarse_type_code", "long_diameter_mm", "short_diameter_mm", "window_low_hu", "window_high_hu"),
]
WindowChoice = Window | Literal["own"]
"""A window in HU, or `own`: each lesion's."""

Numbers = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Annotated:
    """All annotated lesions of a split, by number, in the order of lesion_id.

    Attributes:
        store: the version.
        lesion_ids, volume_ids: of each lesion.
        centers: middle of the box on the key slice, (n, 3), z, y, x, in voxels.
        boxes: (n, 4): x1, y1, x2, y2 in voxels.
        types: coarse types 1 to 8, -1 where unlabelled.
        diameters_mm: (n, 2): long and short.
        windows_hu: (n, 2).
        shapes: voxels (z, y, x) of each volume of the version.
    """

    store: Store
    lesion_ids: NDArray[np.int64]
    volume_ids: NDArray[np.str_]
    centers: NDArray[np.float64]
    boxes: NDArray[np.float64]
    types: NDArray[np.int64]
    diameters_mm: NDArray[np.float32]
    windows_hu: NDArray[np.float64]
    shapes: Mapping[str, Shape]

    @cached_property
    def by_volume(self) -> dict[str, Numbers]:
        """The numbers of the lesions of each volume that has any."""
        order = np.argsort(self.volume_ids, kind="stable")
        names, starts = np.unique(self.volume_ids[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(names) else []
        return {str(name): part for name, part in zip(names, parts, strict=True)}

    def on_voxels(self, volume_id: str, numbers: Numbers) -> NDArray[np.float64]:
        """Return the middles (n, 3) of lesions of a volume, those past its last voxel on it."""
        return np.minimum(self.centers[numbers], np.subtract(self.shapes[volume_id], 1))

    def inside(self, volume_id: str, crop: Crop) -> Numbers:
        """Return the lesions with their middle in a crop of their volume.

        A key slice that lies past the last plane counts as on it.
        """
        near = self.by_volume.get(volume_id, np.empty(0, np.intp))
        offsets = self.on_voxels(volume_id, near) - (np.asarray(crop.start) - 0.5)
        return near[((offsets >= 0) & (offsets < crop.shape)).all(axis=1)]

    def window(self, choice: WindowChoice, number: int | None) -> Window:
        """Return a window for a lesion, or of a crop without one; its own may be asked for."""
        if not isinstance(choice, str):
            return choice
        low, high = (-175.0, 275.0) if number is None else self.windows_hu[number].tolist()
        return low, high

    def seen(self, crop: Crop, shown: Numbers, most: int) -> dict[str, Any]:
        """Return `boxes`, `boxes_z`, `types` and `box_count` of a sample; see `LesionCrops`."""
        z, y, x = crop.start
        boxes = np.full((most, 4), np.nan, np.float32)
        boxes[: len(shown)] = self.boxes[shown] - (x, y, x, y)
        boxes_z = np.full(most, np.nan, np.float32)
        boxes_z[: len(shown)] = self.centers[shown, 0] - z
        types = np.full(most, -1, np.int64)
        types[: len(shown)] = self.types[shown]
        return {"boxes": boxes, "boxes_z": boxes_z, "types": types, "box_count": np.int64(len(shown))}

    def image(self, volume_id: str, crop: Crop, window_hu: Window) -> NDArray[np.float32]:
        """Return the voxels of a crop, (z, y, x), the window scaled to 0..1."""
        return to_share(crop.read(self.store.array(volume_id)), window_hu)


def annotated(store: Store, split: str | None) -> Annotated:
    """Return the lesions of a split, or of all.

    Raises:
        StoreError: there is no such split.
    """
    rows = store.lesions(split=split, columns=COLUMNS)
    return Annotated(
        store,
        rows["lesion_id"].to_numpy(np.int64),
        rows["volume_id"].to_numpy(np.str_),
        centers_vox(rows),
        rows[list(BOX)].to_numpy(np.float64),
        rows["coarse_type_code"].fillna(-1).to_numpy(np.int64),
        rows[["long_diameter_mm", "short_diameter_mm"]].to_numpy(np.float32),
        rows[["window_low_hu", "window_high_hu"]].to_numpy(np.float64),
        store._shapes,
    )


def chosen(
    store: Store,
    known: NDArray[np.int64],
    split: str | None,
    types: str | Sequence[str] | None,
    lesion_ids: Sequence[int] | None,
) -> Numbers:
    """Return the places in `known` of the lesions that are of one of the types and have one of the ids.

    Args:
        known: the lesion_ids of the split, ascending.
        types: a coarse type by name, or several; None for all.
        lesion_ids: None for all.

    Raises:
        StoreError: there is no such type, or no such lesion in the split.
        ValueError: `lesion_ids` are no numbers of lesions.
    """
    keep = np.ones(len(known), bool)
    if types is not None:
        names = [types] if isinstance(types, str) else list(types)
        parts = [store.lesions(split=split, type=name, columns=["lesion_id"])["lesion_id"] for name in names]
        keep &= np.isin(known, np.concatenate([part.to_numpy(np.int64) for part in parts] or [[]]))
    if lesion_ids is not None:
        wanted = _numbers(lesion_ids)
        if len(absent := wanted[~np.isin(wanted, known)]):
            raise _no_lesion(store, int(absent[0]), split)
        keep &= np.isin(known, wanted)
    return np.flatnonzero(keep)


def _numbers(lesion_ids: Sequence[int]) -> NDArray[np.int64]:
    """Return lesion_ids as whole numbers. Raise ValueError for anything else, such as a mask of rows."""
    given = np.asarray(lesion_ids)
    try:
        numbers = given.astype(np.int64)
        if given.dtype.kind != "b" and given.ndim == 1 and (numbers == given).all():
            return numbers
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"lesion_ids is {str(lesion_ids)[:80]!r}; allowed: a list of lesion_ids, such as "
        'lesions["lesion_id"] of the rows that are wanted'
    )


def _no_lesion(store: Store, lesion_id: int, split: str | None) -> StoreError:
    if lesion_id not in store._places:
        return store._no_lesion(lesion_id)
    return StoreError(
        "a lesion is not in this split",
        where=f"{store.objects.root}, version {store.version['version']}",
        value=f"lesion {lesion_id}",
        allowed=f"lesions of {split}",
        remedy="leave out split, or choose by split alone",
    )


def tag_values(store: Store, lesion_ids: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int8]]:
    """Return the names of all tags of a version, and for each lesion 1 relevant, -1 uncertain or 0 per tag.

    Raises:
        StoreError: the version has no tags.
    """
    rows: pd.DataFrame = store.table("tags", columns=["lesion_id", "tag", "certainty"])
    names = sorted(rows["tag"].unique())
    found = np.zeros((len(lesion_ids), len(names)), np.int8)
    rows = rows[rows["lesion_id"].isin(lesion_ids)]
    at = np.searchsorted(lesion_ids, rows["lesion_id"].to_numpy(np.int64))
    column = np.searchsorted(names, rows["tag"].to_numpy(np.str_))
    relevant = (rows["certainty"] == "relevant").to_numpy()
    found[at[~relevant], column[~relevant]] = -1
    found[at[relevant], column[relevant]] = 1
    return names, found
