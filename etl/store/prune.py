"""Deletion of what no kept version names, in an order in which a kill at any moment does no harm.

1. Version files, oldest first: the rest is always the newest versions, each with all that it names.
2. Receipts and split records: a build never reuses a volume without a receipt.
3. Everything else. The next prune finds what a killed one left, because no version names it.

Only objects with names that a build gives are deleted; foreign files stay.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from etl.core.errors import ConfigError, GuardError, RunError, StoreError
from etl.io.places import PARTIAL, Listed, Objects
from etl.store.layout import (
    RECEIPT,
    REPORTS,
    SPLIT_RECORD,
    TABLES_FOLDER,
    VERSIONS,
    VOLUMES,
    version_path,
    volume_path,
)
from etl.store.receipts import read_split
from etl.store.running import DEAD_SECONDS, Running, mark_path, running
from etl.store.versions import (
    Version,
    choose_version,
    new_run_id,
    read_version,
    table_entries,
    version_numbers,
)

# Between two batches a prune checks that its own mark did not lapse.
REMOVED_AT_ONCE = 1000

OWN_NAMES = {
    VOLUMES: re.compile(r"[0-9]{6}_[0-9]{2,}_[0-9]{2,}_[0-9]{3,}-[0-9]{3,}/[0-9a-f]{16}(?=/.)"),
    TABLES_FOLDER: re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}(?=/.)"),
    REPORTS: re.compile(r"[0-9]+(?=/.)"),
    PARTIAL: re.compile(r"[0-9a-f]{32}\Z"),
}
"""The names that builds give, by folder: a volume, the tables of a run, a report, an unfinished object."""


@dataclass(frozen=True)
class Unit:
    """Objects that are deleted together: a volume, the tables of a run, a report, an unfinished object.

    Attributes:
        path: common start of their names; relative to the store.
        sizes: bytes of each, by name relative to the store.
    """

    path: str
    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True)
class Pruning:
    """The result of a prune.

    Attributes:
        kept, versions: numbers of the versions that stay, and of the deleted ones; ascending.
        units: deleted units by folder: `volumes`, `tables`, `reports`, `.partial`.
        younger: number of units that no kept version names, but that are too young to be deleted.
    """

    kept: tuple[int, ...]
    versions: tuple[int, ...]
    units: dict[str, tuple[Unit, ...]]
    younger: int


def prune(objects: Objects, keep: int, grace_s: float, *, dry_run: bool = False) -> Pruning:
    """Delete old versions and what no other version names.

    Args:
        keep: number of the newest versions that stay; 1 or more. Versions younger than the grace period stay
            too, and all after them.
        grace_s: objects younger than this stay; seconds by the store's clock.
        dry_run: delete and write nothing; other jobs on the store are not looked for.

    Returns:
        What was deleted, or would be.

    Raises:
        ConfigError: `keep` or `grace_s` is no usable number.
        StoreError: there is no store, or a kept version is damaged or lacks objects; nothing was deleted.
        GuardError: another job runs on the store; nothing was deleted.
        RunError: the mark of this prune lapsed, so that others took it for dead; a second prune finishes.
        OSError: the store can't be read or written.
    """
    if keep < 1 or not 0 <= grace_s < math.inf:
        raise ConfigError(
            "a prune needs a number of versions to keep and an age",
            where="--keep, --older-than",
            value=f"keep {keep}, older than {grace_s} s",
            allowed="keep at least 1, and an age of 0 or more",
            remedy="for example --keep 3 --older-than 7",
        )
    choose_version(objects)
    if dry_run:
        return find_prunable(objects, keep, grace_s, time.time())
    with running(objects, new_run_id(), "prune") as own:
        _refuse_if_others_run(objects, own)
        own.remove_dead()
        # A run that was suspended may have continued just before its mark was removed.
        _refuse_if_others_run(objects, own)
        pruning = find_prunable(objects, keep, grace_s, own.renew())
        _remove(objects, pruning, own)
    return pruning


def find_prunable(objects: Objects, keep: int, grace_s: float, now_s: float) -> Pruning:
    """Return what a prune at `now_s`, seconds since 1970 by the store's clock, would delete. See `prune`."""
    numbers = version_numbers(objects)
    written = objects.listed(VERSIONS)

    def is_young(items: Sequence[Listed]) -> bool:
        return any(now_s - item.written_s < grace_s for item in items)

    young = [n for n in numbers if is_young([written[version_path(n).removeprefix(f"{VERSIONS}/")]])]
    # All after the first that stays, so that a missing parent is known to be pruned, not lost.
    first = min([*numbers[-keep:], *young])
    kept = tuple(number for number in numbers if number >= first)
    listed = {folder: objects.listed(folder) for folder in (VOLUMES, TABLES_FOLDER, REPORTS, PARTIAL)}
    tables: set[str] = set()
    volumes: set[str] = set()
    for number in kept:
        version = read_version(objects, number)
        assert version is not None  # a given number raises where there is none
        _check_complete(objects, version, listed)
        tables |= {entry["path"] for entry in table_entries(version)}
        volumes |= {entry["path"] for entry in version["volumes"]}

    def is_named(unit: Unit) -> bool:
        if unit.path.startswith(f"{VOLUMES}/"):
            return unit.path in volumes or _splits_into(objects, unit, volumes)
        if unit.path.startswith(f"{REPORTS}/"):
            return int(unit.path.removeprefix(f"{REPORTS}/")) >= first
        return not tables.isdisjoint(unit.sizes)

    units: dict[str, tuple[Unit, ...]] = {}
    younger = 0
    for folder, items_below in listed.items():
        found: list[Unit] = []
        for unit, items in _units(folder, items_below):
            if is_named(unit):
                continue
            if is_young(items):
                younger += 1
            else:
                found.append(unit)
        units[folder] = tuple(found)
    return Pruning(kept, tuple(number for number in numbers if number < first), units, younger)


def _check_complete(objects: Objects, version: Version, listed: Mapping[str, Mapping[str, Listed]]) -> None:
    """Raise StoreError where a version names a table or volume that the store lacks.

    Such a version may name the wrong objects, and deleting by it would delete the right ones.
    """
    names = [entry["path"] for entry in table_entries(version)]
    names += [f"{entry['path']}/{RECEIPT}" for entry in version["volumes"]]
    missing = [name for name in names if name.partition("/")[2] not in listed[name.partition("/")[0]]]
    if missing:
        raise StoreError(
            f"version {version['version']} stays, and names objects that are missing; nothing was deleted",
            where=objects.root,
            value=f"{len(missing):,} objects, such as {missing[0]}",
            allowed="every table and receipt of the versions that stay",
            remedy="verify that version and repair it, or keep fewer versions",
        )


def _units(folder: str, listed: Mapping[str, Listed]) -> Iterator[tuple[Unit, list[Listed]]]:
    """Yield the objects in a folder that builds name, grouped."""
    units: dict[str, dict[str, Listed]] = {}
    for name, item in listed.items():
        if own := OWN_NAMES[folder].match(name):
            units.setdefault(f"{folder}/{own[0]}", {})[f"{folder}/{name}"] = item
    for path, items in sorted(units.items()):
        sizes = {name: item.bytes for name, item in sorted(items.items())}
        yield Unit(path, sizes), list(items.values())


def _splits_into(objects: Objects, unit: Unit, volumes: set[str]) -> bool:
    """Return if a unit is the record of a run that was split into volumes that stay."""
    if f"{unit.path}/{SPLIT_RECORD}" not in unit.sizes:
        return False
    _, volume_id, fingerprint = unit.path.split("/")
    record = read_split(objects, volume_id, fingerprint)
    return record is not None and all(volume_path(*part) in volumes for part in record.parts)


def _refuse_if_others_run(objects: Objects, own: Running) -> None:
    others = own.others()
    if others:
        raise GuardError(
            "another job runs on the store; nothing was deleted",
            where=objects.root,
            value="; ".join(map(str, others)),
            allowed="no build, rollback or prune at the same time",
            remedy="wait for its end. If it was killed, wait until its mark is "
            f"{DEAD_SECONDS / 60:.0f} minutes old, or delete that: "
            f"{', '.join(mark_path(mark.run_id) for mark in others)}",
        )


def _remove(objects: Objects, pruning: Pruning, own: Running) -> None:
    names = [name for units in pruning.units.values() for unit in units for name in unit.sizes]
    proofs = [name for name in names if name.endswith((f"/{RECEIPT}", f"/{SPLIT_RECORD}"))]
    rest = sorted(set(names).difference(proofs))
    steps = [*([version_path(n)] for n in pruning.versions), *_batches(proofs), *_batches(rest)]
    for step in steps:
        if own.lapsed():
            raise RunError(
                "the mark of this prune lapsed, and other jobs may have started meanwhile; it stopped",
                where=objects.root,
                value=f"its mark was not renewed for {DEAD_SECONDS / 60:.0f} minutes",
                remedy="run it again; it finishes what is left",
            )
        objects.remove_all(step)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), REMOVED_AT_ONCE):
        yield names[start : start + REMOVED_AT_ONCE]
