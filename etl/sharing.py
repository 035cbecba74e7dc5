"""Do the workers see what the driver sees? Asked once before any work, of every worker."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from etl.errors import ConfigError, EtlError, StoreError
from etl.release.blobs import BlobError
from etl.release.staging_areas import PartGoneError, open_staging
from etl.store.objects import PARTIAL, Objects, object_info, open_objects
from etl.store.versions import writable

_PROBE = b"deeplesion-store: do all workers see this?"


@dataclass(frozen=True)
class _Look:
    """Reads the probes; a value that travels to workers."""

    store: str
    store_probe: str
    staging: str | None
    staging_probe: str

    def __call__(self) -> tuple[bool, bool]:
        try:
            sees_store = open_objects(self.store).read(self.store_probe) == _PROBE
        except OSError:
            sees_store = False
        if self.staging is None:
            return sees_store, True
        try:
            sees_staging = b"".join(open_staging(self.staging).read_part(self.staging_probe)) == _PROBE
        except (OSError, BlobError, PartGoneError):
            sees_staging = False
        return sees_store, sees_staging


def check_shared(
    everywhere: Callable[[Callable[[], tuple[bool, bool]]], Mapping[str, tuple[bool, bool]]],
    objects: Objects,
    staging: str | None,
) -> None:
    """See that every worker reads what the driver writes, in the store and in the staging area.

    Args:
        everywhere: calls a function in every worker and gives the results by the worker's name.

    Raises:
        StoreError, ConfigError: naming the place and the workers that don't see it.
    """
    name = f"probe-{uuid.uuid4().hex}"
    look = _Look(objects.root, f"{PARTIAL}/{name}", staging, name)
    area = open_staging(staging) if staging else None
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
        # Where these fail, the place is as bad as it was.
        with contextlib.suppress(OSError):
            objects.remove(look.store_probe)
        if area is not None:
            with contextlib.suppress(OSError):
                area.discard(name)
    for place, key, kind, found in (
        (objects.root, "store", StoreError, [sees for sees, _ in answers.values()]),
        (staging, "source.staging", ConfigError, [sees for _, sees in answers.values()]),
    ):
        blind = [worker for worker, sees in zip(answers, found, strict=True) if not sees]
        if blind:
            raise _blind(kind, key, str(place), blind)


@dataclass(frozen=True)
class _Digest:
    """Of an object, None where it can't be read; a value that travels to workers."""

    store: str
    name: str

    def __call__(self) -> str | None:
        try:
            return object_info(self.name, open_objects(self.store).read(self.name)).sha256
        except OSError:
            return None


def check_seen(
    everywhere: Callable[[Callable[[], str | None]], Mapping[str, str | None]], objects: Objects, name: str
) -> None:
    """See that every worker reads an object of the store as the driver does. Writes nothing.

    Args:
        everywhere: calls a function in every worker and gives the results by the worker's name.

    Raises:
        StoreError: naming the workers that don't see it.
    """
    look = _Digest(objects.root, name)
    expected = look()
    blind = [worker for worker, seen in everywhere(look).items() if seen != expected]
    if blind:
        raise _blind(StoreError, "store", objects.root, blind)


def _blind(kind: type[EtlError], key: str, place: str, blind: list[str]) -> EtlError:
    return kind(
        "workers don't see what the driver sees",
        where=key,
        value=f"{place}: not seen by {len(blind)} workers, such as {', '.join(blind[:3])}",
        allowed="a place that the driver and every worker reach under the same name",
        remedy=f"set `{key}` to a folder of a shared file system, or to a bucket",
    )
