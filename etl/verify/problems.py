"""The problems that verification finds in a store, and their repairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from etl.core.errors import StoreError
from etl.io.places import ObjectInfo, Objects, is_outage, object_info


class CountedReads:
    """Reads objects of a store and counts them and their bytes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.count = self.bytes = 0

    def read(self, name: str) -> bytes:
        """Return the object's bytes. Raise FileNotFoundError where there is none."""
        data = self._objects.read(name)
        self.count += 1
        self.bytes += len(data)
        return data

    def size(self, name: str) -> int | None:
        """Return the object's size in bytes, or None where there is none."""
        return self._objects.size(name)


class Repair(Enum):
    """The repair of a problem."""

    VOLUME = (
        "a damaged volume: delete the folder volumes/<volume_id>/<fingerprint>.ome.zarr that is named and "
        "the receipt next to it, then run the same build again; it converts it again, to the same bytes"
    )
    TABLE = (
        "a damaged table of the highest version: run the same build again; it writes the same bytes again "
        "(of an earlier version: bring the file back from a copy; the version file has its size and SHA-256)"
    )
    ADDED = (
        "a damaged table that a job added: bring the file back from a copy, or run the job that made it "
        "again (the version file names it as `made_by`), which writes the file again, or publishes the table "
        "in a new version where it is another now"
    )
    VERSION = (
        "a damaged version file: move versions/NNNNNN.json aside and run again what published it: the same "
        "build, which reuses the volumes and publishes the tables again, or the job that added tables, "
        "labels or a model (of an earlier version: bring the file back from a copy)"
    )
    LABELS = (
        "damaged labels: delete the folder labels/<volume_id>/<fingerprint>.ome.zarr that is named and the "
        "receipt next to it, then run the same deeplesion add again; it writes the same bytes again"
    )
    MODEL = "a damaged model: bring the file back from a copy, or train the model again"
    CONTENT = (
        "whole files that contradict each other: build into a new store and verify that; if it is wrong too, "
        "the fault is in this program, so report it with these lines"
    )
    ROOT = (
        "a damaged root: delete the store's store.json and run the same build again; it writes it again (of "
        "a store of contract 1: bring zarr.json back from a copy)"
    )
    PARENT = (
        "a missing, damaged or exchanged earlier or tagged version: bring its file back from a copy; this "
        "version reads without it"
    )
    TAG = (
        "a damaged tag: deeplesion versions STORE untag NAME, then tag NAME N, the version that it named; "
        "versions read without it"
    )
    MISNAMED = (
        "a version file under a name that no reader looks for: move it out of the folder versions, or bring "
        "it back under its own name of six digits if that version is missing"
    )


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: what is wrong.
        where: path relative to the store, and the row or field in it.
        repair: what to do about it.
        found, expected: the value as it is and as it should be; empty where `what` says it all.
    """

    what: str
    where: str
    repair: Repair
    found: str = ""
    expected: str = ""

    def __str__(self) -> str:
        values = [f"{name} {value}" for name in ("found", "expected") if (value := getattr(self, name))]
        # Messages of the libraries have line breaks; a problem is one line.
        return " ".join(f"{self.where}: {self.what}{': ' if values else ''}{', '.join(values)}".split())


def collect(problems: Iterator[Problem], where: str, repair: Repair) -> list[Problem]:
    """Return all problems of a check. If the check itself fails, its error is the last problem.

    Raises:
        OSError, MemoryError: as `describe` does.
    """
    found: list[Problem] = []
    try:
        found.extend(problems)
    except Exception as error:  # whatever a damaged file makes a library raise is a finding, not a failure
        found.append(Problem("can't be checked", where, repair, describe(error)))
    return found


def describe(error: Exception) -> str:
    """Return the error of a library in one line: its type and its text.

    Raises:
        OSError, MemoryError: it is one of the place or the machine, so that nothing is known about the store.
    """
    cause = error.__cause__ if isinstance(error, StoreError) else error
    if cause is not None and is_outage(cause):
        raise cause
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def differences(where: str, repair: Repair, values: Iterable[tuple[str, Any, Any]]) -> Iterator[Problem]:
    """Yield a problem for each (name, found, expected) that are not equal."""
    for name, found, expected in values:
        if found != expected:
            yield Problem(f"{name} is wrong", where, repair, repr(found), repr(expected))


def read_whole(
    reads: CountedReads, info: ObjectInfo, repair: Repair
) -> tuple[bytes | None, tuple[Problem, ...]]:
    """Read an object and check its size and SHA-256.

    Args:
        info: with the path relative to the store.

    Returns:
        (bytes, no problems), or (None, what is wrong).
    """
    try:
        data = reads.read(info.path)
    except FileNotFoundError:
        return None, (Problem("is missing", info.path, repair, expected=f"{info.bytes} bytes"),)
    except Exception as error:
        return None, (Problem("can't be read", info.path, repair, describe(error)),)
    if len(data) != info.bytes:
        sizes = f"{len(data)} bytes", f"{info.bytes} bytes"
        return None, (Problem("size is wrong", info.path, repair, *sizes),)
    sha256 = object_info(info.path, data).sha256
    if sha256 != info.sha256:
        return None, (Problem("SHA-256 is wrong", info.path, repair, sha256, info.sha256),)
    return data, ()
