"""The tables of a version, each opened and checked by its declaration, and the version's counts."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from etl.core.rejects import Kind, Reason
from etl.io.places import ObjectInfo
from etl.store.parquet import covered_units, decode_file, partition_value
from etl.store.versions import Version
from etl.tables.checks import StoredTables, VolumeFacts, Wrong
from etl.tables.registry import BUILD_TABLES, declared
from etl.tables.table import Table, schema_columns
from etl.verify.problems import CountedReads, Problem, Repair, collect, describe, differences, read_whole


class TableChecks:
    """The tables of one version: read first, checked once the volumes were looked at.

    Attributes:
        problems: what is wrong with the files, by themselves.
        rows: whole rows by table.
    """

    def __init__(self, reads: CountedReads, version: Version, where: str) -> None:
        """Read every file that the version names; nothing is raised for what is wrong."""
        self._version, self._where = version, where
        self._tables: dict[str, Table] = {}
        self._covered: dict[str, set[Any]] = {}
        self._complete: set[str] = set()
        self.rows: dict[str, pd.DataFrame] = {}
        self.problems: list[Problem] = []
        try:
            names = [*BUILD_TABLES, *(name for name in version["tables"] if name not in BUILD_TABLES)]
            for name in names:
                if name not in BUILD_TABLES and name not in version.get("added_tables", {}):
                    self.problems.append(
                        Problem("table is declared nowhere in the version", where, Repair.VERSION, name)
                    )
                    continue
                self._tables[name] = declared(version, name)
                self._read(reads, self._tables[name], version["tables"][name])
            missing = version.get("added_tables", {}).keys() - version["tables"].keys()
            self.problems += [
                Problem("declared table has no entry", where, Repair.VERSION, name)
                for name in sorted(missing)
            ]
        except Exception as error:
            self.rows = {}
            self.problems = [Problem("can't be checked", where, Repair.VERSION, describe(error))]

    def _read(self, reads: CountedReads, table: Table, entries: Any) -> None:
        parts, complete, covered = [table.rows_schema.empty_table().to_pandas()], True, list[Any]()
        for entry in entries:
            rows, units, wrong = _read_file(reads, table, entry)
            self.problems += wrong
            complete = complete and not wrong
            covered += units
            if rows is not None and len(rows):
                parts.append(rows)
        self.rows[table.name] = pd.concat(parts[1:] or parts, ignore_index=True)
        self._covered[table.name] = set(covered)
        if complete:
            self._complete.add(table.name)

    def check(self, facts: Mapping[str, VolumeFacts]) -> Iterator[Problem]:
        """Yield what contradicts the declarations, the other tables, the receipts or the version's counts.

        Args:
            facts: by volume_id, of the volumes that were looked at and whose receipt is right.
        """
        if not self.rows:
            return
        version, where = self._version, self._where
        stored = StoredTables(version, where, self.rows, frozenset(self._complete), facts)
        yield from collect(_check_schemas(version, where), where, Repair.VERSION)
        for name, table in self._tables.items():
            checks = [_check_key(table, stored), _check_units(table, stored)]
            if name not in BUILD_TABLES:
                checks.append(_check_coverage(table, stored, self._covered[name]))
            for check in (*checks, *(own(stored) for own in table.checks)):
                found = (Problem(w.what, w.where, Repair.CONTENT, w.found, w.expected) for w in check)
                yield from collect(found, where, Repair.VERSION)
        yield from collect(_check_counts(stored), where, Repair.VERSION)


def _read_file(
    reads: CountedReads, table: Table, entry: Mapping[str, Any]
) -> tuple[pd.DataFrame | None, set[Any], list[Problem]]:
    """Return (rows, covered units, problems) of one file; no rows where the file can't be read."""
    path = str(entry.get("path"))
    repair = Repair.TABLE if table.name in BUILD_TABLES else Repair.ADDED
    try:
        info = ObjectInfo(path, entry["bytes"], entry["sha256"])
        data, wrong = read_whole(reads, info, repair)
        if data is None:
            return None, set(), list(wrong)
        schema = pq.read_schema(io.BytesIO(data))
        if not schema.equals(table.schema):
            found, expected = _columns_apart(schema, table.schema)
            problem = Problem("schema is not the version's", path, Repair.CONTENT, found, expected)
            return None, set(), [problem]
        rows = decode_file(data, path, table).to_pandas()
        problems = list(differences(path, Repair.CONTENT, [("number of rows", len(rows), entry["rows"])]))
        if table.partition is not None and partition_value(path) not in table.partition.values:
            allowed = ", ".join(table.partition.values)
            what = f"{table.partition.name} is unknown"
            problems.append(Problem(what, path, Repair.CONTENT, partition_value(path), allowed))
        return rows, covered_units(schema), problems
    except Exception as error:
        return None, set(), [Problem("can't be read", path, Repair.CONTENT, describe(error))]


def _columns_apart(found: pa.Schema, expected: pa.Schema) -> tuple[str, str]:
    """Return columns that only the one schema has and only the other; all where just their order differs."""
    one, other = ([f"{name} {kind}" for name, kind in schema_columns(schema)] for schema in (found, expected))
    only = [name for name in one if name not in other], [name for name in other if name not in one]
    left, right = only if any(only) else (one, other)
    return "; ".join(left) or "none", "; ".join(right) or "none"


def _check_schemas(version: Version, where: str) -> Iterator[Problem]:
    """Check that every column that the version declares for a build's table is one of the contract's."""
    for name, table in BUILD_TABLES.items():
        known = schema_columns(table.schema)
        strange = [column for column in version["schemas"][name] if column not in known]
        yield from differences(where, Repair.CONTENT, [(f"schema of {name}", strange, [])])


def _check_key(table: Table, stored: StoredTables) -> Iterator[Wrong]:
    """Check that the values of the key occur once."""
    if table.key:
        keys = stored.rows[table.name][list(table.key)]
        for values in keys[keys.duplicated()].drop_duplicates().itertuples(index=False):
            yield Wrong("occurs more than once", f"{table.name}: {_named(table.key, values)}")


def _check_units(table: Table, stored: StoredTables) -> Iterator[Wrong]:
    """Check that the volumes and lesions that rows belong to are in this version."""
    if table.unit is None or (table.unit == "lesion" and "lesions" not in stored.complete):
        return
    known, rows = _known(table, stored), stored.rows[table.name]
    for column in table.unit_columns:
        strange = rows[rows[column].notna() & ~rows[column].isin(known)]
        # The key says which row it is, unless a volume's rows are many.
        names = table.key if len(table.key) == 1 else (column,)
        for values in strange[list(dict.fromkeys([*names, column]))].drop_duplicates().to_dict("records"):
            where = f"{table.name}: {_named(names, [values[name] for name in names])}"
            yield Wrong(f"its {table.unit} is not in this version", where, str(values[column]))


def _check_coverage(table: Table, stored: StoredTables, covered: set[Any]) -> Iterator[Wrong]:
    """Check the version's coverage against that of the files."""
    if table.unit is None or table.name not in stored.complete:
        return
    if table.unit == "lesion" and "lesions" not in stored.complete:
        return
    known = _known(table, stored)
    found = stored.version["added_tables"][table.name]["coverage"]
    expected = {"covered": len(covered), "of": len(known)}
    if found != expected:
        yield Wrong(f"coverage of {table.name} is wrong", stored.where, repr(found), repr(expected))
    for unit in sorted(covered - known):
        yield Wrong(f"covered {table.unit} is not in this version", table.name, str(unit))


def _known(table: Table, stored: StoredTables) -> set[Any]:
    if table.unit == "volume":
        return {entry["volume_id"] for entry in stored.version["volumes"]}
    return set(stored.rows["lesions"]["lesion_id"].tolist())


def _named(names: Any, values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _check_counts(stored: StoredTables) -> Iterator[Problem]:
    """Check the version's counts against its tables; every row and slice found went somewhere."""
    version, counts = stored.version, stored.version["counts"]
    values: list[tuple[str, Any, Any]] = [
        ("counts.volumes", counts["volumes"], len(version["volumes"])),
        (
            "counts.rows_found",
            counts["rows_found"],
            counts["lesions"] + counts["rows_rejected"] + counts["rows_not_selected"],
        ),
        (
            "counts.slices_found",
            counts["slices_found"],
            counts["slices"] + counts["slices_rejected"] + counts["slices_not_selected"],
        ),
        ("annotations.rows", version["annotations"]["rows"], counts["rows_found"]),
    ]
    rows = {name: table for name, table in stored.rows.items() if name in stored.complete}
    values += [(f"counts.{n}", counts[n], len(rows[n])) for n in ("lesions", "slices") if n in rows]
    if "volumes" in rows:
        values.append(("counts.patients", counts["patients"], rows["volumes"]["patient_index"].nunique()))
    if "rejects" in rows:
        kind, missing = rows["rejects"]["kind"], rows["rejects"]["reason"] == Reason.SLICE_MISSING
        reasons = dict(sorted(Counter(rows["rejects"]["reason"]).items()))
        values += [
            ("counts.rows_rejected", counts["rows_rejected"], int((kind == Kind.ROW).sum())),
            (
                "counts.slices_rejected",
                counts["slices_rejected"],
                int(((kind == Kind.SLICE) & ~missing).sum()),
            ),
            ("counts.slices_missing", counts["slices_missing"], int(missing.sum())),
            ("counts.rejects_by_reason", counts["rejects_by_reason"], reasons),
        ]
    yield from differences(stored.where, Repair.CONTENT, values)
