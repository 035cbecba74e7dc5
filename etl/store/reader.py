"""Read a published store, pinned to one version."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.errors import StoreError
from etl.imaging.window import Window, to_grey, to_share
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.store.crops import PLACE_COLUMNS, centers_vox, crop_around
from etl.store.layout import VERSIONS
from etl.store.parquet import Entry, covered_units, partition_value, read_file, read_table
from etl.store.versions import Version, read_version, readable
from etl.tables.lesions import SPLITS
from etl.tables.registry import declared

if TYPE_CHECKING:
    import pandas as pd
    import xarray
    import zarr


@dataclass(frozen=True)
class Store:
    """One version of a store; what is published later does not change it.

    It holds no open file or connection, so it may be pickled, and used in forked and spawned processes.
    Pickled it is its place and number: the version is read again where it is unpickled.

    Attributes:
        objects: where it lies.
        version: the version file's content.
    """

    objects: Objects
    version: Version

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.objects.root, self.version["version"])

    def lesions(
        self, split: str | None = None, type: str | None = None, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return annotations, one row a lesion, sorted by lesion_id; column `split` included.

        Args:
            split: train, val or test; only its files are read.
            type: a coarse type by name, such as liver. The release labels val and test only.
            columns: those to read, in this order.

        Raises:
            StoreError: the version has no such split, type or column.
        """
        if split is not None and split not in SPLITS:
            raise self._absent("split", split, ", ".join(SPLITS))
        files = self.version["tables"]["lesions"]
        entries = [entry for entry in files if split in (None, partition_value(entry["path"]))]
        rows = None if type is None else pc.field("coarse_type") == type
        found = self._table("lesions", columns, rows, entries)
        if type is not None and found.empty:
            known = self._table("lesions", ["coarse_type"])["coarse_type"].dropna().unique()
            if type not in known:
                raise self._absent(
                    "coarse type", type, ", ".join(sorted(known)) or "none: all are unlabelled"
                )
        return found

    def volumes(self, split: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the catalogue, one row a volume.

        Args:
            split: only volumes with lesions of it.
            columns: those to read, in this order.

        Raises:
            StoreError: the version has no such split or column.
        """
        if split is not None and split not in SPLITS:
            raise self._absent("split", split, ", ".join(SPLITS))
        return self._table("volumes", columns, None if split is None else pc.field("split") == split)

    def slices(self, volume_id: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return source slices, one row a slice of a volume.

        Args:
            volume_id: only those of this volume.
            columns: those to read, in this order.

        Raises:
            StoreError: the version has no such volume or column.
        """
        if volume_id is None:
            return self._table("slices", columns)
        self._path(volume_id)
        return self._table("slices", columns, pc.field("volume_id") == volume_id)

    def rejects(self) -> pd.DataFrame:
        """Return the parts of the release that the store lacks, and why."""
        return self._table("rejects")

    def table(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return any table of this version, also one that a job added to it.

        Args:
            columns: those to read, in this order.

        Raises:
            StoreError: the version has no such table or column, or a file of it is missing or damaged.
        """
        if name not in self.version["tables"]:
            raise self._absent("table", name, ", ".join(self.version["tables"]))
        return self._table(name, columns)

    def sequences(self, patient: int | None = None) -> pd.DataFrame:
        """Return lesions, of one patient or all, matched over time. StoreError if they were not matched."""
        from etl.store.lesion_sequences import sequences_of

        return sequences_of(self, patient)

    def growth(self) -> pd.DataFrame:
        """Return diameters over studies and their change, see `etl.derive.growth`; no clinical assessment."""
        from etl.store.lesion_sequences import growth_of

        return growth_of(self)

    def covered(self, name: str) -> set[Any]:
        """Return the volume_ids or lesion_ids for which an added table was made, also those without rows.

        Raises:
            StoreError: the version has no such added table, or a file of it is missing or damaged.
        """
        added = self.version.get("added_tables", {})
        if name not in added:
            raise self._absent("added table", name, ", ".join(added) or "none: all tables are the build's")
        with readable(self.objects):
            files = [read_file(self.objects, entry) for entry in self.version["tables"][name]]
        return {unit for data in files for unit in covered_units(pq.read_schema(io.BytesIO(data)))}

    def array(self, volume_id: str, level: int = 0) -> zarr.Array[Any]:
        """Return a volume's voxels: int16 HU, axes (z, y, x), read lazily.

        A zarr array on S3 holds connections: open it in the process that reads it, after a fork.

        Raises:
            StoreError: this version has no such volume or level.
        """

        from etl.store.voxels import open_level

        return open_level(self.objects, self._path(volume_id), level)

    def volume(self, volume_id: str, level: int = 0) -> xarray.DataArray:
        """Return a volume with coordinates in mm and units: int16 HU, axes (z, y, x), read lazily.

        Coordinates are centres of voxels, from the centre of the first, as the `*_mm` columns of `lesions`
        count.

        Raises:
            StoreError: this version has no such volume or level.
        """
        from etl.store.voxels import open_volume

        return open_volume(self.objects, self._path(volume_id), level)

    def crop(self, lesion_id: int, size_mm: float | tuple[float, float, float] = 64) -> xarray.DataArray:
        """Return the voxels around a lesion, in memory; only the chunks that they are in are read.

        Args:
            size_mm: edges of the crop along (z, y, x), or one for all, rounded to whole voxels.

        Returns:
            int16 HU, axes (z, y, x); in the middle, to half a voxel, is that of the lesion's box on its key
            slice. Coordinates are the volume's. Outside the volume it is air: the volume's fill value.

        Raises:
            StoreError: this version has no such lesion.
            ValueError: a size is not above 0.
        """
        sizes_mm = np.broadcast_to(np.asarray(size_mm, float), 3)
        if not (sizes_mm > 0).all():
            raise ValueError(f"size_mm is {size_mm}; allowed: above 0")
        if lesion_id not in self._places.index:
            raise self._no_lesion(lesion_id)
        place = self._places.loc[[lesion_id]]
        volume = self.volume(place["volume_id"].item())
        spacing_mm = volume.attrs["spacing_mm"]
        nz, ny, nx = (max(round(size / s), 1) for size, s in zip(sizes_mm, spacing_mm, strict=True))
        z, y, x = centers_vox(place)[0].tolist()
        crop = crop_around((z, y, x), (nz, ny, nx))
        coordinates = {
            name: (name, (start + np.arange(n)) * spacing, volume[name].attrs)
            for name, start, n, spacing in zip("zyx", crop.start, crop.shape, spacing_mm, strict=True)
        }
        voxels_hu = crop.read(self.array(volume.attrs["volume_id"]))
        attributes = volume.attrs | {"lesion_id": int(lesion_id)}
        return type(volume)(voxels_hu, coordinates, tuple("zyx"), "hu", attributes)

    @staticmethod
    def window(
        hu: Any, window_hu: Window = (-175.0, 275.0), kind: Literal["float32", "uint8"] = "float32"
    ) -> Any:
        """Return HU clipped to a window and scaled: float32 from 0 to 1, or uint8 from 0 to 255.

        Args:
            hu: an array, or an xarray.DataArray, which is what is then returned.
            window_hu: lower and upper end; `window_low_hu` and `window_high_hu` are each lesion's own.

        Raises:
            ValueError: the window has no width, or there is no such kind.
        """
        if kind not in ("float32", "uint8"):
            raise ValueError(f"kind is {kind!r}; allowed: 'float32', 'uint8'")
        values = (to_grey if kind == "uint8" else to_share)(np.asarray(hu), window_hu)
        xarray = sys.modules.get("xarray")
        if xarray is None or not isinstance(hu, xarray.DataArray):
            return values
        windowed = hu.copy(data=values)
        return windowed.assign_attrs(units="1", window_hu=list(window_hu)).rename("windowed")

    @cached_property
    def _places(self) -> pd.DataFrame:
        return self.lesions(columns=PLACE_COLUMNS).set_index("lesion_id")

    @cached_property
    def _paths(self) -> dict[str, str]:
        return {entry["volume_id"]: entry["path"] for entry in self.version["volumes"]}

    def _path(self, volume_id: str) -> str:
        if volume_id not in self._paths:
            known = ", ".join(list(self._paths)[:3])
            allowed = f"one of {len(self._paths)} volume_ids, such as {known}"
            raise self._absent("volume", volume_id, allowed, "volumes() lists them")
        return self._paths[volume_id]

    def _table(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        entries: Sequence[Entry] | None = None,
    ) -> pd.DataFrame:
        table = declared(self.version, name)
        for column in columns or ():
            if column not in table.rows_schema.names:
                raise self._absent(f"column of `{name}`", column, ", ".join(table.rows_schema.names))
        files = self.version["tables"][name] if entries is None else entries
        with readable(self.objects):
            return read_table(self.objects, files, table, columns, where).to_pandas()

    def _no_lesion(self, lesion_id: int) -> StoreError:
        rejects = self.rejects()
        why = rejects.loc[rejects["lesion_id"] == lesion_id, "message"]
        known = self._places.index
        allowed = f"one of {len(known)} lesion_ids" + (
            f" from {known[0]} to {known[-1]}" if len(known) else ""
        )
        remedy = f"its row was rejected: {why.iloc[0]}" if len(why) else "lesions() lists them"
        return self._absent("lesion", lesion_id, allowed, remedy)

    def _absent(self, what: str, value: Any, allowed: str, remedy: str = "") -> StoreError:
        where = f"{self.objects.root}, version {self.version['version']}"
        return StoreError(
            f"no such {what} in this version", where=where, value=value, allowed=allowed, remedy=remedy
        )


def open_store(store: str | os.PathLike[str], version: int | None = None) -> Store:
    """Open a store at one version, the current one by default.

    Args:
        store: a path, or s3://bucket/prefix; endpoint, region and credentials come from the AWS environment.

    Raises:
        StoreError: nothing is published there, or not that version.
    """
    objects = open_objects(store)
    with readable(objects):
        content = read_version(objects, version)
    if content is None:
        raise StoreError(
            "there is no store here, or nothing was published yet",
            where=objects.root,
            allowed=f"a folder with {VERSIONS}/NNNNNN.json",
            remedy="build one: deeplesion build CONFIG",
        )
    return Store(objects, content)
