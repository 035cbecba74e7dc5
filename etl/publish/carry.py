"""Tables that jobs added to a version, carried into the next one.

A row stays while every volume or lesion that it belongs to is the same as before: a volume by its path, which
ends in its fingerprint; a lesion by its volume, key slice and published coordinates. A file whose rows all
stay is named again by its path; of others a new file is written with the rows that stay.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.errors import StoreError
from etl.io.places import Objects, object_info
from etl.store.layout import tables_path
from etl.store.parquet import (
    EncodedTable,
    Entry,
    covered_units,
    decode_file,
    encode_table,
    read_file,
    read_table,
)
from etl.store.versions import Version
from etl.tables.lesions import POINTS
from etl.tables.registry import declared
from etl.tables.table import Table, Unit

logger = logging.getLogger(__name__)

_LESION_COLUMNS = ("lesion_id", "volume_id", "file_name", *(f"{name}_px" for name in POINTS))


class Units:
    """The volumes and lesions of a version, each with a token that is equal while it is the same.

    Args:
        volumes: entries of the version file.
        lesions: the table; read from the store on first use where None.
    """

    def __init__(self, objects: Objects, version: Mapping[str, Any], lesions: pa.Table | None = None) -> None:
        self._objects, self._version, self._lesions = objects, version, lesions

    def of(self, unit: Unit) -> dict[Any, Any]:
        """Return token by volume_id or lesion_id.

        Raises:
            StoreError: the table `lesions` is damaged.
            OSError: the store can't be read.
        """
        return self._volume_tokens if unit == "volume" else self._lesion_tokens

    @cached_property
    def _volume_tokens(self) -> dict[str, str]:
        return {entry["volume_id"]: entry["path"] for entry in self._version["volumes"]}

    @cached_property
    def _lesion_tokens(self) -> dict[int, tuple[Any, ...]]:
        rows = self._lesions
        if rows is None:
            entries = self._version["tables"]["lesions"]
            rows = read_table(self._objects, entries, declared(self._version, "lesions"), _LESION_COLUMNS)
        paths = self._volume_tokens
        columns = (rows[name].to_pylist() for name in _LESION_COLUMNS)
        return {
            lesion_id: (paths.get(volume_id), *values)
            for lesion_id, volume_id, *values in zip(*columns, strict=True)
        }


@dataclass(frozen=True, eq=False)
class AddedTables:
    """The entries of added tables in a version file, and the files that have to be written for them.

    Attributes:
        tables, schemas, declarations: entries of the version's `tables`, `schemas` and `added_tables`.
        files: paths relative to the store, and bytes.
    """

    tables: dict[str, list[Entry]]
    schemas: dict[str, list[list[str]]]
    declarations: dict[str, dict[str, Any]]
    files: tuple[tuple[str, bytes], ...]

    def merged_into(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a version's content with these tables instead of the added ones that it has."""
        had = body.get("added_tables", {})
        merged = {key: value for key, value in body.items() if key != "added_tables"}
        for key, own in (("schemas", self.schemas), ("tables", self.tables)):
            merged[key] = {name: value for name, value in body[key].items() if name not in had} | own
        return merged | ({"added_tables": self.declarations} if self.declarations else {})


def carry(
    objects: Objects, parent: Version | None, new: Units, run_id: str, taken: AbstractSet[str] = frozenset()
) -> AddedTables:
    """Carry the added tables of a version into the next.

    A file that is missing or damaged is left out with a warning: the job that made it makes it again.

    Args:
        new: volumes and lesions of the next version.
        run_id: of the run that publishes it.
        taken: names of tables that are not carried.

    Raises:
        OSError: the store can't be read.
    """
    if parent is None:
        return AddedTables({}, {}, {}, ())
    old = Units(objects, parent)
    tables: dict[str, list[Entry]] = {}
    schemas: dict[str, list[list[str]]] = {}
    declarations: dict[str, dict[str, Any]] = {}
    files: list[tuple[str, bytes]] = []
    for name, entry in parent.get("added_tables", {}).items():
        if name in taken:
            continue
        table, schemas[name] = declared(parent, name), parent["schemas"][name]
        tables[name], written, coverage = carry_table(
            objects, table, parent["tables"][name], entry["coverage"], old, new, run_id
        )
        declarations[name] = dict(entry) | {"coverage": coverage}
        files += written
    return AddedTables(tables, schemas, declarations, tuple(files))


def carry_table(
    objects: Objects,
    table: Table,
    entries: Sequence[Entry],
    coverage: Mapping[str, int] | None,
    old: Units,
    new: Units,
    run_id: str,
    replaced: AbstractSet[Any] = frozenset(),
    first_part: int = 0,
) -> tuple[list[Entry], list[tuple[str, bytes]], dict[str, int] | None]:
    """Carry one table from a version with the units `old` into one with the units `new`.

    Args:
        coverage: of the old version.
        replaced: units whose rows are left out because new rows take their place.
        first_part: number in the name of the first file that is written.

    Returns:
        (entries of the version's `tables`, files to write, coverage).
    """
    there = [entry for entry in entries if _is_there(objects, entry)]
    if table.unit is None or coverage is None:
        return there, [], None
    before, total = old.of(table.unit), len(new.of(table.unit))
    unchanged = {unit for unit, token in new.of(table.unit).items() if before.get(unit) == token}
    if len(unchanged) == len(before) and not replaced and len(there) == len(entries):
        return there, [], {"covered": coverage["covered"], "of": total}
    read = [(entry, *part) for entry in there if (part := _read(objects, table, entry)) is not None]
    # A unit that lost a row because another unit of that row changed is not covered any more.
    lost = [units_of(table, rows.filter(~belongs(table, rows, unchanged))) for _, rows, _ in read]
    stays = unchanged - replaced
    result: list[Entry] = []
    files: list[tuple[str, bytes]] = []
    covered_count = 0
    for number, (entry, rows, covered) in enumerate(read, first_part):
        keep, left = belongs(table, rows, stays), (covered & stays).difference(*lost)
        covered_count += len(left)
        if keep.all() and left == covered:
            result.append(entry)
            continue
        for file in encode_table(table, rows.filter(keep), left, number):
            if file.rows or left:
                entry, data = written(file, run_id)
                result.append(entry)
                files.append((entry["path"], data))
    return result, files, {"covered": covered_count, "of": total}


def written(file: EncodedTable, run_id: str) -> tuple[Entry, bytes]:
    """Return the entry of the version's `tables` and the bytes of a file that a run writes."""
    info = object_info(f"{tables_path(run_id)}/{file.path}", file.data)
    return asdict(info) | {"rows": file.rows}, file.data


def belongs(table: Table, rows: pa.Table, units: AbstractSet[Any]) -> np.ndarray:
    """Return for each row if all volumes or lesions that it belongs to are among these; null is none."""
    keep = np.ones(len(rows), bool)
    for name in table.unit_columns:
        column = rows[name].to_pandas()
        keep &= (column.isin(units) | column.isna()).to_numpy()
    return keep


def units_of(table: Table, rows: pa.Table) -> set[Any]:
    """Return the volumes or lesions that rows belong to."""
    return {unit for name in table.unit_columns for unit in rows[name].unique().to_pylist()} - {None}


def _is_there(objects: Objects, entry: Entry) -> bool:
    found = objects.size(entry["path"])
    if found != entry["bytes"]:
        value = "missing" if found is None else f"{found} bytes instead of {entry['bytes']}"
        _warn(objects, entry, value)
    return found == entry["bytes"]


def _read(objects: Objects, table: Table, entry: Entry) -> tuple[pa.Table, set[Any]] | None:
    """Return rows and covered units of a file; None where it is damaged."""
    try:
        data = read_file(objects, entry)
    except StoreError as error:
        _warn(objects, entry, str(error.value))
        return None
    covered = covered_units(pq.read_schema(io.BytesIO(data)))
    return decode_file(data, entry["path"], table), covered


def _warn(objects: Objects, entry: Entry, value: str) -> None:
    logger.warning(
        "%s/%s is %s: its rows are left out of the new version; run the job that makes this table again",
        *(objects.root, entry["path"], value),
    )
