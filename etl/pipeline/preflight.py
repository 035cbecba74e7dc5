"""Checks before any work: the places of the config, and what every worker reads and can write there."""

from __future__ import annotations

import contextlib
import glob
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from etl.core.config import Config
from etl.core.counted import counted
from etl.core.errors import ConfigError, EtlError, StoreError
from etl.core.urls import is_local, parse_place
from etl.io.opening import open_objects, open_staging
from etl.io.places import PARTIAL, Objects, PartGoneError, object_info
from etl.pipeline.room import check_any_room
from etl.store.layout import VERSIONS
from etl.store.root import check_root
from etl.store.versions import readable, writable

_PROBE = b"deeplesion-store: do all workers see this?"


@dataclass(frozen=True)
class Seen:
    """A worker's access to a place.

    Attributes:
        reads: it reads what the driver wrote.
        refused: error of its read where something is there, or of its own write; empty without one.
    """

    reads: bool = True
    refused: str = ""


Seeing = tuple[Seen, Seen]
"""Access to the store, and to the staging area."""


@dataclass(frozen=True)
class _Look:
    """Reads the driver's probes and writes its own; a value that travels to workers."""

    store: str
    store_probe: str
    staging: str | None
    staging_probe: str

    def __call__(self) -> Seeing:
        own = f"probe-{uuid.uuid4().hex}"
        objects = open_objects(self.store)

        def write_store() -> None:
            objects.write(f"{PARTIAL}/{own}", _PROBE)
            objects.remove(f"{PARTIAL}/{own}")

        in_store = _tried(lambda: objects.read(self.store_probe), write_store)
        if self.staging is None:
            return in_store, Seen()
        area = open_staging(self.staging)

        def write_staging() -> None:
            area.append(own, 0, _PROBE)
            area.discard(own)

        return in_store, _tried(lambda: b"".join(area.read_part(self.staging_probe)), write_staging)


def _tried(read: Callable[[], bytes], write: Callable[[], None]) -> Seen:
    """Return the access. A worker that reads other bytes sees another place, so it writes nothing there."""
    try:
        if read() != _PROBE:
            return Seen(reads=False)
    except OSError as error:
        return Seen(reads=False, refused=_reason(error))
    try:
        write()
    except OSError as error:
        return Seen(refused=_reason(error))
    return Seen()


def _reason(error: OSError) -> str:
    """Return the error as text; empty where nothing is there, as on a machine with a folder of its own."""
    absent = isinstance(error, FileNotFoundError | NotADirectoryError | PartGoneError)
    return "" if absent else f"{type(error).__name__}: {error}"


def check_shared(
    everywhere: Callable[[Callable[[], Seeing]], Mapping[str, Seeing]],
    objects: Objects,
    staging: str | None,
) -> None:
    """Check that every worker reads what the driver writes and can write, in the store and the staging area.

    Args:
        everywhere: calls a function in every worker and returns the results by the worker's name.

    Raises:
        StoreError, ConfigError: naming the place and the workers that don't see it or can't write there.
    """
    name = f"probe-{uuid.uuid4().hex}"
    area = open_staging(staging) if staging else None
    # Workers have other working folders, so they get the whole path.
    look = _Look(objects.root, f"{PARTIAL}/{name}", area.root if area else None, name)
    with writable(objects):
        objects.write(look.store_probe, _PROBE)
    try:
        if area is not None:
            try:
                area.append(name, 0, _PROBE)
            except OSError as error:
                raise ConfigError(
                    "the staging area can't be written",
                    where="source.staging",
                    value=f"{staging}: {error}",
                    remedy="change its permissions, free some space, or set source.staging to another place",
                ) from error
        answers = everywhere(look)
    finally:
        # A failure leaves a small file behind and is no reason to stop.
        with contextlib.suppress(OSError):
            objects.remove(look.store_probe)
        if area is not None:
            with contextlib.suppress(OSError):
                area.discard(name)
    for place, key, kind, found in (
        (objects.root, "store", StoreError, {worker: seen for worker, (seen, _) in answers.items()}),
        (staging, "source.staging", ConfigError, {worker: seen for worker, (_, seen) in answers.items()}),
    ):
        blind = {worker: seen.refused for worker, seen in found.items() if not seen.reads}
        if blind:
            raise _blind(kind, key, str(place), blind)
        refused = [f"{worker} ({seen.refused})" for worker, seen in found.items() if seen.refused]
        if refused:
            raise kind(
                "workers can't write where the driver writes",
                where=key,
                value=f"{place}: not writable for {counted(len(refused), 'worker')}, such as "
                + ", ".join(refused[:3]),
                allowed="a place in which every worker may write and delete",
                remedy="start the workers as a user who may write there, mount it writable where they run, "
                "or give them credentials that may write and delete",
            )


def check_places(config: Config) -> None:
    """Check the place of the store before the release is read. Writes nothing.

    Raises:
        ConfigError: the store lies inside the source, or the source inside the store.
        StoreError: no store can be in that place.
    """
    objects = open_objects(config.store)
    root = objects.root
    if not is_local(root):
        with readable(objects):
            next(objects.list(VERSIONS), None)
            check_root(objects)
        return
    store, source = os.path.realpath(root), config.source
    images = [source.images] if isinstance(source.images, str) else list(source.images or ())
    files = [source.annotations.url, *(file.url for file in source.archives or ())]
    for key, places in (("source.images", images), ("source", files)):
        for place in places:
            for found in _matches(place):
                holds_store = key == "source.images" and _is_inside(store, found)
                if holds_store or _is_inside(found, store):
                    raise ConfigError(
                        "the store lies inside its source"
                        if holds_store
                        else "the source lies inside the store",
                        where=f"store, {key}",
                        value=f"{store}, {found}",
                        allowed="two places of which none is inside the other",
                        remedy="set `store` to another folder",
                    )
    existing = root
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    is_folder = os.path.isdir(existing)
    if not is_folder or not os.access(existing, os.W_OK | os.X_OK):
        raise StoreError(
            "the store can't be written",
            where=root,
            value=f"{existing} is no folder"
            if not os.path.isdir(existing)
            else f"no permission in {existing}",
            allowed="a folder that this user may write",
            remedy="change its permissions, or set `store` to another folder",
        )
    with readable(objects):
        check_root(objects)
        check_any_room(objects)


def _matches(place: str) -> list[str]:
    """Return the real local paths of a path or glob; none for a URL or a word such as `official`."""
    path = parse_place(place)
    return [os.path.realpath(found) for found in glob.glob(path) or [path]] if is_local(path) else []


def _is_inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


Digest = tuple[str | None, str]
"""SHA-256 of an object, None if it can't be read; the error of that."""


@dataclass(frozen=True)
class _Digest:
    """Returns the SHA-256 of an object and "", or None and an error; a value that travels to workers."""

    store: str
    name: str

    def __call__(self) -> Digest:
        try:
            return object_info(self.name, open_objects(self.store).read(self.name)).sha256, ""
        except OSError as error:
            return None, _reason(error)


def check_seen(
    everywhere: Callable[[Callable[[], Digest]], Mapping[str, Digest]], objects: Objects, name: str
) -> None:
    """Check that every worker reads the same bytes of an object of the store as the driver. Read only.

    Args:
        everywhere: calls a function in every worker and returns the results by the worker's name.

    Raises:
        StoreError: naming the workers that don't.
    """
    look = _Digest(objects.root, name)
    expected, _ = look()
    blind = {worker: why for worker, (seen, why) in everywhere(look).items() if seen != expected}
    if blind:
        raise _blind(StoreError, "store", objects.root, blind)


def _blind(kind: type[EtlError], key: str, place: str, blind: Mapping[str, str]) -> EtlError:
    """Return the error about workers, each with the error of its read; empty where nothing was there."""
    shown = [f"{worker} ({why})" if why else worker for worker, why in blind.items()]
    return kind(
        "workers don't see what the driver sees",
        where=key,
        value=f"{place}: not seen by {counted(len(blind), 'worker')}, such as {', '.join(shown[:3])}",
        allowed="a place that the driver and every worker reach under the same name",
        remedy="give the workers the permissions, credentials or network that they lack"
        if all(blind.values())
        else f"set `{key}` to a folder of a shared file system, or to a bucket",
    )
