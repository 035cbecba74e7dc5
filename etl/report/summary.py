"""The top of the page: the facts of a version, what it lacks, and what changed since its parent."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from etl.core.config_file import as_yaml
from etl.core.counted import bytes_text
from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.report.console.texts import location_rows
from etl.store.history import NAMED, Change, difference, flattened
from etl.store.layout import run_path
from etl.store.named import stored_bytes
from etl.store.reader import Store
from etl.store.sealed import parse_json
from etl.store.versions import Version, read_version


@dataclass(frozen=True)
class Verdict:
    """The completeness of a version: a sentence, and an item for each kind of thing that is missing."""

    is_complete: bool
    sentence: str
    missing: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Throughput:
    """The record of the run that published a version.

    Attributes:
        records: dotted key and value of its JSON, without the config; empty if there is no record.
        pages: names of its HTML pages (Dask's performance report), relative to the store.
    """

    records: tuple[tuple[str, str], ...]
    pages: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Summary:
    """The top of the page.

    Attributes:
        facts: name and value.
        rejects: columns kind, reason, count, first (where the first one was found).
        changes: what, before, now; None if there is no parent version, or it was removed or is damaged.
        before: number of the parent version.
        archives: columns name, bytes, slices.
        config: YAML.
        code: package versions by name.
    """

    verdict: Verdict
    facts: tuple[tuple[str, str], ...]
    rejects: pd.DataFrame
    changes: tuple[tuple[str, str, str], ...] | None
    before: int | None
    archives: pd.DataFrame
    config: str
    code: Mapping[str, str]
    throughput: Throughput


def summarise(store: Store) -> Summary:
    """Return the summary of a version, from its file and its `rejects` table.

    Raises:
        OSError: the store can't be read.
    """
    version = store.version
    parent, rejects = _parent(store), store.rejects()
    return Summary(
        verdict=verdict(version["counts"], int((rejects["kind"] == "archive").sum())),
        facts=_facts(store.objects.root, version),
        rejects=reject_counts(rejects),
        changes=None if parent is None else changes(parent, version),
        before=version["parent"],
        archives=pd.DataFrame(version["archives"])[["name", "bytes", "slices"]],
        config=as_yaml(version["config"], allow_unicode=True),
        code=version["code"],
        throughput=_throughput(store.objects, version["run_id"]),
    )


def verdict(counts: Mapping[str, Any], lost_archives: int = 0) -> Verdict:
    """Return whether everything that was selected is in the version, and what is missing.

    Args:
        counts: `counts` of the version file.
        lost_archives: number of archives that could not be read, whose content is unknown.
    """
    missing = [_counted(lost_archives, "archive that could not be read")] if lost_archives else []
    missing += [
        _counted(counts[key], noun)
        for key, noun in (
            ("rows_rejected", "row of the CSV, rejected"),
            ("slices_rejected", "slice, rejected"),
            ("slices_missing", "slice that the CSV promises and no archive holds"),
        )
        if counts[key]
    ]
    left = [
        _counted(counts[key], noun)
        for key, noun in (("rows_not_selected", "row"), ("slices_not_selected", "slice"))
        if counts[key]
    ]
    have = f"{_counted(counts['lesions'], 'lesion')} in {_counted(counts['volumes'], 'volume')}"
    if left:
        have += f". Not selected, or in no archive of the config: {' and '.join(left)}"
    if missing:
        return Verdict(False, f"Complete except for what is listed here: {have}.", tuple(missing))
    return Verdict(True, f"Complete, everything that was selected is here: {have}.", ())


def _counted(count: int, noun: str) -> str:
    """Return `1 slice` or `2 slices`; the first word of the noun gets the plural."""
    first, space, rest = noun.partition(" ")
    if first.endswith(","):
        first, space = first[:-1], f",{space}"
    return f"{count:,} {first}{'' if count == 1 else 's'}{space}{rest}"


def reject_counts(rejects: pd.DataFrame) -> pd.DataFrame:
    """Count rejects by kind and reason, the most frequent first: kind, reason, count, first."""
    groups = rejects.groupby(["kind", "reason"], sort=True)["found_in"]
    table = groups.agg(count="size", first="first").reset_index()
    return table.sort_values("count", ascending=False, ignore_index=True, kind="stable")


def changes(before: Version, now: Version) -> tuple[tuple[str, str, str], ...]:
    """Return the differences between a version and a later one: (what, before, now)."""
    found = difference(before, now)
    rows = [
        (what, "", f"{len(volume_ids):,}")
        for what, volume_ids in (
            ("volumes added", found.added),
            ("volumes removed", found.removed),
            ("volumes with other voxels or encoding", found.changed),
        )
        if volume_ids
    ]
    for part in ("counts", *NAMED, "locations", "config", "code", "annotations", "archives"):
        parts: tuple[Change, ...] = getattr(found, part)
        rows += [(f"{part}: {c.key}", _text(c.before), _text(c.after)) for c in parts]
    return tuple(rows)


def _parent(store: Store) -> Version | None:
    number = store.version["parent"]
    if number is None:
        return None
    try:
        return read_version(store.objects, number)
    except StoreError:
        # A prune removes old versions; a damaged one is a fault that verification names.
        return None


def _facts(root: str, version: Version) -> tuple[tuple[str, str], ...]:
    counts, volume, csv = version["counts"], version["config"]["volume"], version["annotations"]
    facts = [
        ("store", root),
        ("published", version["created_at"]),
        ("run", version["run_id"]),
        ("volumes", f"{counts['volumes']:,}"),
        ("slices", f"{counts['slices']:,}"),
        ("lesions", f"{counts['lesions']:,} of {csv['rows']:,} rows of {csv['name']}"),
        ("patients", f"{counts['patients']:,}"),
        ("size", bytes_text(stored_bytes(version))),
        ("archives", f"{len(version['archives']):,}"),
        ("voxels", f"{_text(volume['spacing_mm'])} mm, {volume['interpolation']}"),
        ("code", version["code"]["deeplesion-store"]),
    ]
    # Versions from before locations were checked have none.
    return (*facts, *location_rows(version["locations"])) if "locations" in version else tuple(facts)


def _throughput(objects: Objects, run_id: str) -> Throughput:
    record, page = run_path(run_id, "json"), run_path(run_id, "html")
    found: Any = None
    with contextlib.suppress(FileNotFoundError, ValueError):  # a record has no checksum, and may be damaged
        found = parse_json(objects.read(record))
    kept = {k: v for k, v in found.items() if k != "config"} if isinstance(found, dict) else {}
    records = flattened(kept)
    return Throughput(
        tuple((key, _text(value)) for key, value in records.items()),
        (page,) if objects.size(page) is not None else (),
    )


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:,.6g}"
