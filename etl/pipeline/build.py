"""The whole line: release -> plan -> convert -> publish. Where the work happens is the executor's affair."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from etl.convert.results import Conversion, Lost
from etl.convert.reuse import converter_of, find_reusable, reusable
from etl.core.config import Config
from etl.core.errors import RunError, SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import public_url
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.pipeline.capacity import split_fitting
from etl.pipeline.overlap import heed_overlap
from etl.pipeline.preflight import check_shared
from etl.pipeline.queue import Fetches
from etl.pipeline.run_record import Record, recorded
from etl.pipeline.staged import conversions_of, tell_delay
from etl.plan.plan import Plan, make_plan
from etl.plan.source import read_annotations, read_index
from etl.publish.publish import Published, publish
from etl.run.protocol import Executor
from etl.staging.directories import DirectoryFetcher
from etl.staging.fetch import Fetched, Fetcher
from etl.store.history import check_not_pruned
from etl.store.running import Running, running
from etl.store.versions import new_run_id

logger = logging.getLogger(__name__)

_LEFT_OUT = "%s can't be read, what needs it is left out: %s: %s"


@dataclass(frozen=True, eq=False)
class Build:
    """What a build did.

    Attributes:
        published: the version that holds it.
        converted, reused: volumes.
        source_bytes: of the PNG files of what was converted.
        seconds: from the first conversion to the last.
    """

    published: Published
    converted: int
    reused: int
    converted_slices: int
    source_bytes: int
    seconds: float


def load_plan(config: Config) -> Plan:
    """Read the CSV and the archives' directories, and plan. Remote archives are not downloaded.

    An archive whose server gives no ranges, and of which nothing is staged yet, is in `plan.index.unread`.

    Args:

    Raises:
        SourceError: the release can't be used, or nothing in it is to be built.
    """
    plan = _read_and_plan(config)
    if not plan.index.unread:
        _check_not_empty(plan)
    return plan


def stage_unread(
    config: Config, plan: Plan, executor: Executor, on_fetch: Callable[[Fetched], None] = lambda fetched: None
) -> Plan:
    """Fetch the archives that can't be planned from afar, and plan again.

    Where archives are not kept, they pass by and their directories alone stay; they are fetched once more
    when their volumes are converted.

    Raises:
        SourceError: there are such archives and no staging area, or nothing is to be built.
    """
    unread, staging = plan.index.unread, config.source.staging
    if not unread:
        return plan
    if staging is None:
        raise SourceError(
            "the server gives no ranges, so its archives can't be read in place",
            where="source.archives",
            value=[public_url(archive.url) for archive in unread][:3],
            remedy="set source.staging to a folder or bucket that all workers reach",
        )
    check_shared(executor.everywhere, open_objects(config.store), staging)
    fetch = Fetcher(staging) if config.source.keep_archives else DirectoryFetcher(staging)
    refused = {}
    with contextlib.closing(executor.execute(Fetches(unread, fetch, config.source.downloads))) as results:
        for fetched in results:
            tell_delay(fetched)
            on_fetch(fetched)
            if fetched.reject:
                refused[fetched.archive.url] = fetched.reject
    plan = _read_and_plan(config)
    for archive in plan.index.unread:
        message = f"{public_url(archive.url)} changed while it was fetched"
        changed = Reject(Kind.ARCHIVE, Reason.ARCHIVE_CHANGED, archive.name, message)
        refused.setdefault(archive.url, changed)
    index = replace(plan.index, unread=())
    plan = replace(plan, index=index, rejects=(*plan.rejects, *refused.values()))
    _check_not_empty(plan)
    return plan


def _read_and_plan(config: Config) -> Plan:
    annotations, index = read_annotations(config.source), read_index(config.source)
    logger.info("read %s: %d rows", annotations.source, annotations.row_count)
    logger.info("found %d slices in %d archives or folders", index.found_count, len(index.containers))
    return make_plan(annotations, index, config)


def _check_not_empty(plan: Plan) -> None:
    """Raises SourceError where nothing is to be built."""
    if plan.volumes:
        return
    annotations, index = plan.annotations, plan.index
    rejected = "; ".join(f"{r.found_in}: {r.reason}" for r in plan.rejects[:3]) or "none"
    raise SourceError(
        "there is nothing to build",
        where=f"{annotations.source} with {len(index.containers)} archives or folders",
        value=(
            f"{index.found_count} slices, {plan.slices_not_selected} not selected; "
            f"{annotations.row_count} rows, {plan.rows_not_selected} not selected"
        ),
        allowed="at least one run of slices that a row of the CSV describes",
        remedy=f"look at `select`; do CSV and archives belong together? First rejects: {rejected}",
    )


def build(
    config: Config,
    plan: Plan,
    executor: Executor,
    on_conversion: Callable[[Conversion], None] = lambda conversion: None,
    on_fetch: Callable[[Fetched], None] = lambda fetched: None,
) -> Build:
    """Fetch what is missing, convert every planned volume that the store lacks, and publish.

    Args:
        on_conversion: called with each conversion as it comes in.
        on_fetch: called with each step of an archive's way into the staging area.

    Raises:
        SourceError: the plan has archives that were not read; see `stage_unread`.
        StoreError: the store can't be written, or not by all workers; raised before any work. A prune that is
            at work is waited for.
        RunError: work failed after retries, or the version could not be written; finished volumes are kept
            and a rerun continues from them.
        GuardError: built, but publishing was refused.
    """
    if plan.index.unread:
        raise SourceError(
            "not all archives were read before planning",
            where="source.archives",
            value=[public_url(archive.url) for archive in plan.index.unread][:3],
            remedy="their servers give no ranges: `stage_unread` fetches them and plans again",
        )
    for reject in plan.rejects:
        if reject.kind is Kind.ARCHIVE:
            logger.warning(_LEFT_OUT, reject.found_in, reject.reason, reject.message)
    objects, run_id = open_objects(config.store), new_run_id()
    objects.check_writable()
    with running(objects, run_id, "build") as own:
        own.wait_for("prune")
        heed_overlap(config, own)
        with recorded(objects, config, run_id, len(plan.volumes), executor.stats) as record:

            def add(conversion: Conversion) -> None:
                record.add(conversion)
                on_conversion(conversion)

            return _build(config, plan, executor, add, on_fetch, objects, own, record)


def _build(
    config: Config,
    plan: Plan,
    executor: Executor,
    on_conversion: Callable[[Conversion], None],
    on_fetch: Callable[[Fetched], None],
    objects: Objects,
    own: Running,
    record: Record,
) -> Build:
    # Results are closed here, not when they are collected, or an interrupted run would go on on the cluster.
    start = time.monotonic()
    converter, conversions = converter_of(config, plan), []
    with record.stage("recall"):
        found = find_reusable(config, plan)
        if any(recalled.unproven for recalled in found) or len(found) < len(plan.volumes):
            check_shared(executor.everywhere, objects, config.source.staging)
        with contextlib.closing(reusable(converter, plan, found, executor.run)) as reused:
            for conversion in reused:
                conversions.append(conversion)
                on_conversion(conversion)
    there = {conversion.planned_id for conversion in conversions}
    missing = [volume for volume in plan.volumes if volume.volume_id not in there]
    missing, too_large = split_fitting(missing, converter, executor.largest_task_bytes)
    work = conversions_of(config, plan, converter, missing)
    lost: dict[int, Reject] = {}
    numbers = {archive.url: number for number, archive in plan.index.remote.items()}
    with (
        record.stage("work"),
        executor.profiled(record.keep_report) if missing else contextlib.nullcontext(),
        contextlib.closing(executor.execute(work)) as results,
    ):
        for result in results:
            if isinstance(result, Fetched):
                tell_delay(result)
                on_fetch(result)
                if result.reject:
                    lost[numbers[result.archive.url]] = result.reject
            elif isinstance(result, Lost):
                name = plan.index.containers[result.container].name
                lost[result.container] = Reject(Kind.ARCHIVE, result.reason, name, result.message)
                logger.warning(_LEFT_OUT, name, result.reason, result.message)
            else:
                conversions.append(result)
                on_conversion(result)
    refused = [*too_large, *work.rejected]
    conversions += refused
    for conversion in refused:
        on_conversion(conversion)
    seconds = time.monotonic() - start
    try:
        with record.stage("publish"):
            published = publish(
                objects,
                config,
                plan,
                conversions,
                own.mark.run_id,
                lambda version: check_not_pruned(objects, own, version),
                tuple(lost.values()),
            )
            record.publish(published)
    except OSError as error:
        raise RunError(
            "the version could not be published; the converted volumes are kept",
            where=config.store,
            value=f"{type(error).__name__}: {error}",
            remedy="mend the cause (disk, space, permissions) and run the same again",
        ) from error
    fresh = [c for c in conversions if c.converted]
    return Build(
        published,
        converted=sum(c.converted for c in conversions),
        reused=sum(len(c.built) - c.converted for c in conversions),
        converted_slices=sum(c.slice_count for c in fresh),
        source_bytes=sum(c.source_bytes for c in fresh),
        seconds=seconds,
    )
