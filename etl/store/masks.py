"""Read masks of lesions by others, aligned with the volumes and crops of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray
import zarr

from etl.core.errors import StoreError
from etl.store.crops import PLACE_COLUMNS, Crop, centers_vox, crop_around
from etl.store.layout import AXES, SHARD, Shape
from etl.store.versions import readable
from etl.tables.masks import BOUNDS

if TYPE_CHECKING:
    import pandas as pd

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
        if "masks" not in self.store.version["tables"]:
            raise StoreError(
                "this version has no masks",
                where=f"{self.store.objects.root}, version {self.store.version['version']}",
                allowed="a version with the table `masks`",
                remedy="add them with jobs/add_annotations.py",
            )
        rows = self.store.table("masks")
        if "path" not in rows:  # added before labels were stored
            return rows.iloc[:0]
        rows = rows[rows["path"].notna()]
        return rows.sort_values(["lesion_id", "is_3d", "source", "file"], ascending=[True, False, True, True])

    def row(self, lesion_id: int, source: str | None = None) -> Mapping[str, Any] | None:
        """Return the row of a lesion's first mask, of any source or one; None where it has none."""
        at = self._positions.get(lesion_id, [])
        found = (self._records[number] for number in at)
        return next((row for row in found if source in (None, row["source"])), None)

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
        names = [f"{name}_vox" if grid == "stored" else f"source_{name}" for name in BOUNDS]
        bounds = [int(row[name]) for name in names]
        objects, path = self.store.objects, f"{row['path' if grid == 'stored' else 'source_path']}/0"
        where = f"{objects.root}/{path}"
        with readable(objects):
            size = objects.size(f"{path}/{SHARD}")
        if not size:
            raise _damaged(f"{where}/{SHARD}", "no such object" if size is None else "0 bytes")
        try:
            labels: Any = zarr.open_array(where, mode="r", zarr_format=3)
            box = labels[tuple(slice(bounds[axis], bounds[axis + 3]) for axis in range(3))]
        except (FileNotFoundError, KeyError, ValueError, RuntimeError) as error:
            raise _damaged(where, str(error)) from error
        start = (0, 0, 0) if crop is None else crop.start
        voxels = np.zeros(labels.shape if crop is None else crop.shape, bool)
        inside, part = [], []
        for axis in range(3):
            low, high = bounds[axis] - start[axis], bounds[axis + 3] - start[axis]
            inside.append(slice(max(low, 0), max(min(high, voxels.shape[axis]), 0)))
            part.append(slice(max(-low, 0), max(-low, 0) + max(inside[-1].stop - inside[-1].start, 0)))
        if all(s.start < s.stop for s in inside):
            voxels[tuple(inside)] = box[tuple(part)] == row["lesion_id"] + 1
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
    ) -> xarray.DataArray:
        """Return the mask of a lesion with coordinates; see `Store.mask`."""
        if grid not in ("stored", "source"):
            raise ValueError(f"grid is {grid!r}; allowed: 'stored', 'source'")
        if size_mm is not None and grid == "source":
            raise ValueError(
                "size_mm is for the stored grid, which crops are cut from; leave out one of the two"
            )
        row = self.row(lesion_id, source)
        if row is None:
            raise self._absent(lesion_id, source)
        volume = self._volumes.loc[row["volume_id"]]
        prefix = "source_" if grid == "source" else ""
        spacing_mm = [float(volume[f"{prefix}spacing_{axis}_mm"]) for axis in AXES]
        crop = None if size_mm is None else self._crop(lesion_id, size_mm, spacing_mm)
        voxels = self.read(row, crop, grid)
        start: Shape = (0, 0, 0) if crop is None else crop.start
        coordinates = {
            name: (name, (first + np.arange(n)) * spacing, {"units": "mm"})
            for name, first, n, spacing in zip(AXES, start, voxels.shape, spacing_mm, strict=True)
        }
        attributes = {
            name: row[name] for name in ("source", "file", "volume_id", "is_3d", "volume_mm3", "recist_share")
        }
        attributes |= {"lesion_id": int(lesion_id), "spacing_mm": spacing_mm}
        attributes["slice_first"] = int(volume["slice_first"])
        return xarray.DataArray(voxels, coordinates, AXES, "mask", attributes)

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        return self.rows.to_dict("records")

    @cached_property
    def _positions(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for at, lesion_id in enumerate(self.rows["lesion_id"].tolist()):
            found.setdefault(lesion_id, []).append(at)
        return found

    @cached_property
    def _volumes(self) -> pd.DataFrame:
        return self.store.volumes().set_index("volume_id")

    @cached_property
    def _places(self) -> pd.DataFrame:
        return self.store.lesions(columns=PLACE_COLUMNS).set_index("lesion_id")

    def _crop(
        self, lesion_id: int, size_mm: float | tuple[float, float, float], spacing_mm: list[float]
    ) -> Crop:
        sizes_mm = np.broadcast_to(np.asarray(size_mm, float), 3)
        if not (sizes_mm > 0).all():
            raise ValueError(f"size_mm is {size_mm}; allowed: above 0")
        nz, ny, nx = (max(round(size / s), 1) for size, s in zip(sizes_mm, spacing_mm, strict=True))
        z, y, x = centers_vox(self._places.loc[[lesion_id]])[0].tolist()
        return crop_around((z, y, x), (nz, ny, nx))

    def _absent(self, lesion_id: int, source: str | None) -> StoreError:
        rows = self.rows if source is None else self.rows[self.rows["source"] == source]
        sources = ", ".join(sorted(self.rows["source"].unique())) or "none"
        return StoreError(
            "this version has no such mask",
            where=f"{self.store.objects.root}, version {self.store.version['version']}",
            value=f"lesion {lesion_id}" + (f" by {source}" if source else ""),
            allowed=f"{rows['lesion_id'].nunique():,} lesions with masks; sources: {sources}",
            remedy='store.table("masks") lists them',
        )


def _damaged(where: str, value: str) -> StoreError:
    return StoreError(
        "the labels of a volume are missing or damaged",
        where=where,
        value=value,
        allowed="the labels that the version names",
        remedy="run jobs/add_annotations.py again; it writes them again",
    )
