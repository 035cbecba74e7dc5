"""Tables that a job makes from a published version, added to it in a new version.

The new version names the same volumes and the same other tables. Its files are written first and named by one
exclusive create of the version file last, so that they are all there or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl.core.errors import EtlError, StoreError
from etl.derive.volume_table import digest_of
from etl.io.places import Objects
from etl.publish.carry import AddedTables, Units, belongs, carry, carry_table, units_of, written
from etl.store.history import check_not_pruned
from etl.store.parquet import Entry, encode_table, read_file
from etl.store.running import Running, running
from etl.store.versions import Version, new_run_id, publish_version, under_new_run
from etl.tables.registry import BUILD_TABLES
from etl.tables.table import Table, Unit, schema_columns

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class NewTable:
    """The rows that a job made for one table.

    Attributes:
        table: its declaration.
        rows: complete rows, from `Table.rows`.
        covered: the volumes (volume_id) or lesions (lesion_id) that the job processed, with or without rows.
        parts: files that are in the store already, with more rows of other volumes or lesions.
        recipe: what a derived table was computed with, see `etl.derive.volume_table`; kept in the version.
            The table is replaced whole where it differs.
    """

    table: Table
    rows: pa.Table
    covered: Collection[Any] = ()
    parts: Sequence[Part] = ()
    recipe: Mapping[str, Any] | None = None

    @property
    def declaration(self) -> dict[str, Any]:
        """The entry of the version's `added_tables`, without coverage."""
        return self.table.entry() | ({} if self.recipe is None else {"recipe": dict(self.recipe)})


@dataclass(frozen=True, eq=False)
class Part:
    """A file of a derived table, written before its version.

    Attributes:
        entry: as a version names it.
        inputs: the volumes or lesions that it covers, each with the digest of its token when it was computed;
            see `token_digests`.
    """

    entry: Entry
    inputs: Mapping[Any, str]


class _Digests(Units):
    """Units with digests of their tokens, which files of derived tables keep."""

    def __init__(self, digests: Mapping[Any, str]) -> None:
        self._digests = dict(digests)

    def of(self, unit: Unit) -> dict[Any, Any]:
        return self._digests


def token_digests(units: Units, unit: Unit) -> dict[Any, str]:
    """Return a digest by volume_id or lesion_id, the same while the volume or lesion is the same.

    Raises:
        StoreError: the table `lesions` is damaged.
        OSError: the store can't be read.
    """
    return {name: digest_of(token) for name, token in units.of(unit).items()}


def add_tables(
    objects: Objects,
    base: Version,
    tables: Sequence[NewTable],
    own: Running | None = None,
    labels: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[Version, bool]:
    """Publish a version with these tables.

    Rows that the current version has in such a table stay, but for those of covered volumes or lesions, which
    the new rows replace. A table whose declaration changed is replaced whole. If builds published meanwhile,
    rows of volumes or lesions that changed since `base` are left out, and the coverage says so.

    Args:
        base: version that the job read.
        own: the mark of the run, which waited for prunes; by default the publishing has one of its own.
        labels: entries of labels that belong to the tables and replace those of the current version; None
            to leave these as they are.

    Returns:
        (version that holds the tables, True); the current version and False where it held the same already,
        files of it that were lost or damaged written again.

    Raises:
        EtlError: rows contradict the declaration; nothing was published.
        StoreError: nothing was published here yet, or the store is damaged or can't be written.
        RunError: other runs took the next version's number again and again, or a prune took files.
        OSError: the store can't be read or written.
    """
    base_units = Units(objects, base)
    for new in tables:
        _check(new, base_units)
    if own is not None:
        return _publish(objects, base_units, tables, labels, own)
    objects.check_writable()
    with running(objects, new_run_id(), "tables") as mark:
        mark.wait_for("prune")
        return _publish(objects, base_units, tables, labels, mark)


def _publish(
    objects: Objects,
    base_units: Units,
    tables: Sequence[NewTable],
    labels: Sequence[Mapping[str, Any]] | None,
    own: Running,
) -> tuple[Version, bool]:
    run_id = own.mark.run_id

    def body_on(current: Version | None) -> Version | None:
        if current is None:
            raise StoreError("there is no published version to add a table to", where=objects.root)
        units = Units(objects, current)
        added = carry(objects, current, units, run_id, {new.table.name for new in tables})
        for new in tables:
            added = _with_table(objects, current, added, new, base_units, units, run_id)
        had = current.get("labels", [])
        kept_labels = had if labels is None else _labels(labels, base_units, units)
        if _same(added, current) and kept_labels == had:
            _mend(objects, added, current)
            return None
        for path, data in added.files:
            objects.write(path, data)
        body = added.merged_into(under_new_run(current, run_id))
        if kept_labels or "labels" in body:
            body["labels"] = kept_labels
        check_not_pruned(objects, own, body)
        return body

    version = publish_version(objects, run_id, body_on)
    return version, version["run_id"] == run_id


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
    in_parts: set[Any] = set()
    if table.unit is not None:
        before, now = base_units.of(table.unit), units.of(table.unit)
        unchanged = {unit for unit, token in now.items() if before.get(unit) == token}
        in_parts |= {unit for one in new.parts for unit in _true_of(one, now)}
        stays = belongs(table, rows, unchanged)
        # A unit that lost a row because another unit of that row changed is not covered.
        covered = (covered & unchanged) - units_of(table, rows.filter(~stays))
        rows = rows.filter(stays)
    entries: list[Any] = []
    files: list[tuple[str, bytes]] = []
    kept = part = 0
    was = current.get("added_tables", {}).get(name)
    declaration, schema = new.declaration, schema_columns(table.schema)
    is_same = was is not None and {**was, "coverage": None} == {**declaration, "coverage": None}
    if is_same and current["schemas"][name] == schema and table.unit is not None:
        entries, files, coverage = carry_table(
            objects, table, current["tables"][name], was["coverage"], units, units, run_id, covered | in_parts
        )
        kept, part = (coverage["covered"] if coverage else 0), len(current["tables"][name])
    for one in new.parts:
        found, more, of_part = _placed(objects, table, one, units, run_id, part)
        entries, files, part = [*entries, *found], [*files, *more], part + len(more)
        kept += of_part
    has_rows = bool(covered or len(rows) or not entries)
    fresh = [written(file, run_id) for file in encode_table(table, rows, covered, part) if has_rows]
    coverage = None if table.unit is None else {"covered": kept + len(covered), "of": len(now)}
    return AddedTables(
        added.tables | {name: [*entries, *(entry for entry, _ in fresh)]},
        added.schemas | {name: schema},
        added.declarations | {name: declaration | {"coverage": coverage}},
        (*added.files, *files, *((entry["path"], data) for entry, data in fresh)),
    )


def _placed(
    objects: Objects, table: Table, part: Part, units: Units, run_id: str, number: int
) -> tuple[list[Entry], list[tuple[str, bytes]], int]:
    """Return (entries, files to write, units covered) of a part: itself, or what is still true of it."""
    assert table.unit is not None  # of every derived table
    true = _true_of(part, units.of(table.unit))
    if len(true) == len(part.inputs):
        return [part.entry], [], len(true)
    old, new = _Digests(part.inputs), _Digests({unit: part.inputs[unit] for unit in true})
    coverage = {"covered": len(part.inputs), "of": len(part.inputs)}
    kept, files, left = carry_table(
        objects, table, [part.entry], coverage, old, new, run_id, first_part=number
    )
    return kept, files, left["covered"] if left else 0


def _true_of(part: Part, now: Mapping[Any, Any]) -> set[Any]:
    """Return the volumes or lesions of a part that are the same now as when it was computed."""
    return {unit for unit, digest in part.inputs.items() if unit in now and digest_of(now[unit]) == digest}


def _labels(labels: Sequence[Mapping[str, Any]], base: Units, now: Units) -> list[dict[str, Any]]:
    """Return the entries of labels whose volumes are still the ones that the job read."""
    before, after = base.of("volume"), now.of("volume")
    return [
        dict(entry)
        for entry in labels
        if before.get(entry["volume_id"]) == after.get(entry["volume_id"]) is not None
    ]


def _same(added: AddedTables, current: Version) -> bool:
    """Return if the current version has these tables already, byte for byte."""
    had = current.get("added_tables", {})
    if had != added.declarations or any(current["schemas"][n] != s for n, s in added.schemas.items()):
        return False
    return all(
        [entry["sha256"] for entry in current["tables"][name]] == [entry["sha256"] for entry in entries]
        for name, entries in added.tables.items()
    )


def _mend(objects: Objects, added: AddedTables, current: Version) -> None:
    """Write again the files of the current version that were lost or damaged and now made again."""
    made = dict(added.files)
    for name, entries in added.tables.items():
        for before, now in zip(current["tables"][name], entries, strict=True):
            if before["path"] == now["path"]:
                continue
            try:
                read_file(objects, before)
            except StoreError:
                logger.warning("%s was lost or damaged and is written again", before["path"])
                objects.write(before["path"], made.get(now["path"]) or read_file(objects, now))
