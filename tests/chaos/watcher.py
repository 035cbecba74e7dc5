"""A reader that polls: a process that reads all of the current version, over and over, and notes faults."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from etl.store.layout import receipt_path
from etl.store.reader import Store, open_store
from tests.support.processes import ROOT, environment, wait_until

PAUSE_SECONDS = 0.1
# As a share of a reading's time: the runs that are watched have the machine's cores, too.
PAUSE_SHARE = 2


@dataclass(frozen=True)
class Reading:
    """One look at a store, from its beginning to its end by a clock that all processes share."""

    store: str
    version: int
    began_s: float
    ended_s: float
    outcome: str

    @classmethod
    def of(cls, line: str) -> Reading:
        store, version, began_s, ended_s, outcome = line.split(" ", 4)
        return cls(store, int(version), float(began_s), float(ended_s), outcome)


@dataclass(frozen=True)
class Watch:
    """Attributes: folder, with the store to watch (`store`) and the log of readings (`seen`)."""

    folder: Path

    def look_at(self, store: str) -> None:
        """From now on read this one; it has a version."""
        name = self.folder / "next"
        name.write_text(store)
        name.replace(self.folder / "store")

    def pause(self) -> None:
        """Read nothing until the next store is named."""
        self.look_at("")

    def move_to(self, store: str) -> None:
        """Read this one from now on, and be done with the one before."""
        start = self.bytes_seen()
        self.look_at(store)
        wait_until(lambda: any(r.store == store for r in self.seen(start)), "the reader had moved on")

    def bytes_seen(self) -> int:
        """Return the size of the log of readings so far, for `seen`."""
        return (self.folder / "seen").stat().st_size

    def seen(self, start: int = 0) -> list[Reading]:
        """All readings, or those after `start`."""
        with open(self.folder / "seen", "rb") as file:
            file.seek(start)
            return [Reading.of(line) for line in file.read().decode().split("\n")[:-1]]

    def wrong(self) -> list[Reading]:
        return [reading for reading in self.seen() if reading.outcome != "whole"]

    def assert_read(self, store: str, start: int, since_s: float) -> None:
        """A reading of the store fell into the time from `since_s` until now, and one after it ends well.

        Args:
            start: of `seen`, where the readings of the store begin.
        """
        until_s = time.monotonic()
        wait_until(
            lambda: any(r.store == store and r.began_s > until_s for r in self.seen(start)),
            "the reader had read what was left",
        )
        readings = [reading for reading in self.seen(start) if reading.store == store]
        assert any(r.began_s < until_s and r.ended_s > since_s for r in readings), (
            since_s,
            until_s,
            readings,
        )


@contextlib.contextmanager
def watching(folder: Path, store: str) -> Iterator[Watch]:
    """A reader that polls until the end of the block, of a store that has a version already."""
    watch = Watch(folder)
    folder.mkdir()
    (folder / "seen").touch()
    watch.look_at(store)
    command = [sys.executable, "-m", "tests.chaos.watcher", str(folder)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=log, stderr=log)
        try:
            yield watch
        finally:
            process.terminate()
            process.wait()
    assert (folder / "log").read_text() == ""


def check(store: Store) -> None:
    """Read everything that the version names, and compare it with the sizes and checksums it says."""
    objects, version = store.objects, store.version
    for entry in (entry for files in version["tables"].values() for entry in files):
        _check(objects.read(entry["path"]), entry["bytes"], entry["sha256"], entry["path"])
    for volume in version["volumes"]:
        receipt = objects.read(receipt_path(volume["path"]))
        _check(receipt, len(receipt), volume["sha256"], volume["path"])
        for item in json.loads(receipt)["objects"]:
            name = f"{volume['path']}/{item['path']}"
            _check(objects.read(name), item["bytes"], item["sha256"], name)
    assert len(store.lesions()) == version["counts"]["lesions"]


def _check(content: bytes, size: int, sha256: str, name: str) -> None:
    assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256), name


def _watch(folder: Path) -> None:
    with open(folder / "seen", "a") as seen:
        before: tuple[str, int] = ("", 0)
        while True:
            if not (url := (folder / "store").read_text()):
                time.sleep(PAUSE_SECONDS)
                continue
            number, began_s = 0, time.monotonic()
            try:
                store = open_store(url)
                number = store.version["version"]
                check(store)
                assert url != before[0] or number >= before[1], f"went back from version {before[1]}"
                outcome = "whole"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
            before, ended_s = (url, number), time.monotonic()
            seen.write(f"{url} {number} {began_s} {ended_s} {outcome}\n")
            seen.flush()
            time.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * (ended_s - began_s)))


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
