"""Is everything that a version names there, whole, and in agreement? Everything is read again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from etl.errors import StoreError
from etl.store.layout import CONTRACT_VERSION, ROOT, VERSIONS, version_path
from etl.store.objects import Objects
from etl.store.problems import CountedReads, Problem, Repair, collect, describe, differences
from etl.store.receipts import Receipt
from etl.store.verify_locations import check_locations
from etl.store.verify_tables import (
    check_catalogue,
    check_counts,
    check_lesions,
    check_schemas,
    check_slices,
    read_tables,
)
from etl.store.verify_volume import VolumeCheck, verify_volume
from etl.store.versions import Version, read_version, readable, version_numbers

# What the entry of a volume in a version file has.
ENTRY = {"volume_id", "path", "bytes", "sha256"}


@dataclass(frozen=True)
class Verification:
    """What verification of one version found.

    Attributes:
        problems: all that is wrong; none where the version is all right.
        volumes: how many the version names.
        objects, bytes: read.
    """

    problems: tuple[Problem, ...]
    volumes: int
    objects: int
    bytes: int


def choose_version(objects: Objects, number: int | None = None) -> int:
    """The version of that number, or the current one.

    Raises:
        StoreError: there is no store, or it has no such version.
    """
    with readable(objects):
        numbers = version_numbers(objects)
    if not numbers:
        raise StoreError(
            "there is no store here, or nothing was published yet",
            where=objects.root,
            allowed=f"a folder with {VERSIONS}/NNNNNN.json",
            remedy="give the store's folder, the `store` of the config that built it",
        )
    if number is not None and number not in numbers:
        known = ", ".join(map(str, numbers[-10:]))
        raise StoreError(
            "no such version", where=objects.root, value=number, allowed=f"published last: {known}"
        )
    return numbers[-1] if number is None else number


def verify(
    objects: Objects,
    number: int,
    on_volume: Callable[[VolumeCheck, int], None] = lambda check, total: None,
) -> Verification:
    """Read and check all that a version names; nothing is written and nothing is raised for what is wrong.

    Args:
        number: of a version that is there, as `choose_version` gives it.
        on_volume: called with the outcome of each volume as it comes, and the number of volumes in all.
    """
    where = version_path(number)
    reads = CountedReads(objects)
    problems = collect(_check_root(reads), ROOT, Repair.ROOT)
    try:
        version = read_version(objects, number)
        assert version is not None  # a given number raises where there is none
    except StoreError as error:
        values = f"{error.value}", error.allowed
        return Verification(
            (*problems, Problem(error.what, where, Repair.VERSION, *values)), 0, reads.count, reads.bytes
        )
    except Exception as error:
        wrong = Problem("can't be read", where, Repair.VERSION, describe(error))
        return Verification((*problems, wrong), 0, reads.count, reads.bytes)

    listed = version.get("volumes")
    if not isinstance(listed, list):
        problems.append(Problem("has no list of volumes", where, Repair.VERSION))
        listed = []
    entries = []
    for entry in listed:
        if isinstance(entry, Mapping) and entry.keys() >= ENTRY:
            entries.append(entry)
        else:
            problems.append(Problem("is no entry of a volume", where, Repair.VERSION, repr(entry)))
    version = {**version, "volumes": entries}
    problems += collect(_check_head(objects, version, number), where, Repair.VERSION)
    checks = []
    for entry in entries:
        checks.append(verify_volume(objects, entry))
        on_volume(checks[-1], len(entries))
        problems += checks[-1].problems
    receipts = {check.volume_id: check.receipt for check in checks if check.receipt is not None}
    problems += collect(_check_tables(reads, version, receipts, where), where, Repair.VERSION)
    return Verification(
        tuple(problems),
        len(checks),
        reads.count + sum(check.objects for check in checks),
        reads.bytes + sum(check.bytes for check in checks),
    )


def _check_root(reads: CountedReads) -> Iterator[Problem]:
    try:
        root = json.loads(reads.read(ROOT))
        attributes = root["attributes"]["deeplesion_store"]
        values = [
            ("zarr_format", root["zarr_format"], 3),
            ("node_type", root["node_type"], "group"),
            ("contract_version", attributes["contract_version"], CONTRACT_VERSION),
        ]
    except FileNotFoundError:
        yield Problem("is missing", ROOT, Repair.ROOT)
        return
    except Exception as error:
        yield Problem("is not a store's root", ROOT, Repair.ROOT, describe(error))
        return
    yield from differences(ROOT, Repair.ROOT, values)


def _check_head(objects: Objects, version: Version, number: int) -> Iterator[Problem]:
    """The version file's own number, its parent, its volumes' names."""
    where = version_path(number)
    yield from differences(where, Repair.VERSION, [("version", version["version"], number)])
    parent = version["parent"]
    if parent is not None:
        if not isinstance(parent, int) or parent >= number:
            yield Problem("parent is wrong", where, Repair.VERSION, repr(parent), f"less than {number}")
            return
        try:
            read_version(objects, parent)
        except Exception as error:
            wrong = error.what if isinstance(error, StoreError) else describe(error)
            yield Problem("the parent version can't be read", version_path(parent), Repair.PARENT, wrong)
    named = Counter(entry["volume_id"] for entry in version["volumes"])
    for name in (name for name, times in named.items() if times > 1):
        yield Problem("volume is named more than once", where, Repair.VERSION, name)


def _check_tables(
    reads: CountedReads, version: Version, receipts: Mapping[str, Receipt], where: str
) -> Iterator[Problem]:
    tables, problems = read_tables(reads, version)
    yield from problems
    checks: list[Iterator[Problem]] = [
        check_schemas(version, where),
        check_catalogue(tables, version, receipts),
        check_lesions(tables, version),
        check_slices(tables, receipts),
        check_locations(tables, version, where),
        check_counts(tables, version, where),
    ]
    for check in checks:
        yield from collect(check, where, Repair.VERSION)
