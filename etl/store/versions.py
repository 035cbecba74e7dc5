"""Published versions: `versions/NNNNNN.json`, each created once, whole, never changed.

A version names every table file and volume with size and SHA-256. The highest number is current.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etl.core.errors import RunError, StoreError
from etl.io.places import Objects
from etl.store.layout import CONTRACT_VERSION, VERSIONS, to_json, version_path

_NAME = re.compile(rf"{VERSIONS}/([0-9]{{6}}|[1-9][0-9]{{6,}})\.json\Z")

# How many faults of a version file a message holds.
_FAULTS_SHOWN = 3

Version = Mapping[str, Any]


def new_run_id() -> str:
    """Return a new name for one run that sorts by time: `20261123T160000Z-1a2b3c4d`."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def now_text() -> str:
    """Return the time as versions and marks keep it: ISO 8601, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def table_entries(version: Version) -> list[Mapping[str, Any]]:
    """Return every table file that a version names: path, bytes, sha256, rows."""
    return [entry for files in version["tables"].values() for entry in files]


def version_numbers(objects: Objects) -> list[int]:
    """Return the numbers of all published versions, ascending."""
    matches = (_NAME.match(name) for name in objects.list(VERSIONS))
    return sorted(int(match[1]) for match in matches if match)


@contextlib.contextmanager
def readable(objects: Objects) -> Iterator[None]:
    """Turn an OSError while a store is read into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            "the store can't be read",
            where=objects.root,
            value=str(error),
            remedy="check its place, permissions or credentials, and the network",
        ) from error


@contextlib.contextmanager
def writable(objects: Objects) -> Iterator[None]:
    """Turn an OSError while a store is written, before any work, into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            "the store can't be written",
            where=objects.root,
            value=str(error),
            remedy="change its permissions, free some space, or set `store` to another place",
        ) from error


def read_version(objects: Objects, number: int | None = None) -> Version | None:
    """Return a version, the current one by default; None where nothing was published yet.

    Versions are listed to find the current one only.

    Raises:
        StoreError: there is no version of that number, or its file is damaged. See `version_file.faults`.
        OSError: the store can't be read.
    """
    from etl.store.version_file import faults

    if number is None:
        numbers = version_numbers(objects)
        if not numbers:
            return None
        number = numbers[-1]
    where = f"{objects.root}/{version_path(number)}"
    try:
        data = objects.read(version_path(number))
    except FileNotFoundError as error:
        known = ", ".join(map(str, version_numbers(objects)[-10:])) or "none"
        raise StoreError(
            "no such version", where=where, value=number, allowed=f"published: {known}"
        ) from error
    try:
        version = json.loads(data)
        contract = version["contract_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error
    if contract != CONTRACT_VERSION:
        raise StoreError(
            "the store follows another contract",
            where=where,
            value=contract,
            allowed=f"contract version {CONTRACT_VERSION}",
            remedy="use the release of this package that wrote it, or build into a new store",
        )
    if found := list(faults(version, number)):
        raise _damaged(where, "; ".join(found[:_FAULTS_SHOWN]) + (" ..." if found[_FAULTS_SHOWN:] else ""))
    return dict(version)


def _damaged(where: str, value: str) -> StoreError:
    return StoreError(
        "the version file is damaged",
        where=where,
        value=value,
        allowed="a version file as it was published, under its own number",
        remedy="bring the file back from a copy, or move it out of the folder and run the same build again; "
        "other versions can be read by their number",
    )


def choose_version(objects: Objects, number: int | None = None) -> int:
    """Return the number of a version that is there, the current one by default.

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


def publish_version(
    objects: Objects,
    run_id: str,
    body_on: Callable[[Version | None], Version | None],
    attempts: int = 20,
    wait_s: float = 0.1,
) -> Version:
    """Create the next version file, on top of whatever is current at that moment.

    Args:
        run_id: of the run that publishes.
        body_on: called with the parent before each attempt; returns the version without `version`, `parent`
            and `contract_version`, with this `run_id`; None where the parent will do; or raises to refuse.
        attempts: how many times another run may take the next number first.
        wait_s: before the second attempt; twice as long before each further one, up to 5 s.

    Returns:
        The version as published, or the parent.

    Raises:
        RunError: the next number was taken at every attempt.
    """
    number = 0
    for attempt in range(attempts):
        if attempt:
            time.sleep(min(5.0, wait_s * 2 ** (attempt - 1)))
        parent = read_version(objects)
        body = body_on(parent)
        if body is None:
            assert parent is not None
            return parent
        number = (parent["version"] if parent else 0) + 1
        head = {"contract_version": CONTRACT_VERSION, "version": number}
        version = head | {"parent": parent["version"] if parent else None} | dict(body)
        if objects.create(version_path(number), to_json(version)):
            return version
        # The name is taken: by another run, or by this one where the reply to a create was lost.
        taken = read_version(objects, number)
        if taken and taken["run_id"] == run_id:
            return taken
    raise RunError(
        "the next version's number is taken at every attempt; nothing was published",
        where=f"{objects.root}/{version_path(number)}",
        value=f"version {number - 1} is current, and {number} exists after {attempts} attempts",
        allowed="each version file has its own number inside and in its name",
        remedy="move a version file that was copied or renamed out of the folder, or run again when fewer "
        "runs publish; what was converted is kept",
    )
