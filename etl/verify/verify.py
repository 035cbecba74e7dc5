"""Verification: everything that a version names is read again, and must be whole and agree."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.layout import ROOT, ROOT_V1, TAGS, VERSIONS, summary_path, tag_path, version_path
from etl.store.named import model_files
from etl.store.root import root_fault
from etl.store.tags import names_among, read_tag
from etl.store.version_list import Listing, list_versions
from etl.store.versions import Version, misnamed_among, read_version, read_with_sha256
from etl.tables.checks import VolumeFacts
from etl.verify.problems import (
    CountedReads,
    Problem,
    Repair,
    collect,
    describe,
    differences,
    read_whole,
)
from etl.verify.tables import TableChecks
from etl.verify.volume import SpacingYX, VolumeCheck, VolumeTask, VolumeVerifier

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Verification:
    """The result of verifying one version.

    Attributes:
        problems: everything that is wrong; empty for an intact version.
        volumes: number of volumes that the version names.
        checked: number of these that were read; fewer in a sample.
        objects, bytes: numbers of objects and bytes read.
    """

    problems: tuple[Problem, ...]
    volumes: int
    checked: int
    objects: int
    bytes: int


@dataclass(frozen=True)
class Sample:
    """The part of a version's volumes that is read.

    Attributes:
        share: of all volumes, 0 to 1, rounded up; None where `count` says how many.
        count: of volumes; None where `share` does.
        seed: the same one chooses the same volumes.
    """

    share: float | None = None
    count: int | None = None
    seed: int = 0

    def choose(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the chosen entries, in their order."""
        share = math.ceil(round((self.share or 0) * len(entries), 6))  # 7 % of 100 is 7.000000000000001
        count = share if self.count is None else self.count
        chosen = random.Random(self.seed).sample(range(len(entries)), min(count, len(entries)))
        return [entries[place] for place in sorted(chosen)]


def verify(
    objects: Objects,
    number: int,
    on_volume: Callable[[VolumeCheck, int], None] = lambda check, total: None,
    each: Callable[[VolumeVerifier, Iterable[VolumeTask]], Iterable[VolumeCheck]] = map,
    sample: Sample | None = None,
) -> Verification:
    """Read and check what a version names; nothing is written and nothing is raised for what is wrong.

    Args:
        number: of a version that is there, as `choose_version` gives it.
        on_volume: called with the outcome of each volume as it comes, and how many come in all.
        each: calls a function for every item somewhere and gives the results in any order.
        sample: the volumes to read; all where None. Tables are always read whole.

    Raises:
        OSError, MemoryError: the store can't be read now, or this machine is out of memory.
    """
    where = version_path(number)
    reads = CountedReads(objects)
    problems: list[Problem] = []
    try:
        version = read_version(objects, number)
        assert version is not None  # a given number raises where there is none
    except StoreError as error:
        wrong = Problem(error.what, where, Repair.VERSION, f"{error.value}", error.allowed)
        return Verification((wrong,), 0, 0, reads.count, reads.bytes)
    except Exception as error:
        wrong = Problem("can't be read", where, Repair.VERSION, describe(error))
        return Verification((wrong,), 0, 0, reads.count, reads.bytes)

    if version["contract_version"] == 1:
        problems += collect(_check_root_v1(reads), ROOT_V1, Repair.ROOT)
    else:
        problems += collect(_check_root(reads), ROOT, Repair.ROOT)
    entries = version["volumes"]
    problems += collect(_check_names(objects), VERSIONS, Repair.MISNAMED)
    tagged: list[int] = []
    problems += collect(_check_tags(objects, tagged), TAGS, Repair.TAG)
    problems += collect(_check_ancestors(objects, version, tagged), where, Repair.VERSION)
    for info in model_files(version):
        problems += read_whole(reads, info, Repair.MODEL)[1]
    tables = TableChecks(reads, version, where)
    spacings = _source_spacings(tables.rows)
    chosen = entries if sample is None else sample.choose(entries)
    tasks = [VolumeTask(entry, spacings.get(entry["volume_id"])) for entry in chosen]
    ids = {entry["volume_id"] for entry in chosen}
    tasks += [VolumeTask(entry) for entry in version.get("labels", ()) if entry["volume_id"] in ids]
    facts: dict[str, VolumeFacts] = {}
    of_volumes: dict[str, tuple[Problem, ...]] = {}
    for check in each(VolumeVerifier(objects.root), tasks):
        on_volume(check, len(tasks))
        reads.count += check.objects
        reads.bytes += check.bytes
        if check.facts is not None:
            facts[check.volume_id] = check.facts
        if check.problems:
            of_volumes[check.path] = check.problems
    # They come in any order; a report has the version's.
    for task in tasks:
        problems += of_volumes.pop(str(task.entry["path"]), ())
    problems += [*tables.problems, *tables.check(facts)]
    return Verification(tuple(problems), len(entries), len(chosen), reads.count, reads.bytes)


def _check_root(reads: CountedReads) -> Iterator[Problem]:
    if reads.size(ROOT) is None:
        yield Problem("is missing", ROOT, Repair.ROOT)
    elif (fault := root_fault(reads.read)) is not None:
        yield Problem("is not a store's root", ROOT, Repair.ROOT, fault)


def _check_root_v1(reads: CountedReads) -> Iterator[Problem]:
    try:
        root = json.loads(reads.read(ROOT_V1))
        attributes = root["attributes"]["deeplesion_store"]
        values = [
            ("zarr_format", root["zarr_format"], 3),
            ("node_type", root["node_type"], "group"),
            ("contract_version", attributes["contract_version"], 1),
        ]
    except FileNotFoundError:
        yield Problem("is missing", ROOT_V1, Repair.ROOT)
        return
    except Exception as error:
        yield Problem("is not a store's root", ROOT_V1, Repair.ROOT, describe(error))
        return
    yield from differences(ROOT_V1, Repair.ROOT, values)


def _check_names(objects: Objects) -> Iterator[Problem]:
    listing = list_versions(objects)
    for name in misnamed_among(listing.sizes):
        yield Problem(
            "is no version's name", name, Repair.MISNAMED, expected="six digits, such as 000004.json"
        )
    for number in listing.lost_from(listing.numbers[-1]):
        yield Problem("is missing, and its summary is there", version_path(number), Repair.VERSION)


def _check_tags(objects: Objects, tagged: list[int]) -> Iterator[Problem]:
    """Check that each tag and its version can be read; append the number of that version to `tagged`."""
    for name in names_among(objects.list(TAGS)):
        where = tag_path(name)
        try:
            tag = read_tag(objects, name)
        except Exception as error:
            yield Problem("can't be read", where, Repair.TAG, _in_words(error))
            continue
        tagged.append(tag.number)
        where = f"{where}: version {tag.number}"
        try:
            values = [("SHA-256 of its file", read_with_sha256(objects, tag.number)[1], tag.sha256)]
        except Exception as error:
            yield Problem("can't be read", where, Repair.PARENT, _in_words(error))
        else:
            yield from differences(where, Repair.PARENT, values)


def _in_words(error: Exception) -> str:
    return f"{error.what}: {error.value}" if isinstance(error, StoreError) else describe(error)


def _check_ancestors(objects: Objects, version: Version, tagged: Sequence[int]) -> Iterator[Problem]:
    """Follow the chain of parents: each can be read, and is the file that its successor was published on.

    Args:
        tagged: numbers of the versions that have a tag.
    """
    listing = list_versions(objects)
    numbers = listing.numbers
    while (parent := version["parent"]) is not None:
        if parent not in numbers and _was_pruned(listing, tagged, parent):
            return
        try:
            earlier, sha256 = read_with_sha256(objects, parent)
        except Exception as error:
            wrong = error.what if isinstance(error, StoreError) else describe(error)
            yield Problem("the parent version can't be read", version_path(parent), Repair.PARENT, wrong)
            return
        expected = version.get("parent_sha256") or sha256  # versions of contract 1 have none
        where = f"{version_path(version['version'])}: parent {parent}"
        yield from differences(where, Repair.PARENT, [("SHA-256 of its file", sha256, expected)])
        version = earlier


def _was_pruned(listing: Listing, tagged: Sequence[int], parent: int) -> bool:
    """Return if a version that is not there was removed by a prune, which removes its summary first.

    Versions of contract 1 had no summaries: of them, the oldest without a tag are removed.
    """
    if summary_path(parent) in listing.sizes:
        return False
    older = [number for number in listing.numbers if number < parent]
    return set(older) <= set(tagged) or any(summary_path(number) in listing.sizes for number in older)


def _source_spacings(tables: Mapping[str, pd.DataFrame]) -> dict[str, SpacingYX]:
    """Return the source's spacing of rows and columns in mm, by volume_id."""
    if "volumes" not in tables:
        return {}
    columns: Any = tables["volumes"][["volume_id", "source_spacing_y_mm", "source_spacing_x_mm"]]
    return {volume_id: (float(y), float(x)) for volume_id, y, x in columns.itertuples(index=False)}
