"""Read a published store, pinned to one version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import zarr

from etl.errors import StoreError
from etl.store.layout import VERSIONS
from etl.store.objects import Objects, open_objects
from etl.store.tables import read_table
from etl.store.versions import Version, read_version, readable
from etl.store.volumes import open_level


@dataclass(frozen=True)
class Store:
    """One version of a store; what is published later does not change it.

    Attributes:
        objects: where it lies.
        version: the version file's content.
    """

    objects: Objects
    version: Version

    def lesions(self) -> pd.DataFrame:
        """Annotations, one row a lesion, sorted by lesion_id; column `split` included."""
        return self._table("lesions")

    def volumes(self) -> pd.DataFrame:
        """The catalogue, one row a volume."""
        return self._table("volumes")

    def slices(self) -> pd.DataFrame:
        """Source slices, one row a slice of a volume."""
        return self._table("slices")

    def rejects(self) -> pd.DataFrame:
        """What the release has and the store has not, and why."""
        return self._table("rejects")

    def array(self, volume_id: str, level: int = 0) -> zarr.Array[Any]:
        """A volume's voxels: int16 HU, axes (z, y, x), read lazily.

        Raises:
            StoreError: this version has no such volume or level.
        """
        path = self._paths.get(volume_id)
        if path is None:
            known = ", ".join(list(self._paths)[:3])
            raise StoreError(
                "no such volume in this version",
                where=f"{self.objects.root}, version {self.version['version']}",
                value=volume_id,
                allowed=f"one of {len(self._paths)} volume_ids, such as {known}",
                remedy="volumes() lists them",
            )
        return open_level(self.objects, path, level)

    @cached_property
    def _paths(self) -> dict[str, str]:
        return {entry["volume_id"]: entry["path"] for entry in self.version["volumes"]}

    def _table(self, name: str) -> pd.DataFrame:
        paths = [entry["path"] for entry in self.version["tables"][name]]
        return read_table(self.objects, paths, name).to_pandas()


def open_store(store: str, version: int | None = None) -> Store:
    """Open a store at one version, the current one by default.

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
            remedy="build one: dask-submit jobs/build_store.py CONFIG",
        )
    return Store(objects, content)
