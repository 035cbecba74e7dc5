"""Versions of a store as tables for a terminal, and as plain columns for a pipe."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from etl.core.config_file import as_yaml
from etl.core.counted import NAMES_SHOWN, bytes_text, counted, first_of
from etl.core.errors import RunError
from etl.io.places import Objects
from etl.store.history import NAMED, Change, Difference, table_rows
from etl.store.named import stored_bytes
from etl.store.prune import Pruning
from etl.store.version_list import MISSING, choose_version, list_versions
from etl.store.versions import Version, read_version, readable

WIDTH = 10_000
"""Columns of the console; wider than any line, so that no name is cut or broken."""


def open_console() -> Console:
    """Return a console on standard output that never wraps a line."""
    return Console(highlight=False, markup=False, width=WIDTH)


@contextlib.contextmanager
def store_failures(objects: Objects) -> Iterator[None]:
    """Raise RunError for an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise RunError(
            "the store failed",
            where=objects.root,
            value=f"{type(error).__name__}: {error}",
            remedy="repair the cause (permissions, network, credentials) and run the same command again",
        ) from error


def read_chosen(objects: Objects, number: int | str) -> Version:
    """Return the version with this number or tag.

    Raises:
        StoreError: there is no store, or it has no such version.
    """
    version = read_version(objects, choose_version(objects, number))
    assert version is not None  # a given number that does not exist raises
    return version


def summarise_all(objects: Objects) -> list[dict[str, Any]]:
    """Return the summary and tags of each version; `version`, `tags` and `error` of one that can't be read.

    Versions that have a tag, or came last, and whose file is lost are among them.

    Raises:
        StoreError: there is no store.
    """
    listing = list_versions(objects)
    with readable(objects):
        tags = listing.tags()
        tagged, lost = (tag.number for tag in tags), listing.lost_from(listing.numbers[-1])
        summaries = listing.summaries(sorted({*listing.numbers, *tagged, *lost}))
    return [s | {"tags": [tag.name for tag in tags if tag.number == s["version"]]} for s in summaries]


def versions_table(console: Console, summaries: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per version, the current one last.

    Args:
        summaries: the result of `summarise_all`.
    """
    table = _table(console, "version", "when (UTC)", "run", "parent", ">volumes", ">lesions", ">bytes", "")
    current = [summary for summary in summaries if summary.get("error") != MISSING][-1]
    for summary in summaries:
        notes = [summary["error"]] if "error" in summary else []
        notes += [f"tag {name}" for name in summary["tags"]]
        if summary.get("rollback_of"):
            notes.append(f"rolled back to {summary['rollback_of']}")
        if summary is current:
            notes.append("current")
        table.add_row(
            str(summary["version"]),
            summary.get("created_at", "-").replace("T", " ")[:16],
            summary.get("run_id", "-"),
            str(summary.get("parent") or "-"),
            *(f"{summary[key]:,}" if key in summary else "-" for key in ("volumes", "lesions")),
            bytes_text(summary["bytes"]) if "bytes" in summary else "-",
            ", ".join(notes),
        )
    return table


def show_version(console: Console, version: Version) -> Iterator[str | Table]:
    """Yield a version's origin, counts, tables, rejects, archives, config and code versions."""
    back = version.get("rollback_of")
    yield f"version {version['version']}, {version['created_at']}, run {version['run_id']}" + (
        f", rolled back to {back}" if back else ""
    )
    yield f"parent {version['parent'] or 'none'}; {bytes_text(stored_bytes(version))} in all"
    yield ""
    counts = _table(console, "count", ">")
    for name, count in version["counts"].items():
        if name != "rejects_by_reason":
            counts.add_row(name, f"{count:,}")
    yield counts
    rows = _table(console, "table", ">rows", ">files")
    for name, number in table_rows(version).items():
        rows.add_row(name, f"{number:,}", str(len(version["tables"][name])))
    yield rows
    reasons = version["counts"]["rejects_by_reason"]
    rejects = _table(console, "rejects by reason", ">")
    for reason, count in reasons.items() or [("none", 0)]:
        rejects.add_row(reason, f"{count:,}")
    yield rejects
    archives = _table(console, "archive", ">slices", ">bytes", "directory SHA-256")
    for archive in version["archives"]:
        digest = archive["directory_sha256"] or "-"
        archives.add_row(archive["name"], f"{archive['slices']:,}", bytes_text(archive["bytes"]), digest)
    yield archives
    yield "config:"
    yield as_yaml(version["config"])
    yield "code: " + ", ".join(f"{name} {number}" for name, number in version["code"].items())


def show_difference(
    console: Console, before: int | str, after: int | str, found: Difference
) -> Iterator[str | Table]:
    """Yield what changed from one version to another; long lists are cut after the first names."""
    yield (
        f"version {before} -> {after}: {counted(len(found.added), 'volume')} added, "
        f"{len(found.removed):,} removed, {len(found.changed):,} changed, {found.same:,} the same"
    )
    for verb, names in (("added", found.added), ("removed", found.removed), ("changed", found.changed)):
        if names:
            more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
            yield f"  {verb}: {', '.join(names[:NAMES_SHOWN])}{more}"
    table = _table(console, "what", "key", str(before), str(after))
    for what in ("config", "code", "annotations", "archives", "counts", "locations", *NAMED):
        changes: tuple[Change, ...] = getattr(found, what)
        for change in changes[: 5 * NAMES_SHOWN]:
            table.add_row(what, change.key, _value(change.before), _value(change.after))
        if len(changes) > 5 * NAMES_SHOWN:
            table.add_row(what, f"and {len(changes) - 5 * NAMES_SHOWN:,} more", "", "")
    yield table if table.row_count else "everything else is the same"


def pruning_text(found: Pruning, days: float, *, dry_run: bool) -> str:
    """Return what a prune removed, or would remove."""
    numbers = first_of(found.versions, NAMES_SHOWN)
    objects = Counter({folder: sum(len(u.sizes) for u in units) for folder, units in found.units.items()})
    in_all = sum(unit.bytes for units in found.units.values() for unit in units)
    what = {
        "volumes": ("volume", " that no version names"),
        "labels": ("group", " of labels that no version names"),
        "models": ("model", " that no version names"),
        "tables": ("folder", " of tables of runs"),
        "reports": ("report", ""),
        "runs": ("record", " of runs that no version names"),
        ".partial": ("leftover", " of interrupted writes"),
    }
    lines = [
        f"{'would remove' if dry_run else 'removed'} {bytes_text(in_all)}:",
        f"  {counted(len(found.versions), 'version')}{f': {numbers}' if numbers else ''}",
        *(
            f"  {counted(len(units), what[folder][0])}{what[folder][1]} "
            f"({counted(objects[folder], 'object')}, {bytes_text(sum(unit.bytes for unit in units))})"
            for folder, units in found.units.items()
            if units or folder not in ("labels", "models")
        ),
        f"kept: versions {_ranges(found.kept)} with all that they name"
        if len(found.kept) > 1
        else f"kept: version {found.kept[0]} with all that it names",
    ]
    tagged = [f"{number} ({', '.join(names)})" for number, names in found.tags.items()]
    if tagged:
        lines.append(f"  tags keep: {'; '.join(tagged)}")
    if found.younger:
        are = "that is" if found.younger == 1 else "that are"
        age = "1 day" if days == 1 else f"{days:g} days"
        lines.append(f"  and {found.younger:,} that no version names but {are} younger than {age}")
    return "\n".join(lines)


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with runs as ranges: `1, 4 to 6`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def to_text(data: object) -> str:
    """Return JSON for other programs."""
    return json.dumps(data, indent=1, ensure_ascii=False)


def _table(console: Console, *headers: str) -> Table:
    """Return an empty table; headers that begin with `>` are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
    for header in headers:
        right = header.startswith(">")
        table.add_column(header.removeprefix(">"), justify="right" if right else "left")
    return table


def _value(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
