"""The versions of a store: their sizes, their differences, and rollback to one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from etl.core.counted import NAMES_SHOWN, counted, first_of
from etl.core.errors import GuardError, RunError
from etl.io.places import Objects, object_info
from etl.store.named import NAMED_FOLDERS, Group, files_of, groups_of, named_lists
from etl.store.receipts import receipt_objects
from etl.store.running import Running
from etl.store.versions import Version, publish_version, read_version, under_new_run

NAMED = ("rows", "tables", "labels", "models")
"""Attributes of a `Difference` about what the versions name, but for volumes."""


@dataclass(frozen=True)
class Change:
    """One value that differs; None if a version has no such key."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Difference:
    """The changes from one version to another.

    Attributes:
        config, code, annotations, archives, counts, locations: values that differ, by dotted key; archives by
            name.
        rows: numbers of rows of the tables.
        tables: SHA-256 over the files of each table; coverage and recipe of those that jobs added.
        labels: number of groups of each source, and SHA-256 over them.
        models: names by model_id.
        added, removed, changed: volume_ids; changed ones have other voxels or another encoding.
        same: number of volumes that are the same in both.
    """

    config: tuple[Change, ...]
    code: tuple[Change, ...]
    annotations: tuple[Change, ...]
    archives: tuple[Change, ...]
    counts: tuple[Change, ...]
    locations: tuple[Change, ...]
    rows: tuple[Change, ...]
    tables: tuple[Change, ...]
    labels: tuple[Change, ...]
    models: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: int


def difference(before: Version, after: Version) -> Difference:
    """Return the changes from one version to another, by their files; volumes are compared by SHA-256."""
    old, new = ({entry["volume_id"]: entry["sha256"] for entry in v["volumes"]} for v in (before, after))
    common = [volume_id for volume_id in old if volume_id in new]
    changed = tuple(volume_id for volume_id in common if old[volume_id] != new[volume_id])
    return Difference(
        config=_changes(before["config"], after["config"]),
        code=_changes(before["code"], after["code"]),
        annotations=_changes(before["annotations"], after["annotations"]),
        archives=_changes(*({a["name"]: a for a in v["archives"]} for v in (before, after))),
        counts=_changes(before["counts"], after["counts"]),
        # Versions from before locations were checked have none.
        locations=_changes(before.get("locations", {}), after.get("locations", {})),
        rows=_changes(table_rows(before), table_rows(after)),
        tables=_changes(_tables(before), _tables(after)),
        labels=_changes(_labels(before), _labels(after)),
        models=_changes(*({m["model_id"]: m["name"] for m in v.get("models", ())} for v in (before, after))),
        added=tuple(volume_id for volume_id in new if volume_id not in old),
        removed=tuple(volume_id for volume_id in old if volume_id not in new),
        changed=changed,
        same=len(common) - len(changed),
    )


def _tables(version: Version) -> dict[str, dict[str, Any]]:
    added = version.get("added_tables", {})
    return {
        name: {"sha256": _sha256(files)}
        | {key: added[name][key] for key in ("coverage", "recipe") if key in added.get(name, {})}
        for name, files in version["tables"].items()
    }


def _labels(version: Version) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for entry in version.get("labels", ()):
        groups.setdefault(entry.get("source", ""), []).append(entry)
    return {source: {"groups": len(own), "sha256": _sha256(own)} for source, own in groups.items()}


def _sha256(entries: Iterable[Mapping[str, Any]]) -> str:
    return hashlib.sha256("".join(entry["sha256"] for entry in entries).encode()).hexdigest()


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    old, new = flattened(before), flattened(after)
    keys = [*old, *(key for key in new if key not in old)]
    return tuple(Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key))


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def table_rows(version: Version) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {name: sum(entry["rows"] for entry in files) for name, files in version["tables"].items()}


def missing_objects(objects: Objects, version: Version) -> list[str]:
    """Return what a version names but the store lacks or has in another size; only receipts are read.

    Raises:
        OSError: the store can't be read.
    """
    files, groups = files_of(version), groups_of(version)
    missing = [
        f"{item.path}: {_found(size)}, {item.bytes} bytes expected"
        for item in files
        if (size := objects.size(item.path)) != item.bytes
    ]
    folders = [folder for folder in NAMED_FOLDERS if any(g.path.startswith(f"{folder}/") for g in groups)]
    sizes = {f"{folder}/{name}": size for folder in folders for name, size in objects.sizes(folder).items()}

    def look(group: Group) -> str:
        try:
            data = objects.read(group.receipt)
        except FileNotFoundError:
            return f"{group.receipt}: missing"
        if object_info(group.receipt, data).sha256 != group.sha256:
            return f"{group.receipt}: not the one that the version names"
        for item in receipt_objects(data):
            name = f"{group.path}/{item.path}"
            if sizes.get(name) != item.bytes:
                return f"{name}: {_found(sizes.get(name))}, {item.bytes} bytes expected"
        return ""

    with ThreadPoolExecutor(8) as pool:
        return missing + [found for found in pool.map(look, groups) if found]


def _found(size: int | None) -> str:
    return "missing" if size is None else f"{size} bytes"


def rollback(objects: Objects, number: int, run_id: str, own: Running | None = None) -> tuple[Version, bool]:
    """Publish a new version that names the tables and volumes of an old one; its parent is the current one.

    The guards against fewer volumes and lesions don't apply: this is the override.

    Args:
        run_id: of this publishing; the tables stay where the old version's run wrote them.
        own: the mark of this run, which waited for prunes.

    Returns:
        (the version that holds it now, whether it is new); the current version where that holds the same.

    Raises:
        StoreError: there is no such version.
        GuardError: not everything that the old version names is there; nothing was published.
        RunError: the mark lapsed meanwhile, and a prune took some of it; nothing was published.
        OSError: the store can't be read or written.
    """
    old, current = read_version(objects, number), read_version(objects)
    assert old is not None  # a given number raises where there is none
    assert current is not None
    if named_lists(old) == named_lists(current):
        return current, False
    missing = missing_objects(objects, old)
    if missing:
        raise GuardError(
            f"version {number} is not whole, so it can't be rolled back to; nothing was published",
            where=objects.root,
            value=f"{counted(len(missing), 'object')}: {first_of(missing, NAMES_SHOWN, '; ')}",
            allowed="every object that the version names, in its size",
            remedy="bring them back from a copy, or roll back to another. Or run again what made them, "
            f"the build of version {number} (deeplesion versions STORE show {number} prints its config) and "
            "then the jobs that added tables: volumes and labels are written again, tables in a new version",
        )
    body = under_new_run(old, run_id, rollback_of=number)

    def body_on(parent: Version | None) -> Version:
        if own is not None:
            check_not_pruned(objects, own, body)
        return body

    return publish_version(objects, run_id, body_on), True


def check_not_pruned(objects: Objects, own: Running, version: Version) -> None:
    """Raise RunError if the mark of this run lapsed and a prune deleted what the version would name."""
    if own.lapsed() and (missing := missing_objects(objects, version)):
        raise RunError(
            "the mark of this run lapsed, and a prune deleted what it relied on; nothing was published",
            where=objects.root,
            value=f"{counted(len(missing), 'object')}, such as {missing[0]}",
            remedy="run the same again: it converts what is missing and reuses the rest",
        )
