"""The staging area of a build: what lies there, and the work that goes through it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from etl.convert.convert import Converter
from etl.core.config import Config
from etl.core.errors import ConfigError
from etl.io.opening import open_staging
from etl.io.places import StagingArea
from etl.pipeline.queue import Conversions
from etl.plan.plan import Plan, PlannedVolume
from etl.staging.fetch import Fetched, Fetcher, RemoteArchive

logger = logging.getLogger(__name__)


def find_staged(config: Config, plan: Plan) -> dict[int, int]:
    """Bytes in the staging area of each remote archive, whole or in part, by container number.

    Raises:
        ConfigError: the staging area can't be read.
    """
    if config.source.staging is None:
        return {}
    area, remote = open_staging(config.source.staging), plan.index.remote
    try:
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(remote, pool.map(partial(_bytes_there, area), remote.values()), strict=True))
    except OSError as error:
        raise ConfigError(
            "the staging area can't be read",
            where="source.staging",
            value=f"{config.source.staging}: {error}",
            remedy="change its permissions, or set source.staging to another place",
        ) from error


def conversions_of(
    config: Config, plan: Plan, converter: Converter, volumes: Sequence[PlannedVolume]
) -> Conversions:
    """The work of converting some of a plan's volumes: in place, or through the staging area.

    An archive that can't be removed is told of in the log, and stays: that costs room, not the run.

    Args:
        converter: of the plan; reads archives from where they lie.
    """
    if config.source.staging is None or not plan.index.remote:
        return Conversions(volumes, converter, {})
    area, remote = open_staging(config.source.staging), plan.index.remote

    def remove(archive: RemoteArchive) -> bool:
        try:
            if _bytes_there(area, archive):
                area.remove(archive.staged_name)
                area.discard(archive.staged_name)
                logger.info("%s is done: removed from the staging area", archive.name)
        except OSError as error:
            logger.warning(
                "%s is done, and can't be removed from source.staging, %s: %s; remove it by hand, or mend "
                "its permissions: the next run removes it",
                archive.name,
                config.source.staging,
                error,
            )
            return False
        return True

    if not config.source.keep_archives:
        wanted = {number for volume in volumes for number in volume.container_numbers}
        done = (archive for number, archive in remote.items() if number not in wanted)
        # Where one fails, all would, with a line each.
        all(remove(archive) for archive in done)
    staged = tuple(
        replace(c, path=area.url(remote[n].staged_name), tag="", is_staged=True) if n in remote else c
        for n, c in enumerate(plan.index.containers)
    )
    return Conversions(
        volumes,
        replace(converter, containers=staged),
        remote,
        Fetcher(config.source.staging),
        downloads=config.source.downloads,
        keep_archives=config.source.keep_archives,
        remove=remove,
    )


def tell_delay(fetched: Fetched) -> None:
    """Say in the driver's log, which is the one that people read, that a worker waits, and for what."""
    if fetched.delay:
        logger.warning("%s: %s", fetched.archive.name, fetched.delay)


def _bytes_there(area: StagingArea, archive: RemoteArchive) -> int:
    return area.size(archive.staged_name) or area.part_bytes(archive.staged_name)
