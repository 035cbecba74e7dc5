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

from etl.store.reader import Store, open_store
from tests.processes import ROOT, environment, wait_until

PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class Watch:
    """Attributes: folder, where the watcher is told the store (`store`) and tells what it saw (`seen`)."""

    folder: Path

    def look_at(self, store: str) -> None:
        """From now on read this one; it has a version."""
        told = self.folder / "telling"
        told.write_text(store)
        told.replace(self.folder / "store")

    def move_to(self, store: str) -> None:
        """Read this one from now on, and be done with the one before."""
        self.look_at(store)
        wait_until(lambda: self.seen()[-1].startswith(f"{store} "), "the reader had moved on")

    def seen(self) -> list[str]:
        """One line a reading: store, version and what is wrong with it, if anything."""
        return (self.folder / "seen").read_text().splitlines()

    def wrong(self) -> list[str]:
        return [line for line in self.seen() if not line.endswith(" whole")]


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
        receipt = objects.read(f"{volume['path']}/receipt.json")
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
            url = (folder / "store").read_text()
            number = 0
            try:
                store = open_store(url)
                number = store.version["version"]
                check(store)
                assert url != before[0] or number >= before[1], f"went back from version {before[1]}"
                outcome = "whole"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
            before = url, number
            seen.write(f"{url} {number} {outcome}\n")
            seen.flush()
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
