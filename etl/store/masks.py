"""Read masks of lesions by others, aligned with the volumes and crops of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from etl.core.errors import StoreError
from etl.store.asked import edges_mm
from etl.store.crops import Crop, crop_of_size
from etl.store.level_voxels import open_level
from etl.store.versions import readable
from etl.tables.masks import BOUNDS

if TYPE_CHECKING:
    import pandas as pd
    import xarray

    from etl.store.reader import Store

Voxels = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class StoredMasks:
    """The masks of one version; see `Store.mask`."""

    store: Store

    @property
    def exist(self) -> bool:
        """True if this version has the table `masks`."""
        return "masks" in self.store.version["tables"]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the table `masks` that have labels; of a lesion first those of the whole of it, by file."""
        if not self.exist:
            raise StoreError(
                "this version has no masks",
                where=f"{self.store.objects.root}, version {self.store.version['version']}",
                allowed="a version with the table `masks`",
                remedy="add them with deeplesion add",
            )
        rows = self.store.table("masks")
        if "path" not in rows:  # added before labels were stored
            return rows.iloc[:0]
        rows = rows[rows["path"].notna()]
        return rows.sort_values(["lesion_id", "is_3d", "source", "file"], ascending=[True, False, True, True])

    def row(
        self, lesion_id: int, source: str | None = None, is_3d: bool | None = None
    ) -> Mapping[str, Any] | None:
        """Return the row of a lesion's first mask, of any source and kind or one; None where it has none."""
        at = self._positions.get(lesion_id, [])
        found = (self._records[number] for number in at)
        asked = (row for row in found if source in (None, row["source"]) and is_3d in (None, row["is_3d"]))
        return next(asked, None)

    def read(self, row: Mapping[str, Any], crop: Crop | None = None, grid: str = "stored") -> Voxels:
        """Return the voxels of a mask, (z, y, x), True inside.

        Args:
            row: of the table `masks`.
            crop: a box in the grid, which may reach past the volume; None for the whole grid.
            grid: `stored`, or `source`.

        Raises:
            StoreError: the labels are missing or damaged.
            OSError: the store can't be read.
        """
        path = row["path" if grid == "stored" else "source_path"]
        value = row["lesion_id"] + 1
        with readable(self.store.objects):
            try:
                labels = open_level(self.store.objects, path)
                if crop is not None:
                    return np.asarray(crop.read(labels) == value)
                names = [f"{name}_vox" if grid == "stored" else f"source_{name}" for name in BOUNDS]
                first, last = (map(int, (row[name] for name in part)) for part in (names[:3], names[3:]))
                box = tuple(map(slice, first, last))
                voxels = np.zeros(labels.shape, bool)
                voxels[box] = labels[box] == value
            except StoreError as error:
                raise StoreError(
                    "the labels of a volume are missing or damaged",
                    where=error.where,
                    value=error.value,
                    allowed="the labels that the version names",
                    remedy="deeplesion verify lists all damage and what repairs it",
                ) from error
        return voxels

    def plane(self, lesion_id: int, z: int, shape: tuple[int, int]) -> Voxels | None:
        """Return a lesion's mask in one plane of the stored grid, (y, x); None without one there."""
        row = self.row(lesion_id) if self.exist else None
        if row is None or not row["z_start_vox"] <= z < row["z_stop_vox"]:
            return None
        voxels = self.read(row, Crop((z, 0, 0), (1, *shape)))[0]
        return voxels if voxels.any() else None

    def sample(self, lesion_id: int, crop: Crop) -> dict[str, Any]:
        """Return the keys `mask` and `mask_kind` of a sample of `LesionCrops`."""
        row = self.row(lesion_id)
        if row is None:
            return {"mask": np.zeros(crop.shape, bool), "mask_kind": np.int64(0)}
        return {"mask": self.read(row, crop), "mask_kind": np.int64(2 if row["is_3d"] else 1)}

    def array(
        self,
        lesion_id: int,
        source: str | None,
        size_mm: float | tuple[float, float, float] | None,
        grid: Literal["stored", "source"],
        is_3d: bool | None,
    ) -> xarray.DataArray:
        """Return the mask of a lesion with coordinates; see `Store.mask`."""
        from etl.store.voxels import place_voxels

        if grid not in ("stored", "source"):
            raise ValueError(f"grid is {grid!r}; allowed: 'stored', 'source'")
        if size_mm is not None and grid == "source":
            raise ValueError(
                "size_mm is for the stored grid, which crops are cut from; leave out one of the two"
            )
        row = self.row(lesion_id, source, is_3d)
        if row is None:
            raise self._absent(lesion_id, source, is_3d)
        own = self.store._attributes(row["volume_id"])
        spacing_mm = own["source_spacing_mm" if grid == "source" else "spacing_mm"]
        crop = None
        if size_mm is not None:
            _, center = self.store._places[lesion_id]
            crop = crop_of_size(center, edges_mm(size_mm).tolist(), spacing_mm)
        attributes = {
            name: row[name] for name in ("source", "file", "volume_id", "is_3d", "volume_mm3", "recist_share")
        }
        attributes |= {"lesion_id": int(lesion_id), "spacing_mm": spacing_mm}
        attributes["slice_first"] = own["slice_first"]
        start = (0, 0, 0) if crop is None else crop.start
        voxels = self.read(row, crop, grid)
        return place_voxels(voxels, spacing_mm, attributes, start=start, name="mask")

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        return self.rows.to_dict("records")

    @cached_property
    def _positions(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for at, lesion_id in enumerate(self.rows["lesion_id"].tolist()):
            found.setdefault(lesion_id, []).append(at)
        return found

    def _absent(self, lesion_id: int, source: str | None, is_3d: bool | None) -> StoreError:
        rows = self.rows if source is None else self.rows[self.rows["source"] == source]
        rows = rows if is_3d is None else rows[rows["is_3d"] == is_3d]
        sources = ", ".join(sorted(self.rows["source"].unique())) or "none"
        return StoreError(
            "this version has no such mask",
            where=f"{self.store.objects.root}, version {self.store.version['version']}",
            value=f"lesion {lesion_id}"
            + (f" by {source}" if source else "")
            + ("" if is_3d is None else f", is_3d {is_3d}"),
            allowed=f"{rows['lesion_id'].nunique():,} lesions with such masks; sources: {sources}",
            remedy='store.table("masks") lists them',
        )
