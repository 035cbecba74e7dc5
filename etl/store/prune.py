"""Deleting what no version that is kept names, in an order that a kill at any place does no harm.

1. Version files, oldest first: what is left is always the newest versions, each with all that it names.
2. Receipts and split records: a build never takes a volume without a receipt for whole.
3. Everything else. A second prune finds what a cut one left: nothing names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etl.core.errors import GuardError, RunError
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
from etl.store.versions import choose_version, new_run_id, read_version, table_entries, version_numbers

# Between two of these a prune sees that it was not taken for dead.
REMOVED_AT_ONCE = 1000


@dataclass(frozen=True)
class Unit:
    """Objects that go together: a volume, a run's tables, one leftover.

    Attributes:
        path: what they lie below; relative to the store.
        sizes: bytes of each, by name relative to the store.
    """

    path: str
    sizes: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True)
class Pruning:
    """What a prune removes.

    Attributes:
        kept, versions: numbers of the versions that stay, and that go; ascending.
        units: by the folder that they lie in: `volumes`, `tables`, `reports`, `.partial`.
        younger: how many more no kept version names, that are younger than the grace period and stay.
    """

    kept: tuple[int, ...]
    versions: tuple[int, ...]
    units: dict[str, tuple[Unit, ...]]
    younger: int


def prune(objects: Objects, keep: int, grace_s: float, *, dry_run: bool = False) -> Pruning:
    """Remove old versions and what no other version names.

    Args:
        keep: how many of the newest versions stay; 1 or more. Versions younger than the grace period stay
            too, and all after them.
        grace_s: what is younger, in seconds by the store's clock, stays.
        dry_run: remove nothing.

    Returns:
        What was removed, or would be.

    Raises:
        StoreError: there is no store, or a version that stays can't be read.
        GuardError: something else is at work on the store; nothing was removed.
        RunError: this prune was held up so long that others took it for dead; a second one finishes.
        OSError: the store can't be read or written.
    """
    choose_version(objects)
    with running(objects, new_run_id(), "prune") as own:
        _refuse_beside_others(objects, own)
        if not dry_run:
            own.remove_dead()
            # A run that was held up may have gone on just before its mark was removed.
            _refuse_beside_others(objects, own)
        pruning = find_prunable(objects, keep, grace_s, own.renew())
        if not dry_run:
            _remove(objects, pruning, own)
    return pruning


def find_prunable(objects: Objects, keep: int, grace_s: float, now_s: float) -> Pruning:
    """What a prune at `now_s`, by the store's clock in seconds since 1970, would remove. See `prune`."""
    numbers = version_numbers(objects)
    written = objects.listed(VERSIONS)

    def is_young(items: Sequence[Listed]) -> bool:
        return any(now_s - item.written_s < grace_s for item in items)

    young = [n for n in numbers if is_young([written[version_path(n).removeprefix(f"{VERSIONS}/")]])]
    # All after the first that stays, so that a parent that is missing is known to be pruned, not lost.
    first = min([*numbers[-keep:], *young])
    kept = tuple(number for number in numbers if number >= first)
    tables: set[str] = set()
    volumes: set[str] = set()
    for number in kept:
        version: Any = read_version(objects, number)
        tables |= {entry["path"] for entry in table_entries(version)}
        volumes |= {entry["path"] for entry in version["volumes"]}

    def is_named(unit: Unit) -> bool:
        if unit.path.startswith(f"{VOLUMES}/"):
            return unit.path in volumes or _splits_into(objects, unit, volumes)
        if unit.path.startswith(f"{REPORTS}/"):
            name = unit.path.removeprefix(f"{REPORTS}/")
            return not name.isdecimal() or int(name) >= first
        return not tables.isdisjoint(unit.sizes)

    units: dict[str, tuple[Unit, ...]] = {}
    younger = 0
    for folder, depth in ((VOLUMES, 2), (TABLES_FOLDER, 1), (REPORTS, 1), (PARTIAL, 1)):
        found: list[Unit] = []
        for unit, items in _units(objects, folder, depth):
            if is_named(unit):
                continue
            if is_young(items):
                younger += 1
            else:
                found.append(unit)
        units[folder] = tuple(found)
    return Pruning(kept, tuple(number for number in numbers if number < first), units, younger)


def _units(objects: Objects, folder: str, depth: int) -> Iterator[tuple[Unit, list[Listed]]]:
    """What lies in a folder, taken together by the first parts of its names."""
    units: dict[str, dict[str, Listed]] = {}
    for name, item in objects.listed(folder).items():
        parts = name.split("/")
        # What lies higher is no part of a store, so it isn't touched; leftovers are one object each.
        if len(parts) > depth or folder == PARTIAL:
            path = "/".join((folder, *parts[:depth]))
            units.setdefault(path, {})[f"{folder}/{name}"] = item
    for path, items in sorted(units.items()):
        sizes = {name: item.bytes for name, item in sorted(items.items())}
        yield Unit(path, sizes), list(items.values())


def _splits_into(objects: Objects, unit: Unit, volumes: set[str]) -> bool:
    """It is the record of a run that was split into volumes that stay."""
    if f"{unit.path}/{SPLIT_RECORD}" not in unit.sizes:
        return False
    _, volume_id, fingerprint = unit.path.split("/")
    record = read_split(objects, volume_id, fingerprint)
    return record is not None and all(volume_path(*part) in volumes for part in record.parts)


def _refuse_beside_others(objects: Objects, own: Running) -> None:
    others = own.others()
    if others:
        raise GuardError(
            "something else is at work on the store; nothing was removed",
            where=objects.root,
            value="; ".join(map(str, others)),
            allowed="no build, rollback or prune beside this one",
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
                "the prune was held up, and others may have gone to work meanwhile; it stopped",
                where=objects.root,
                value=f"its mark was not renewed for {DEAD_SECONDS / 60:.0f} minutes",
                remedy="run it again; it finishes what is left",
            )
        objects.remove_all(step)


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), REMOVED_AT_ONCE):
        yield names[start : start + REMOVED_AT_ONCE]
