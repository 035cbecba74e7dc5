"""Published versions: `versions/NNNNNN.json`, each created once, whole, never changed.

A version names every table file and volume with size and SHA-256. The highest number is current. Each holds a
checksum of its own and the SHA-256 of its parent's file, so that no version is changed or exchanged unseen.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from etl.core.counted import first_of
from etl.core.errors import RunError, StoreError, explained
from etl.io.places import Objects
from etl.store.layout import (
    CONTRACT_VERSION,
    READABLE_CONTRACTS,
    ROOT,
    VERSIONS,
    root_metadata,
    to_json,
    version_path,
)
from etl.store.sealed import sealed
from etl.store.summaries import write_summary

_NAME = re.compile(rf"{VERSIONS}/([0-9]{{6}}|[1-9][0-9]{{6,}})\.json\Z")
_NUMBER = re.compile(rf"{VERSIONS}/[0-9]+\.json\Z")

# How many faults of a version file a message holds.
_FAULTS_SHOWN = 3

Version = Mapping[str, Any]

OWN_KEYS = ("contract_version", "version", "parent", "parent_sha256", "sha256")
"""Keys of a version that publishing gives it; those of the version that it was made from are left out."""


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
    return numbers_among(objects.list(VERSIONS))


def numbers_among(names: Iterable[str]) -> list[int]:
    """Return the numbers of the versions whose files are among these names, ascending."""
    matches = (_NAME.match(name) for name in names)
    return sorted(int(match[1]) for match in matches if match)


def misnamed_among(names: Iterable[str]) -> list[str]:
    """Return the files that are named by a number as no version is, such as `versions/0000004.json`."""
    return sorted(name for name in names if _NUMBER.match(name) and not _NAME.match(name))


def readable(objects: Objects) -> AbstractContextManager[None]:
    """Turn an OSError while a store is read into a StoreError."""
    remedy = "check its place, permissions or credentials, and the network"
    return explained(StoreError, "the store can't be read", where=objects.root, remedy=remedy)


def writable(objects: Objects) -> AbstractContextManager[None]:
    """Turn an OSError while a store is written, before any work, into a StoreError."""
    remedy = "change its permissions, free some space, or set `store` to another place"
    return explained(StoreError, "the store can't be written", where=objects.root, remedy=remedy)


def read_version(objects: Objects, number: int | None = None) -> Version | None:
    """Return a version, the current one by default; None where nothing was published yet.

    Versions are listed to find the current one only.

    Raises:
        StoreError: there is no version of that number, or its file is damaged. See `version_file.faults`.
        OSError: the store can't be read.
    """
    return _current(objects)[0] if number is None else read_with_sha256(objects, number)[0]


def read_with_sha256(objects: Objects, number: int) -> tuple[Version, str]:
    """Return a version and the SHA-256 of its file, by which the next one names it; see `read_version`."""
    from etl.store.version_file import faults

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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where, f"{type(error).__name__}: {error}") from error
    if contract not in READABLE_CONTRACTS:
        raise StoreError(
            "the store follows another contract, or the version file is damaged",
            where=where,
            value=contract,
            allowed=f"contract version {' or '.join(map(str, READABLE_CONTRACTS))}",
            remedy="use the release of this package that wrote it, or build into a new store",
        )
    if found := list(itertools.islice(faults(version, number), _FAULTS_SHOWN + 1)):
        raise _damaged(where, first_of(found, _FAULTS_SHOWN, "; "))
    return dict(version), hashlib.sha256(data).hexdigest()


def _damaged(where: str, value: str) -> StoreError:
    return StoreError(
        "the version file is damaged",
        where=where,
        value=value,
        allowed="a version file as it was published, under its own number",
        remedy="bring the file back from a copy, or move it out of the folder and run the same build again; "
        "other versions can be read by their number",
    )


def under_new_run(version: Version, run_id: str, rollback_of: int | None = None) -> dict[str, Any]:
    """Return the content of a version for a run that publishes it again, or with changes."""
    head = {"run_id": run_id, "created_at": now_text(), "rollback_of": rollback_of}
    return head | {key: value for key, value in version.items() if key not in {*head, *OWN_KEYS}}


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
        body_on: called with the parent before each attempt; returns the version, with this `run_id`, its
            `OWN_KEYS` ignored; None where the parent will do; or raises to refuse.
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
        parent, parent_sha256 = _current(objects)
        body = body_on(parent)
        if body is None:
            assert parent is not None
            return parent
        number = (parent["version"] if parent else 0) + 1
        head = {"contract_version": CONTRACT_VERSION, "version": number}
        head |= {"parent": parent["version"] if parent else None, "parent_sha256": parent_sha256}
        version = sealed(head | {key: value for key, value in body.items() if key not in OWN_KEYS})
        objects.create(ROOT, root_metadata())
        if objects.create(version_path(number), to_json(version)):
            write_summary(objects, version)
            return version
        # The name is taken: by another run, or by this one where the reply to a create was lost.
        taken = read_version(objects, number)
        if taken and taken["run_id"] == run_id:
            write_summary(objects, taken)
            return taken
    raise RunError(
        "the next version's number is taken at every attempt; nothing was published",
        where=f"{objects.root}/{version_path(number)}",
        value=f"version {number - 1} is current, and {number} exists after {attempts} attempts",
        allowed="each version file has its own number inside and in its name",
        remedy="move a version file that was copied or renamed out of the folder, or run again when fewer "
        "runs publish; what was converted is kept",
    )


def _current(objects: Objects) -> tuple[Version | None, str | None]:
    numbers = version_numbers(objects)
    return read_with_sha256(objects, numbers[-1]) if numbers else (None, None)
