"""The tables of a published version, read as data frames: whole, or a split, some rows, some columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from etl.core.errors import AbsentError, StoreError
from etl.io.places import Objects
from etl.store.versions import Version, readable

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.parquet import Entry

# pandas, pyarrow and the tables' schemas take most of a second: functions import them.


@dataclass(frozen=True)
class VersionTables:
    """The tables of one version of a store.

    Attributes:
        objects: where it lies.
        version: the version file's content.
    """

    objects: Objects
    version: Version

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
        from etl.store.parquet import partition_value

        self._check_split(split)
        files = self.version["tables"]["lesions"]
        entries = [entry for entry in files if split in (None, partition_value(entry["path"]))]
        rows = None if type is None else ("coarse_type", type)
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
        self._check_split(split)
        if split is None:
            return self._table("volumes", columns)
        # Not by the column `split`, which is null where the lesions of a volume are of several.
        of_split = self.lesions(split, columns=["volume_id"])["volume_id"].unique().tolist()
        return self._table("volumes", columns, ("volume_id", of_split))

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
        return self._table("slices", columns, ("volume_id", volume_id))

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

    def covered(self, name: str) -> set[Any]:
        """Return the volume_ids or lesion_ids for which an added table was made, also those without rows.

        Raises:
            StoreError: the version has no such added table, or a file of it is missing or damaged.
        """
        from etl.store.parquet import covered_in

        added = self.version.get("added_tables", {})
        if name not in added:
            raise self._absent("added table", name, ", ".join(added) or "none: all tables are the build's")
        with readable(self.objects):
            return covered_in(self.objects, *self.version["tables"][name])

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
        where: tuple[str, Any] | None = None,
        entries: Sequence[Entry] | None = None,
    ) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.compute as pc

        from etl.store.parquet import read_table
        from etl.tables.registry import declared

        table = declared(self.version, name)
        for column in columns or ():
            if column not in table.rows_schema.names:
                raise self._absent(f"column of `{name}`", column, ", ".join(table.rows_schema.names))
        files = self.version["tables"][name] if entries is None else entries
        with readable(self.objects):
            rows = None
            if where is not None:
                name_of, value = pc.field(where[0]), where[1]
                is_list = isinstance(value, list)
                rows = name_of.isin(pa.array(value, pa.string())) if is_list else name_of == value
            return read_table(self.objects, files, table, columns, rows).to_pandas()

    def _check_split(self, split: str | None) -> None:
        from etl.tables.lesions import SPLITS

        if split is not None and split not in SPLITS:
            raise self._absent("split", split, ", ".join(SPLITS))

    def _absent(self, what: str, value: Any, allowed: str, remedy: str = "") -> StoreError:
        where = f"{self.objects.root}, version {self.version['version']}"
        return AbsentError(
            f"no such {what} in this version", where=where, value=value, allowed=allowed, remedy=remedy
        )
