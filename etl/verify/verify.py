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
from etl.store.layout import CONTRACT_VERSION, ROOT, version_path
from etl.store.versions import Version, read_version, version_numbers
from etl.tables.checks import VolumeFacts
from etl.verify.problems import CountedReads, Problem, Repair, collect, describe, differences
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
            (*problems, Problem(error.what, where, Repair.VERSION, *values)), 0, 0, reads.count, reads.bytes
        )
    except Exception as error:
        wrong = Problem("can't be read", where, Repair.VERSION, describe(error))
        return Verification((*problems, wrong), 0, 0, reads.count, reads.bytes)

    entries = version["volumes"]
    problems += collect(_check_parent(objects, version), where, Repair.VERSION)
    tables = TableChecks(reads, version, where)
    spacings = _source_spacings(tables.rows)
    chosen = entries if sample is None else sample.choose(entries)
    tasks = (VolumeTask(entry, spacings.get(entry["volume_id"])) for entry in chosen)
    facts: dict[str, VolumeFacts] = {}
    of_volumes: dict[str, tuple[Problem, ...]] = {}
    for check in each(VolumeVerifier(objects.root), tasks):
        on_volume(check, len(chosen))
        reads.count += check.objects
        reads.bytes += check.bytes
        if check.facts is not None:
            facts[check.volume_id] = check.facts
        if check.problems:
            of_volumes[check.path] = check.problems
    # They come in any order; a report has the version's.
    for entry in chosen:
        problems += of_volumes.pop(str(entry["path"]), ())
    problems += [*tables.problems, *tables.check(facts)]
    return Verification(tuple(problems), len(entries), len(chosen), reads.count, reads.bytes)


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


def _check_parent(objects: Objects, version: Version) -> Iterator[Problem]:
    """Check that the parent version can be read."""
    parent = version["parent"]
    # A prune removes the oldest versions: where all up to the parent are gone, it was not lost.
    if parent is None or parent < version_numbers(objects)[0]:
        return
    try:
        read_version(objects, parent)
    except Exception as error:
        wrong = error.what if isinstance(error, StoreError) else describe(error)
        yield Problem("the parent version can't be read", version_path(parent), Repair.PARENT, wrong)


def _source_spacings(tables: Mapping[str, pd.DataFrame]) -> dict[str, SpacingYX]:
    """Return the source's spacing of rows and columns in mm, by volume_id."""
    if "volumes" not in tables:
        return {}
    columns: Any = tables["volumes"][["volume_id", "source_spacing_y_mm", "source_spacing_x_mm"]]
    return {volume_id: (float(y), float(x)) for volume_id, y, x in columns.itertuples(index=False)}
