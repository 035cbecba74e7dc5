"""Reuse of volumes that earlier builds wrote: found by their receipts, proven by reading where needed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from etl.convert.pixels import readable_parts, unreadable_slices
from etl.convert.results import Conversion, Reusable, conversion_of
from etl.core.counted import counted
from etl.core.errors import SliceError
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.plan.plan import Plan, PlannedVolume
from etl.release.index import Container
from etl.release.slices import ArchiveLostError
from etl.store.layout import receipt_path
from etl.store.receipts import find_receipt, prove, read_split
from etl.store.versions import Version, readable

logger = logging.getLogger(__name__)

Run = Callable[[Callable[[PlannedVolume], str], Sequence[PlannedVolume]], Generator[str, None, None]]


def find(store: str, containers: Sequence[Container], planned: PlannedVolume) -> Reusable | None:
    """Return the result of an earlier build for a run if all that it wrote exists, else None. Read only."""
    objects = open_objects(store)
    built = [(planned, find_receipt(objects, planned.volume_id, planned.fingerprint))]
    unreadable: dict[int, SliceError] = {}
    if built[0][1] is None:
        record = read_split(objects, planned.volume_id, planned.fingerprint)
        if record is None:
            return None
        # Read again: a damaged archive may have been replaced by one with the same directory.
        indices = [index for index, _, _ in record.unreadable]
        among = planned.slices[np.isin(planned.slices["index"], indices)]
        try:
            unreadable = unreadable_slices(planned, among, containers)
        except (ArchiveLostError, OSError):
            return None
        parts = readable_parts(planned, unreadable)
        built = [(part, find_receipt(objects, part.volume_id, part.fingerprint)) for part in parts]
    receipts = tuple((part, found.receipt) for part, found in built if found is not None)
    if len(receipts) < len(built):
        return None
    unproven = tuple(found for _, found in built if found is not None and not found.is_last)
    return Reusable(conversion_of(planned, containers, receipts, unreadable=unreadable), unproven)


def proven(store: str, containers: Sequence[Container], planned: PlannedVolume) -> Conversion | None:
    """Return the result of an earlier build for a run if all that it wrote exists and has the right bytes.

    Raises:
        OSError: the store can't be read or written.
    """
    found, objects = find(store, containers, planned), open_objects(store)
    if found is None or not all(prove(objects, receipt) for receipt in found.unproven):
        return None
    return found.conversion


def find_all(store: str, plan: Plan) -> list[Reusable]:
    """Return the planned volumes that the store has complete, in the plan's order. Read only.

    Raises:
        StoreError: the store can't be read.
    """
    objects = open_objects(store)
    search = partial(find, objects.root, plan.index.containers)
    with readable(objects), ThreadPoolExecutor(8) as pool:
        return [found for found in pool.map(search, plan.volumes) if found is not None]


@dataclass(frozen=True)
class _Proof:
    """Returns the volume_id of a planned volume that is proven, else ""; the driver has the rest of it."""

    store: str
    containers: tuple[Container, ...]

    def __call__(self, planned: PlannedVolume) -> str:
        return planned.volume_id if proven(self.store, self.containers, planned) else ""


def proven_all(
    store: str, plan: Plan, parent: Version | None, found: Sequence[Reusable], run: Run
) -> Generator[Conversion, None, None]:
    """Yield the conversions that are proven: at once where receipts prove it, else once the volume was read.

    A receipt that is not the one that the current version names is damaged, and deleted: its volume is
    converted again.

    Args:
        parent: current version of the store.
        found: result of `find_all`.
        run: calls a function for each item in some process and yields the results in any order.

    Raises:
        OSError: the store can't be read or written.
    """
    damaged = _delete_damaged(open_objects(store), parent, found)
    found = [reusable for reusable in found if reusable.conversion.planned_id not in damaged]
    unproven = {
        reusable.conversion.planned_id: reusable.conversion for reusable in found if reusable.unproven
    }
    yield from (reusable.conversion for reusable in found if not reusable.unproven)
    if not unproven:
        return
    logger.info(
        "reading %s with objects that were written after their receipt", counted(len(unproven), "volume")
    )
    volumes = [volume for volume in plan.volumes if volume.volume_id in unproven]
    proof = _Proof(open_objects(store).root, plan.index.containers)
    with contextlib.closing(run(proof, volumes)) as results:
        yield from (unproven[volume_id] for volume_id in results if volume_id)


def _delete_damaged(objects: Objects, parent: Version | None, found: Sequence[Reusable]) -> set[str]:
    """Delete receipts that are not those of the current version; return the ids of their planned volumes."""
    expected = {entry["path"]: entry["sha256"] for entry in parent["volumes"]} if parent else {}
    damaged = set()
    for reusable in found:
        for _, receipt in reusable.conversion.built:
            if receipt.info().sha256 != expected.get(receipt.path, receipt.info().sha256):
                name = receipt_path(receipt.path)
                logger.warning("%s is not the one that the version names: converting again", name)
                objects.remove(name)
                damaged.add(reusable.conversion.planned_id)
    return damaged
