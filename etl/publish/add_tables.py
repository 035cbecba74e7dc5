"""Tables that a job makes from a published version, added to it in a new version.

The new version names the same volumes and the same other tables. Its files are written first and named by one
exclusive create of the version file last, so that they are all there or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl.core.errors import EtlError, StoreError
from etl.io.places import Objects
from etl.publish.carry import AddedTables, Units, belongs, carry, carry_table, units_of, written
from etl.store.history import check_not_pruned
from etl.store.parquet import encode_table
from etl.store.running import Running, running
from etl.store.versions import Version, new_run_id, now_text, publish_version
from etl.tables.registry import BUILD_TABLES
from etl.tables.table import Table, schema_columns


@dataclass(frozen=True, eq=False)
class NewTable:
    """The rows that a job made for one table.

    Attributes:
        table: its declaration.
        rows: complete rows, from `Table.rows`.
        covered: the volumes (volume_id) or lesions (lesion_id) that the job processed, with or without rows.
    """

    table: Table
    rows: pa.Table
    covered: Collection[Any] = ()


def add_tables(objects: Objects, base: Version, tables: Sequence[NewTable]) -> tuple[Version, bool]:
    """Publish a version with these tables.

    Rows that the current version has in such a table stay, but for those of covered volumes or lesions, which
    the new rows replace. A table whose declaration changed is replaced whole. If builds published meanwhile,
    rows of volumes or lesions that changed since `base` are left out, and the coverage says so.

    Args:
        base: version that the job read.

    Returns:
        (version that holds the tables, True); the current version and False where it held the same already.

    Raises:
        EtlError: rows contradict the declaration; nothing was published.
        StoreError: nothing was published here yet, or the store is damaged or can't be written.
        RunError: other runs took the next version's number again and again, or a prune took files.
        OSError: the store can't be read or written.
    """
    run_id = new_run_id()
    base_units = Units(objects, base)
    for new in tables:
        _check(new, base_units)
    objects.check_writable()
    with running(objects, run_id, "tables") as own:
        own.wait_for("prune")
        return _publish(objects, base_units, tables, own)


def _publish(
    objects: Objects, base_units: Units, tables: Sequence[NewTable], own: Running
) -> tuple[Version, bool]:
    run_id = own.mark.run_id

    def body_on(current: Version | None) -> Version | None:
        if current is None:
            raise StoreError("there is no published version to add a table to", where=objects.root)
        units = Units(objects, current)
        added = carry(objects, current, units, run_id, {new.table.name for new in tables})
        for new in tables:
            added = _with_table(objects, current, added, new, base_units, units, run_id)
        if _same(added, current):
            return None
        for path, data in added.files:
            objects.write(path, data)
        head = {"run_id": run_id, "created_at": now_text(), "rollback_of": None}
        kept = {key: value for key, value in current.items() if key not in (*head, *_NUMBERS)}
        body = head | added.merged_into(kept)
        check_not_pruned(objects, own, body)
        return body

    version = publish_version(objects, run_id, body_on)
    return version, version["run_id"] == run_id


_NUMBERS = ("contract_version", "version", "parent")


def _check(new: NewTable, units: Units) -> None:
    """Raise EtlError where rows, coverage and declaration contradict each other."""
    table, covered = new.table, set(new.covered)
    known = set() if table.unit is None else set(units.of(table.unit))
    keys = new.rows.select(list(table.key)).to_pandas()
    twice = keys[keys.duplicated()].head(3).to_dict("records") if table.key else []
    strange, uncovered = sorted(covered - known), sorted(units_of(table, new.rows) - covered)
    for what, value, allowed in (
        ("is made by every build", table.name in BUILD_TABLES, "a name of its own"),
        ("has rows of another schema", not new.rows.schema.equals(table.rows_schema), "rows of `Table.rows`"),
        ("has a key more than once", twice, f"each {', '.join(table.key)} once"),
        (f"covers a {table.unit} that the version lacks", strange[:3], "ids of the version that was read"),
        (f"has rows of a {table.unit} that is not covered", uncovered[:3], "every id of a row in `covered`"),
    ):
        if value:
            raise EtlError(
                f"the table {table.name} {what}; nothing was published",
                where=table.made_by,
                value=value,
                allowed=allowed,
                remedy="mend the job that makes the table",
            )


def _with_table(
    objects: Objects,
    current: Version,
    added: AddedTables,
    new: NewTable,
    base_units: Units,
    units: Units,
    run_id: str,
) -> AddedTables:
    """Return the added tables with one more, or with new rows of one that is there."""
    table, name = new.table, new.table.name
    rows, covered = new.rows, set(new.covered)
    if table.unit is not None:
        before, now = base_units.of(table.unit), units.of(table.unit)
        unchanged = {unit for unit, token in now.items() if before.get(unit) == token}
        stays = belongs(table, rows, unchanged)
        # A unit that lost a row because another unit of that row changed is not covered.
        covered = (covered & unchanged) - units_of(table, rows.filter(~stays))
        rows = rows.filter(stays)
    entries: list[Any] = []
    files: list[tuple[str, bytes]] = []
    kept = part = 0
    was = current.get("added_tables", {}).get(name)
    declaration, schema = table.entry(), schema_columns(table.schema)
    is_same = was is not None and {**was, "coverage": None} == {**declaration, "coverage": None}
    if is_same and current["schemas"][name] == schema and table.unit is not None:
        entries, files, coverage = carry_table(
            objects, table, current["tables"][name], was["coverage"], units, units, run_id, covered
        )
        kept, part = (coverage["covered"] if coverage else 0), len(current["tables"][name])
    fresh = [written(file, run_id) for file in encode_table(table, rows, covered, part)]
    coverage = None if table.unit is None else {"covered": kept + len(covered), "of": len(now)}
    return AddedTables(
        added.tables | {name: [*entries, *(entry for entry, _ in fresh)]},
        added.schemas | {name: schema},
        added.declarations | {name: declaration | {"coverage": coverage}},
        (*added.files, *files, *((entry["path"], data) for entry, data in fresh)),
    )


def _same(added: AddedTables, current: Version) -> bool:
    """Return if the current version has these tables already, byte for byte."""
    had = current.get("added_tables", {})
    if had != added.declarations or any(current["schemas"][n] != s for n, s in added.schemas.items()):
        return False
    return all(
        [entry["sha256"] for entry in current["tables"][name]] == [entry["sha256"] for entry in entries]
        for name, entries in added.tables.items()
    )
