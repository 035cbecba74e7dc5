"""A place for faults: a store with one version, a second to be built on top, and a reader that polls."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from etl.io.opening import open_objects
from etl.store.versions import read_version, version_numbers
from etl.verify.verify import verify
from tests.chaos.foundry import Foundry, Orders, Outcome, foundry
from tests.chaos.watcher import Watch, watching
from tests.support.faulty_s3 import FaultyS3, serve_faulty_s3
from tests.support.s3_server import Bucket, use_s3
from tests.support.stored import without_run
from tests.support.tiny_release import csv_row, write_release

LONG = os.environ.get("CHAOS") == "long"
THOROUGH = os.environ.get("EXAMPLES") == "thorough"
FIRST, SECOND = "000001_01_01", "000002_01_01"
# What the store holds before: the same release on another grid.
BASE = ["--set", "volume.spacing_mm=2.0"]


def objects_of(store: str) -> dict[str, bytes]:
    """All that is published in a store, by name."""
    objects = open_objects(store)
    names = [name for folder in ("versions", "tables", "volumes", "models") for name in objects.list(folder)]
    return {name: objects.read(name) for name in (*names, "store.json")}


def write_tiny_release(folder: Path) -> Path:
    """Two series of three and two slices, one slice unreadable, so that its run is split; gives a config."""
    rows = [
        csv_row(FIRST, 3, (3, 5)),
        csv_row(SECOND, 2, (1, 2), Train_Val_Test="1", Coarse_lesion_type="-1"),
    ]
    write_release(folder, {FIRST: [3, 4, 5], SECOND: [1, 2]}, rows)
    archive = folder / "Images_png_01.zip"
    first, second, rest = archive.read_bytes().split(b"\x89PNG", 2)
    archive.write_bytes(first + b"\x89PNG" + second + b"\x89GNP" + rest)
    config = folder / "config.yaml"
    source = {"annotations": str(folder / "DL_info.csv"), "archives": [str(archive)]}
    settings = {"source": source, "volume": {"chunk": [8, 8, 8]}, "limits": {"rejects": 1.0}}
    # What follows the version, file by file, is struck in the long campaign only.
    settings |= {"store": "unused", "cluster": "serial", "report": LONG}
    config.write_text(json.dumps(settings))
    return config


@dataclass
class Arena:
    """Stores of one kind, and what a build without faults makes of them.

    Attributes:
        kind: `disk` or `S3`.
        place: folder or URL below which the stores lie.
        faulty: the server between the runs and the bucket; None on a disk.
        second: the store of both versions, built without faults.
    """

    kind: str
    place: str
    folder: Path
    config: Path
    foundry: Foundry
    watch: Watch
    faulty: FaultyS3 | None
    base: dict[str, bytes] = field(default_factory=dict)
    expected: list[dict[str, bytes]] = field(default_factory=list)
    boundaries: tuple[str, ...] = ()
    second: str = ""
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _attempts: dict[str, tuple[int, float]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Build both versions without faults, and keep what they hold."""
        self.base = objects_of(f"{self.place}/base")
        self.second = store = self.fresh()
        outcome = self.run(store, strike_at=-1)
        assert outcome.code == 0, self.log()
        objects = open_objects(store)
        assert [verify(objects, number).problems for number in (1, 2)] == [(), ()]
        self.expected = [self.content(store, 1), self.content(store, 2)]
        self.boundaries = outcome.boundaries

    def moments(self) -> list[int]:
        """Return the numbers of boundaries to strike at: a few, in a bucket fewer; one of each kind in the
        thorough run; all in the long campaign.
        """
        if LONG:
            return list(range(len(self.boundaries)))
        last = len(self.boundaries) - 1
        by_kind: dict[str, list[int]] = {}
        for number in range(last):
            # After one change is before the next one.
            if not self.boundaries[number].startswith("after"):
                by_kind.setdefault(self.kind_of(number), []).append(number)
        chosen = [random.Random(kind).choice(numbers) for kind, numbers in by_kind.items()]
        return [*(chosen if THOROUGH else random.Random(0).sample(chosen, self.few)), last]

    @property
    def few(self) -> int:
        """Number of moments of a fault in the short run; in a bucket each takes ten seconds."""
        return 4 if self.kind == "disk" else 2

    def kind_of(self, number: int) -> str:
        """Return the call at a boundary and its object, without the names of one run, volume or probe.

        A file is whole, and has its name, at the boundary after the one where it is half there.
        """
        moment, call, _ = self.boundaries[number].split(" ")
        whole = self.boundaries[number + 1] if moment == "half" else self.boundaries[number]
        top, *below = whole.split(" ")[2].split("/")
        return " ".join([moment, "" if moment == "half" else call, top, *below[2:][-1:]])

    def fresh(self, template: str = "") -> str:
        """A new store that holds version 1 only, or all that another one has. The reader has seen it."""
        store = f"{self.place}/store-{next(self._numbers)}"
        if self.kind == "disk":
            shutil.copytree(template or f"{self.place}/base", store)
        else:
            objects = open_objects(store)
            for name, data in (objects_of(template) if template else self.base).items():
                objects.write(name, data)
        start = self.watch.bytes_seen()
        self.watch.move_to(store)
        self._attempts[store] = (start, time.monotonic())
        return store

    def run(self, store: str, more: list[str] | None = None, **orders: Any) -> Outcome:
        """Run the job on a store."""
        arguments = [str(self.config), "--set", f"store={store}", *(more or [])]
        return self.foundry.run(Orders(arguments, str(self.folder / "log"), store, **orders))

    def log(self) -> str:
        """Return the output of the last run."""
        return (self.folder / "log").read_text()

    def content(self, store: str, number: int) -> dict[str, bytes]:
        """All that a version names, by path, and the version itself, less what differs from run to run."""
        objects = open_objects(store)
        version = read_version(objects, number)
        assert version is not None
        found = {"version": json.dumps(without_run(dict(version)), sort_keys=True).encode()}
        for entry in (entry for files in version["tables"].values() for entry in files):
            found[entry["path"].split("/", 2)[2]] = objects.read(entry["path"])
        for volume in version["volumes"]:
            found |= {name: objects.read(name) for name in objects.list(volume["path"])}
        return found

    def assert_survived(self, store: str) -> None:
        """A rerun publishes what a run without faults does, and nothing is lost."""
        outcome = self.run(store)
        assert outcome.code == 0, self.log()
        self.assert_as_expected(store)

    def assert_as_expected(self, store: str) -> None:
        assert version_numbers(open_objects(store)) == [1, 2]
        for number, expected in enumerate(self.expected, 1):
            found = self.content(store, number)
            assert found.keys() == expected.keys()
            assert [name for name in found if found[name] != expected[name]] == []
        self.assert_watched(store)

    def assert_watched(self, store: str) -> None:
        """The reader read the store while it was struck and mended, and saw whole versions only."""
        self.watch.assert_read(store, *self._attempts[store])
        assert self.watch.wrong() == []


@contextlib.contextmanager
def arena(kind: str, folder: Path, s3_server: str) -> Iterator[Arena]:
    """An arena on this disk, or on the S3 server with faults."""
    config = write_tiny_release(folder / "release")
    with contextlib.ExitStack() as stack:
        faulty = None
        place = str(folder / "stores")
        if kind == "S3":
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            use_s3(patch, s3_server)
            bucket = Bucket.make(f"chaos-{folder.name.replace('_', '-')}")
            place = bucket.url
            faulty = stack.enter_context(serve_faulty_s3())
            patch.setenv("AWS_ENDPOINT_URL", faulty.url)
            works = stack.enter_context(foundry())
            patch.setenv("AWS_ENDPOINT_URL", s3_server)
        else:
            works = stack.enter_context(foundry())
        first = f"{place}/base"
        log = str(folder / "log")
        outcome = works.run(Orders([str(config), "--set", f"store={first}", *BASE], log, first))
        assert outcome.code == 0, Path(log).read_text()
        watch = stack.enter_context(watching(folder / "watch", first))
        made = Arena(kind, place, folder, config, works, watch, faulty)
        made.prepare()
        yield made
