"""Read a published store, pinned to one version."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from etl.core.errors import StoreError
from etl.imaging.window import Window
from etl.io.opening import open_objects
from etl.store.asked import check_level, edges_mm, lesion_id_of
from etl.store.crops import (
    CATALOGUE_COLUMNS,
    PLACE_COLUMNS,
    Point,
    centers_vox,
    crop_of_size,
    on_planes,
    windowed,
)
from etl.store.derived import DerivedTables
from etl.store.display import store_html, store_text
from etl.store.held import CACHE_MB, Held, LastUsed
from etl.store.layout import AXES, Shape
from etl.store.level_voxels import LevelVoxels, open_level
from etl.store.version_list import parse_wanted, read_wanted
from etl.store.version_tables import VersionTables

if TYPE_CHECKING:
    import xarray

    from etl.store.masks import StoredMasks


@dataclass(frozen=True, repr=False)
class Store(VersionTables, DerivedTables):
    """One version of a store; what is published later does not change it.

    It holds no open file or connection, so it may be pickled, and used in forked and spawned processes.
    Pickled it is its place and number: the version is read again where it is unpickled.

    Attributes:
        cache_mb: memory in MB for decoded chunks, in each process.
    """

    cache_mb: float = CACHE_MB

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(open_store, cache_mb=self.cache_mb), (self.objects.root, self.version["version"])

    def __repr__(self) -> str:
        return store_text(self.objects.root, self.version)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: counts and a picture of a lesion."""
        return store_html(self)

    def array(self, volume_id: str, level: int = 0, threads: int = 1) -> LevelVoxels:
        """Return a volume's voxels: int16 HU, axes (z, y, x), read lazily; `threads` decode at once.

        Raises:
            StoreError: this version has no such volume or level.
        """
        check_level(self.version, self.objects.root, level)
        return open_level(self.objects, self._path(volume_id), level, self._held, threads)

    def volume(self, volume_id: str, level: int = 0, threads: int = 1) -> xarray.DataArray:
        """Return a volume with coordinates in mm and units: int16 HU, axes (z, y, x), read lazily.

        Coordinates are centres of voxels, from the centre of the first, as the `*_mm` columns of `lesions`
        count. `threads` decode at once where voxels are read.

        Raises:
            StoreError: this version has no such volume or level.
        """
        from etl.store.voxels import open_volume

        check_level(self.version, self.objects.root, level)
        return open_volume(self.objects, self._path(volume_id), level, self._held, threads)

    def crop(
        self, lesion: Any, size_mm: float | tuple[float, float, float] = 64, threads: int = 1
    ) -> xarray.DataArray:
        """Return the voxels around a lesion, in memory; only the chunks that they are in are read.

        Args:
            lesion: its lesion_id, or its row of `lesions`.
            size_mm: edges of the crop along (z, y, x), or one for all, rounded to whole voxels.
            threads: that decode at once.

        Returns:
            int16 HU, axes (z, y, x); in the middle, to half a voxel, is that of the lesion's box on its key
            slice, or on the last plane where the key slice lies past it. Coordinates are the volume's.
            Outside the volume it is air: the volume's fill value.

        Raises:
            StoreError: this version has no such lesion.
            ValueError: a size is not above 0, or there are neither one nor three.
        """
        lesion_id, sizes_mm = lesion_id_of(lesion), edges_mm(size_mm)
        if lesion_id not in self._places:
            raise self._no_lesion(lesion_id)
        from etl.store.voxels import place_voxels

        volume_id, center = self._places[lesion_id]
        attributes = self._attributes(volume_id) | {"lesion_id": lesion_id}
        spacing_mm = attributes["spacing_mm"]
        crop = crop_of_size(center, sizes_mm.tolist(), spacing_mm)
        voxels_hu = crop.read(self.array(volume_id, threads=threads))
        return place_voxels(voxels_hu, spacing_mm, attributes, start=crop.start)

    def mask(
        self,
        lesion_id: int,
        source: str | None = None,
        size_mm: float | tuple[float, float, float] | None = None,
        grid: Literal["stored", "source"] = "stored",
        is_3d: bool | None = None,
    ) -> xarray.DataArray:
        """Return a lesion's mask by others: bool, axes (z, y, x), in memory.

        Args:
            source: name in the table `masks`; None for any.
            size_mm: aligned with `crop` of this size; None for the whole volume, aligned with `volume`.
            grid: `source` for the source's own pixels and slices, from the volume's first slice on.
            is_3d: True for a mask of the whole lesion, False for one of its key slice, as in the table
                `masks`; None for one of the whole if there is, else of the key slice.

        Raises:
            StoreError: this version has no such mask, or its labels are damaged.
            ValueError: a size is not above 0, or there is no such grid.
        """
        return self.masks.array(lesion_id, source, size_mm, grid, is_3d)

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
        return windowed(hu, window_hu, kind)

    @cached_property
    def _held(self) -> Held:
        return Held(chunks=LastUsed(1e6 * self.cache_mb))

    @cached_property
    def _compared(self) -> dict[str, Any]:
        """The vectors of lesions by model, as searches read them."""
        return {}

    @cached_property
    def _catalogue(self) -> dict[str, tuple[Any, ...]]:
        """`CATALOGUE_COLUMNS` of each volume."""
        rows = self.volumes(columns=CATALOGUE_COLUMNS)
        return {row[0]: row for row in rows.itertuples(index=False, name=None)}

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        """Voxels of each volume along (z, y, x)."""
        z, y, x = (CATALOGUE_COLUMNS.index(f"shape_{axis}") for axis in AXES)
        return {name: (row[z], row[y], row[x]) for name, row in self._catalogue.items()}

    def _attributes(self, volume_id: str) -> dict[str, Any]:
        from etl.store.voxels import attributes_of

        return attributes_of(dict(zip(CATALOGUE_COLUMNS, self._catalogue[volume_id], strict=True)))

    @cached_property
    def masks(self) -> StoredMasks:
        """The masks of this version, for many reads; `mask` reads one."""
        from etl.store.masks import StoredMasks

        return StoredMasks(self)

    @cached_property
    def _places(self) -> dict[int, tuple[str, Point]]:
        """Volume and middle (z, y, x) of each lesion, in voxels; on the last plane where it lies past it."""
        rows = self.lesions(columns=PLACE_COLUMNS)
        centers = on_planes(centers_vox(rows), rows["volume_id"].tolist(), self._shapes)
        middles = map(tuple, centers.tolist())
        places = zip(rows["volume_id"], middles, strict=True)
        return dict(zip(rows["lesion_id"].tolist(), places, strict=True))

    def _no_lesion(self, lesion_id: int) -> StoreError:
        rejects = self.rejects()
        why = rejects.loc[rejects["lesion_id"] == lesion_id, "message"]
        known = list(self._places)
        allowed = f"one of {len(known)} lesion_ids" + (
            f" from {known[0]} to {known[-1]}" if len(known) else ""
        )
        remedy = f"its row was rejected: {why.iloc[0]}" if len(why) else "lesions() lists them"
        return self._absent("lesion", lesion_id, allowed, remedy)


def open_store(
    store: str | os.PathLike[str],
    version: int | str | None = None,
    *,
    as_of: str | datetime | None = None,
    cache_mb: float = CACHE_MB,
) -> Store:
    """Open a store at one version, the current one by default.

    Args:
        store: a path, or s3://bucket/prefix; endpoint, region and credentials come from the AWS environment.
        version: a number, or a tag such as "paper-2026".
        as_of: a date or time: the version that was current then, by `created_at`. UTC where it names no zone;
            a date is the end of that day.
        cache_mb: memory in MB for the decoded chunks that were read last, in each process. It makes planes
            one after another and crops that overlap much faster, those far apart no slower; 0 for none.

    Raises:
        StoreError: nothing is published there, or not that version.
        ValueError: the version is no number or tag, the date is none, or `cache_mb` is below 0.
    """
    if not cache_mb >= 0:
        raise ValueError(f"cache_mb is {cache_mb}; allowed: 0 or more")
    wanted = parse_wanted(version, as_of)
    objects = open_objects(store)
    return Store(objects, read_wanted(objects, wanted), cache_mb)
