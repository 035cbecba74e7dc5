"""The preview of a build: what it reuses, converts, rejects and fetches. Writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

from etl.convert.results import Conversion, Reusable, reject_volume
from etl.convert.reuse import find_all
from etl.core.config import Config
from etl.core.rejects import Reason, Reject
from etl.io.opening import open_objects, open_staging
from etl.io.places import StagingArea
from etl.plan.plan import Plan, PlannedVolume
from etl.publish.guards import check_before_work
from etl.run.task_memory import TaskMemory
from etl.staging.fetch import RemoteArchive, staging_readable
from etl.store.layout import CONTRACT_VERSION
from etl.store.versions import Version, read_version, readable

logger = logging.getLogger(__name__)

_OLDER_CONTRACT = (
    "%s follows version %d of the contract, this build version %d: volumes are converted again, because "
    "their encoding changed; versions that are there stay readable"
)


@dataclass(frozen=True, eq=False)
class Preview:
    """The work of a build of a plan, for `--plan` and for the build itself.

    Attributes:
        parent: current version of the store; None where nothing was published yet.
        reusable: volumes that the store has; those with unproven objects are read before they are reused.
        to_convert: the other volumes that fit into a worker's memory.
        too_large: rejections of those that do not fit.
        memory: memory for one task.
        staged_bytes: bytes in the staging area of each remote archive, whole or partial, by container number.
        free_bytes: bytes free at the store; None if unknown.
    """

    config: Config
    plan: Plan
    parent: Version | None
    reusable: tuple[Reusable, ...]
    to_convert: tuple[PlannedVolume, ...]
    too_large: tuple[Conversion, ...]
    memory: TaskMemory
    staged_bytes: Mapping[int, int]
    free_bytes: int | None

    @cached_property
    def fates(self) -> dict[str, str]:
        """`convert`, `reuse`, `check` (read, then reuse) or `reject`, by volume_id."""
        fates = {volume.volume_id: "convert" for volume in self.plan.volumes}
        fates |= {r.conversion.planned_id: "check" if r.unproven else "reuse" for r in self.reusable}
        return fates | {conversion.planned_id: "reject" for conversion in self.too_large}

    @property
    def rejects(self) -> list[Reject]:
        """The rejects that are known before any pixel is read."""
        return [*self.plan.rejects, *(reject for c in self.too_large for reject in c.rejects)]

    @property
    def to_fetch(self) -> set[int]:
        """Container numbers of the remote archives of the volumes to convert."""
        remote = self.plan.index.remote
        return {n for volume in self.to_convert for n in volume.container_numbers if n in remote}

    @property
    def needs_workers(self) -> bool:
        """True if any volume is to be converted or read."""
        return len(self.reusable) < len(self.plan.volumes) or any(r.unproven for r in self.reusable)


def make_preview(config: Config, plan: Plan, memory: TaskMemory) -> Preview:
    """Look up what the store and the staging area hold already.

    Raises:
        StoreError: the store can't be read.
        ConfigError: the staging area can't be read.
    """
    objects = open_objects(config.store)
    with readable(objects):
        parent, free_bytes = read_version(objects), objects.free_bytes()
    if parent is not None and parent["contract_version"] < CONTRACT_VERSION:
        logger.warning(_OLDER_CONTRACT, objects.root, parent["contract_version"], CONTRACT_VERSION)
    reusable = find_all(config.store, plan)
    present = {found.conversion.planned_id for found in reusable}
    missing = [volume for volume in plan.volumes if volume.volume_id not in present]
    to_convert, too_large = split_fitting(plan, missing, memory.most_bytes)
    return Preview(
        config,
        plan,
        parent,
        tuple(reusable),
        tuple(to_convert),
        tuple(too_large),
        memory,
        _staged_bytes(config, plan) if to_convert else {},
        free_bytes,
    )


def check_guards(preview: Preview) -> None:
    """Raise GuardError if a guard is already certain to refuse what the build will publish.

    Nothing is certain while archives are unread: they may hold the slices that are missing.
    """
    if preview.plan.index.unread:
        return
    check_before_work(preview.plan, preview.rejects, preview.parent, preview.config.limits)


def split_fitting(
    plan: Plan, volumes: Iterable[PlannedVolume], most_bytes: int | None
) -> tuple[list[PlannedVolume], list[Conversion]]:
    """Return (those of a plan's volumes that fit into the largest worker, rejections of the others).

    Args:
        most_bytes: the largest worker's memory for one task; None without a limit.
    """
    fitting, rejected = [], []
    for volume in volumes:
        needed = volume.peak_bytes
        if most_bytes is None or needed <= most_bytes:
            fitting.append(volume)
            continue
        message = f"it needs {needed:,} bytes; the largest worker has {most_bytes:,} for a task"
        rejected.append(reject_volume(volume, plan.index.containers, Reason.VOLUME_TOO_LARGE, message))
    return fitting, rejected


def archive_bytes(area: StagingArea, archive: RemoteArchive) -> int:
    """Return the bytes of an archive in the staging area, whole or partial."""
    return area.size(archive.staged_name) or area.part_bytes(archive.staged_name)


def _staged_bytes(config: Config, plan: Plan) -> dict[int, int]:
    if config.source.staging is None:
        return {}
    area, remote = open_staging(config.source.staging), plan.index.remote
    with staging_readable(config.source.staging), ThreadPoolExecutor(8) as pool:
        return dict(zip(remote, pool.map(partial(archive_bytes, area), remote.values()), strict=True))
