"""The top of the page: what a version is, whether it is whole, and what changed since the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.report.console.texts import bytes_text, location_rows
from etl.store.history import Change, difference, flattened, stored_bytes
from etl.store.layout import run_path
from etl.store.reader import Store
from etl.store.versions import Version, read_version


@dataclass(frozen=True)
class Verdict:
    """Whether a version is whole, in a sentence, and what it lacks, an item each."""

    whole: bool
    sentence: str
    lacks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Throughput:
    """What was recorded of the run that published a version.

    Attributes:
        records: dotted key and value, of its JSON; empty where nothing was recorded.
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
        changes: what, before, now; None where there was no version before, or it is gone.
        before: number of that version.
        archives: columns name, bytes, slices.
        config: as YAML.
        code: versions by package.
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
    """The summary of a version, from its file and its `rejects` table.

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
        config=yaml.safe_dump(version["config"], sort_keys=False, allow_unicode=True),
        code=version["code"],
        throughput=_throughput(store.objects, version["run_id"]),
    )


def verdict(counts: Mapping[str, Any], lost_archives: int = 0) -> Verdict:
    """Complete, or what is missing.

    Args:
        counts: of the version.
        lost_archives: how many could not be read at all, so that nobody knows what they hold.
    """
    lacks = [f"archives that could not be read: {lost_archives:,}"] if lost_archives else []
    lacks += [
        f"{what}: {counts[key]:,}"
        for key, what in (
            ("rows_rejected", "rejected rows of the CSV"),
            ("slices_rejected", "rejected slices"),
            ("slices_missing", "slices that the CSV promises and the archives lack"),
        )
        if counts[key]
    ]
    left = [
        f"{noun} {counts[key]:,}"
        for key, noun in (("rows_not_selected", "rows"), ("slices_not_selected", "slices"))
        if counts[key]
    ]
    have = f"lesions {counts['lesions']:,}, volumes {counts['volumes']:,}"
    if left:
        have += f"; not selected, or in no archive that was given: {', '.join(left)}"
    if lacks:
        return Verdict(False, f"Not complete ({have}).", tuple(lacks))
    return Verdict(True, f"Complete: everything that was selected is here ({have}).", ())


def reject_counts(rejects: pd.DataFrame) -> pd.DataFrame:
    """Rejects by kind and reason, the most frequent first: kind, reason, count, first."""
    groups = rejects.groupby(["kind", "reason"], sort=True)["found_in"]
    table = groups.agg(count="size", first="first").reset_index()
    return table.sort_values("count", ascending=False, ignore_index=True, kind="stable")


def changes(before: Version, now: Version) -> tuple[tuple[str, str, str], ...]:
    """What differs from one version to a later one: (what, before, now)."""
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
    for part in ("counts", "rows", "locations", "config", "code", "annotations", "archives"):
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
        # Old versions may be removed from a store.
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
    # Versions that were published before locations were checked have none.
    return (*facts, *location_rows(version["locations"])) if "locations" in version else tuple(facts)


def _throughput(objects: Objects, run_id: str) -> Throughput:
    record, page = run_path(run_id, "json"), run_path(run_id, "html")
    try:
        records = flattened(json.loads(objects.read(record)))
    except FileNotFoundError:
        records = {}
    return Throughput(
        tuple((key, _text(value)) for key, value in records.items()),
        (page,) if objects.size(page) is not None else (),
    )


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
