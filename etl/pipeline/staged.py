"""Work that goes through the staging area: archives fetched before planning, and the queue of a build."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from etl.convert.convert import Converter
from etl.core.config import Config
from etl.core.rejects import Reject
from etl.io.opening import open_staging
from etl.pipeline.callback import Callback
from etl.pipeline.preview import archive_bytes
from etl.pipeline.queue import Conversions, Fetches
from etl.plan.plan import Plan, PlannedVolume
from etl.run.protocol import Executor
from etl.staging.directories import DirectoryFetcher
from etl.staging.fetch import Fetched, Fetcher, RemoteArchive

logger = logging.getLogger(__name__)


def fetch_archives(
    config: Config, archives: Sequence[RemoteArchive], executor: Executor, callback: Callback
) -> dict[str, Reject]:
    """Fetch archives, or only their directories if archives are not kept; return the rejects by URL."""
    assert config.source.staging is not None  # the caller checks
    staging = open_staging(config.source.staging).root
    fetch = Fetcher(staging) if config.source.keep_archives else DirectoryFetcher(staging)
    lost = {}
    queue = Fetches(archives, fetch, config.source.downloads)
    with contextlib.closing(executor.execute(queue)) as results:
        for fetched in results:
            log_delay(fetched)
            callback.on_fetch(fetched)
            if fetched.reject:
                lost[fetched.archive.url] = fetched.reject
    return lost


def conversion_queue(
    config: Config, plan: Plan, converter: Converter, volumes: Sequence[PlannedVolume]
) -> Conversions:
    """Return the queue that converts some of a plan's volumes, with archives in place or staged.

    A staged archive that can't be removed is logged and stays: that costs space, not the run.

    Args:
        converter: reads the plan's containers in place.
    """
    if config.source.staging is None or not plan.index.remote:
        return Conversions(volumes, converter, {})
    area, remote = open_staging(config.source.staging), plan.index.remote

    def remove(archive: RemoteArchive) -> bool:
        try:
            if archive_bytes(area, archive):
                area.remove(archive.staged_name)
                area.discard(archive.staged_name)
                logger.info("%s is no longer needed: removed from the staging area", archive.name)
        except OSError as error:
            logger.warning(
                "%s is no longer needed, and can't be removed from source.staging, %s: %s; remove it by "
                "hand, or correct its permissions: the next run removes it",
                archive.name,
                config.source.staging,
                error,
            )
            return False
        return True

    if not config.source.keep_archives:
        needed = {number for volume in volumes for number in volume.container_numbers}
        unneeded = (archive for number, archive in remote.items() if number not in needed)
        # The first failure ends this: the others would fail too, with a line each.
        all(remove(archive) for archive in unneeded)
    staged = tuple(
        replace(c, path=area.url(remote[n].staged_name), tag="", is_staged=True) if n in remote else c
        for n, c in enumerate(plan.index.containers)
    )
    return Conversions(
        volumes,
        replace(converter, containers=staged),
        remote,
        Fetcher(area.root),
        downloads=config.source.downloads,
        keep_archives=config.source.keep_archives,
        remove=remove,
    )


def log_delay(fetched: Fetched) -> None:
    """Log in the driver that a worker waits for a server: nobody reads the workers' logs."""
    if fetched.delay:
        logger.warning("%s: %s", fetched.archive.name, fetched.delay)
