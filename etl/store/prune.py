"""Deletion of what no kept version names, in an order in which a kill at any moment does no harm.

1. Version files, oldest first, each after its summary: what remains is always the newest versions and those
   that have a tag, each with all that it names.
2. Receipts and split records: a build never reuses a volume without a receipt.
3. Everything else. The next prune finds what a killed one left, because no version names it.

Only objects with names that a build gives are deleted; foreign files stay.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from etl.core.errors import ConfigError, GuardError, RunError, StoreError
from etl.io.places import PARTIAL, Listed, Objects
from etl.store.full_disk import is_full, make_room, written_last
from etl.store.kept import check_complete, check_not_lost, check_same
from etl.store.layout import (
    GROUP_SUFFIX,
    LABELS,
    MODELS,
    RECEIPT_SUFFIX,
    REPORTS,
    RUNS,
    SPLIT_SUFFIX,
    TABLES_FOLDER,
    VERSIONS,
    VOLUMES,
    run_of,
    summary_path,
    version_path,
    volume_path,
)
from etl.store.named import files_of, groups_of
from etl.store.receipts import read_split
from etl.store.running import DEAD_SECONDS, Mark, Running, mark_path, marks_by_clock, running
from etl.store.version_file import Digest
from etl.store.version_list import Listing, list_versions
from etl.store.versions import new_run_id, read_with_sha256, table_entries

_PROOFS = (RECEIPT_SUFFIX, SPLIT_SUFFIX, "/receipt.json", "/split.json")

# Between two batches a prune checks that its own mark did not lapse.
REMOVED_AT_ONCE = 1000

_GROUP = r"(?=/.|\.ome\.zarr/.|\.receipt\.json\Z|\.split\.json\Z)"
_RUN = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
OWN_NAMES = {
    VOLUMES: re.compile(
        rf"[0-9]{{6}}_[0-9]{{2,}}_[0-9]{{2,}}_[0-9]{{3,}}-[0-9]{{3,}}/[0-9a-f]{{16}}{_GROUP}"
    ),
    LABELS: re.compile(rf"([^/]+/){{1,2}}{Digest}(?=\.ome\.zarr/.|\.receipt\.json\Z)"),
    MODELS: re.compile(rf"[^/]+/([^/]+-)?{Digest}(?=/.)"),
    TABLES_FOLDER: re.compile(rf"{_RUN}(?=/.+\.parquet\Z)"),
    REPORTS: re.compile(r"[0-9]+(?=/.)"),
    RUNS: re.compile(rf"{_RUN}(?=\.(json|html)\Z)"),
    PARTIAL: re.compile(r"[0-9a-f]{32}\Z"),
}
"""The names that builds and jobs give, by folder: a volume, labels, a model, the tables of a run, a report,
the record of a run, an unfinished object. What else lies there stays."""


@dataclass(frozen=True)
class Unit:
    """Objects that are deleted together: a volume with its receipt, a model, tables of a run, and so on.

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
        tags: names of versions, which keep them; by number.
        units: deleted units by folder, those of `OWN_NAMES`.
        younger: number of units that no kept version names, but that are too young to be deleted.
    """

    kept: tuple[int, ...]
    versions: tuple[int, ...]
    tags: dict[int, tuple[str, ...]]
    units: dict[str, tuple[Unit, ...]]
    younger: int


def prune(objects: Objects, keep: int, grace_s: float, *, dry_run: bool = False) -> Pruning:
    """Delete old versions and what no other version names.

    Args:
        keep: number of the newest versions that stay; 1 or more. Versions younger than the grace period stay
            too, and all after them, and those that have a tag.
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
    list_versions(objects)
    if dry_run:
        return find_prunable(objects, keep, grace_s, time.time())
    try:
        return _prune(objects, keep, grace_s)
    except StoreError as error:
        if not is_full(error.__cause__):
            raise
        _refuse(objects, marks_by_clock(objects))
        found = find_prunable(objects, keep, grace_s, written_last(objects))
        make_room(objects, small_steps_of(found))
    return _prune(objects, keep, grace_s)


def _prune(objects: Objects, keep: int, grace_s: float) -> Pruning:
    with running(objects, new_run_id(), "prune") as own:
        _refuse(objects, own.others())
        own.remove_dead()
        # A run that was suspended may have continued just before its mark was removed.
        _refuse(objects, own.others())
        pruning = find_prunable(objects, keep, grace_s, own.renew())
        _remove(objects, pruning, own)
    return pruning


def find_prunable(objects: Objects, keep: int, grace_s: float, now_s: float) -> Pruning:
    """Return what a prune at `now_s`, seconds since 1970 by the store's clock, would delete. See `prune`."""
    written = {f"{VERSIONS}/{name}": item for name, item in objects.listed(VERSIONS).items()}
    listing = Listing(objects, {name: item.bytes for name, item in written.items()})
    numbers, tags = listing.numbers, listing.tags()

    def is_young(items: Sequence[Listed]) -> bool:
        return any(now_s - item.written_s < grace_s for item in items)

    young = [n for n in numbers if is_young([written[version_path(n)]])]
    # All after the first that stays, so that a missing parent is known to be pruned, not lost.
    first = min([*numbers[-keep:], *young])
    tagged = {tag.number for tag in tags}
    check_not_lost(objects, tagged.difference(numbers), listing.lost_from(first))
    kept = tuple(number for number in numbers if number >= first or number in tagged)
    listed = {folder: objects.listed(folder) for folder in OWN_NAMES}
    files: set[str] = set()
    groups: set[str] = set()
    runs: set[str] = set()
    named_as: list[tuple[int, str | None]] = [(tag.number, tag.sha256) for tag in tags]
    for number in reversed(kept):
        version, sha256 = read_with_sha256(objects, number)
        check_same(objects, number, sha256, named_as)
        named_as.append((version["parent"], version.get("parent_sha256")))
        check_complete(objects, version, listed)
        files |= {item.path for item in files_of(version)}
        groups |= {group.path for group in groups_of(version)}
        runs |= {version["run_id"], *(run_of(entry["path"]) for entry in table_entries(version))}

    # A table that was carried on does not keep the others of its run.
    listed[TABLES_FOLDER] = {
        name: item for name, item in listed[TABLES_FOLDER].items() if f"{TABLES_FOLDER}/{name}" not in files
    }

    def is_named(unit: Unit) -> bool:
        if unit.path.startswith((f"{VOLUMES}/", f"{LABELS}/")):
            paths = {unit.path, f"{unit.path}{GROUP_SUFFIX}"}
            return not groups.isdisjoint(paths) or _splits_into(objects, unit, groups)
        if unit.path.startswith(f"{REPORTS}/"):
            number = int(unit.path.removeprefix(f"{REPORTS}/"))
            return number >= first or number in tagged
        if unit.path.startswith(f"{RUNS}/"):
            return unit.path.removeprefix(f"{RUNS}/") in runs
        return not files.isdisjoint(unit.sizes)

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
    gone = tuple(number for number in numbers if number not in kept)
    names = {number: tuple(tag.name for tag in tags if tag.number == number) for number in sorted(tagged)}
    return Pruning(kept, gone, names, units, younger)


def _units(folder: str, listed: Mapping[str, Listed]) -> Iterator[tuple[Unit, list[Listed]]]:
    """Yield the objects in a folder that builds name, grouped."""
    units: dict[str, dict[str, Listed]] = {}
    for name, item in listed.items():
        if own := OWN_NAMES[folder].match(name):
            units.setdefault(f"{folder}/{own[0]}", {})[f"{folder}/{name}"] = item
    for path, items in sorted(units.items()):
        sizes = {name: item.bytes for name, item in sorted(items.items())}
        yield Unit(path, sizes), list(items.values())


def _splits_into(objects: Objects, unit: Unit, groups: set[str]) -> bool:
    """Return if a unit is the record of a run that was split into volumes that stay."""
    if f"{unit.path}{SPLIT_SUFFIX}" not in unit.sizes:
        return False
    _, volume_id, fingerprint = unit.path.split("/")
    record = read_split(objects, volume_id, fingerprint)
    return record is not None and all(volume_path(*part) in groups for part in record.parts)


def _refuse(objects: Objects, others: Sequence[Mark]) -> None:
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
    for step in steps_of(pruning):
        if own.lapsed():
            raise RunError(
                "the mark of this prune lapsed, and other jobs may have started meanwhile; it stopped",
                where=objects.root,
                value=f"its mark was not renewed for {DEAD_SECONDS / 60:.0f} minutes",
                remedy="run it again; it finishes what is left",
            )
        objects.remove_all(step)


def steps_of(pruning: Pruning) -> Iterator[Sequence[str]]:
    """Yield the names of the objects to delete, in the order in which a kill between two does no harm."""
    for number in pruning.versions:
        yield [summary_path(number)]
        yield [version_path(number)]
    names = [name for units in pruning.units.values() for unit in units for name in unit.sizes]
    proofs = [name for name in names if name.endswith(_PROOFS)]
    yield from _batches(proofs)
    yield from _batches(sorted(set(names).difference(proofs)))


def small_steps_of(pruning: Pruning) -> Iterator[Sequence[str]]:
    """Yield the same in smaller steps, unfinished objects right after the versions."""
    yield from steps_of(replace(pruning, units={}))
    for folder in sorted(pruning.units, key=lambda name: name != PARTIAL):
        for unit in pruning.units[folder]:
            yield from steps_of(replace(pruning, versions=(), units={folder: (unit,)}))


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), REMOVED_AT_ONCE):
        yield names[start : start + REMOVED_AT_ONCE]
