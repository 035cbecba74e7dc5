"""The whole pipeline: release -> plan -> convert -> publish, on any executor."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from etl.convert.convert import Converter
from etl.convert.results import Conversion, Lost
from etl.convert.reuse import proven_all
from etl.core.config import Config
from etl.core.counted import counted
from etl.core.errors import RunError, SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import public_url
from etl.io.opening import open_objects
from etl.io.places import Objects
from etl.pipeline.callback import Callback
from etl.pipeline.overlap import apply_policy
from etl.pipeline.preflight import check_places, check_shared
from etl.pipeline.preview import check_guards, make_preview, split_fitting
from etl.pipeline.room import check_room
from etl.pipeline.run_record import Record, recorded
from etl.pipeline.source_access import check_lost, check_sources
from etl.pipeline.staged import conversion_queue, fetch_archives, log_delay
from etl.plan.plan import Plan, make_plan
from etl.plan.source import read_release
from etl.publish.publish import Published, publish
from etl.run.protocol import Executor
from etl.run.task_memory import TaskMemory
from etl.staging.fetch import Fetched
from etl.store.history import check_not_pruned
from etl.store.running import Running, running
from etl.store.versions import new_run_id

logger = logging.getLogger(__name__)

SILENT = Callback()
_FETCHED_AGAIN = "%s is no longer in the staging area, and is fetched again: %s"
_LEFT_OUT = "%s can't be read, and all that needs it is left out: %s: %s"


@dataclass(frozen=True, eq=False)
class Build:
    """The result of a build.

    Attributes:
        published: the version that holds it.
        converted, reused: number of volumes.
        source_bytes: bytes of the PNG files of the converted volumes.
        seconds: time from the first conversion to the last.
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

    Raises:
        ConfigError: the store lies in its source, or the source in the store.
        StoreError: no store can be in that place.
        SourceError: the release can't be used, or nothing in it is to be built.
    """
    check_places(config)
    plan = make_plan(*read_release(config), config)
    if not plan.index.unread:
        _check_not_empty(plan)
    return plan


def stage_unread(config: Config, plan: Plan, executor: Executor, callback: Callback = SILENT) -> Plan:
    """Fetch the archives whose directories can't be read in place, and plan again.

    If archives are not kept, only their directories are; they are fetched once more for their volumes.

    Raises:
        SourceError: there are such archives and no staging area, or nothing is to be built.
        OverlapError: another build runs, and the policy is to leave.
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
    objects = open_objects(config.store)
    with running(objects, new_run_id(), "build") as own:
        apply_policy(config, own)
        callback.on_unread(unread, directories_only=not config.source.keep_archives)
        check_shared(executor.everywhere, objects, staging)
        lost = fetch_archives(config, unread, executor, callback)
    plan = make_plan(*read_release(config), config)
    for archive in plan.index.unread:
        message = f"{public_url(archive.url)} changed while it was fetched"
        changed = Reject(Kind.ARCHIVE, Reason.ARCHIVE_CHANGED, archive.name, message)
        lost.setdefault(archive.url, changed)
    index = replace(plan.index, unread=())
    plan = replace(plan, index=index, rejects=(*plan.rejects, *lost.values()))
    _check_not_empty(plan)
    return plan


def _check_not_empty(plan: Plan) -> None:
    """Raise SourceError if nothing is to be built."""
    if plan.volumes:
        return
    annotations, index = plan.annotations, plan.index
    rejected = "; ".join(f"{r.found_in}: {r.reason}" for r in plan.rejects[:3]) or "none"
    raise SourceError(
        "there is nothing to build",
        where=f"{annotations.source} with {counted(len(index.containers), 'source')} of slices",
        value=(
            f"{counted(index.found_count, 'slice')}, {plan.slices_not_selected} not selected; "
            f"{counted(annotations.row_count, 'row')}, {plan.rows_not_selected} not selected"
        ),
        allowed="at least one run of slices that a row of the CSV describes",
        remedy=f"check `select`, and that CSV and archives belong together. First rejects: {rejected}",
    )


def build(
    config: Config,
    plan: Plan,
    executor: Executor,
    callback: Callback = SILENT,
    converter: Converter | None = None,
) -> Build:
    """Fetch missing archives, convert every planned volume that the store lacks, and publish.

    Args:
        converter: converts the volumes in place of the plan's own converter.

    Raises:
        SourceError: the plan has archives that were not read; see `stage_unread`.
        StoreError: the store can't be written, or not by all workers; raised before any work. A prune that
            runs is waited for.
        RunError: work failed after retries, or the version could not be written; finished volumes are kept
            and a rerun continues from them.
        GuardError: publishing was refused, or is certain to be, before any work.
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
    converter = converter or Converter(objects.root, plan.index.containers)
    objects.check_writable()
    with running(objects, run_id, "build") as own:
        own.wait_for("prune")
        apply_policy(config, own)
        callback.on_plan(plan)
        with recorded(objects, config, run_id, len(plan.volumes), executor.stats) as record:
            return _Line(config, plan, executor, callback, converter, objects, own, record).run()


@dataclass(eq=False)
class _Line:
    """One build on its way through reuse, work and publishing."""

    config: Config
    plan: Plan
    executor: Executor
    callback: Callback
    converter: Converter
    objects: Objects
    own: Running
    record: Record

    def __post_init__(self) -> None:
        self._conversions: list[Conversion] = []
        self._lost: dict[int, Reject] = {}

    def run(self) -> Build:
        start = time.monotonic()
        with self._stage("reuse"):
            self._reuse()
        self._work()
        seconds = time.monotonic() - start
        with self._stage("publish"):
            published = self._publish()
        fresh = [c for c in self._conversions if c.converted]
        return Build(
            published,
            converted=sum(c.converted for c in self._conversions),
            reused=sum(len(c.built) - c.converted for c in self._conversions),
            converted_slices=sum(c.slice_count for c in fresh),
            source_bytes=sum(c.source_bytes for c in fresh),
            seconds=seconds,
        )

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.callback.on_stage(name)
        with self.record.stage(name):
            yield

    def _add(self, conversion: Conversion) -> None:
        self._conversions.append(conversion)
        self.record.add(conversion)
        self.callback.on_conversion(conversion)

    def _reuse(self) -> None:
        memory = TaskMemory(self.executor.largest_task_bytes, "on the largest worker")
        preview = make_preview(self.config, self.plan, memory)
        check_guards(preview)
        check_room(preview, self.objects.root)
        if preview.needs_workers:
            check_shared(self.executor.everywhere, self.objects, self.config.source.staging)
            check_sources(self.executor.everywhere, self.plan)
        results = proven_all(
            self.config.store, self.plan, preview.parent, preview.reusable, self.executor.run
        )
        with contextlib.closing(results):
            for conversion in results:
                self._add(conversion)

    def _work(self) -> None:
        # Generators are closed here, not by the garbage collector: an interrupted run would go on meanwhile.
        present = {conversion.planned_id for conversion in self._conversions}
        missing = [volume for volume in self.plan.volumes if volume.volume_id not in present]
        containers = self.plan.index.containers
        fitting, too_large = split_fitting(self.plan, missing, self.executor.largest_task_bytes)
        queue = conversion_queue(self.config, self.plan, self.converter, fitting)
        numbers = {archive.url: number for number, archive in self.plan.index.remote.items()}
        on_their_way: set[int] = set()  # archives that were staged and are fetched again
        with (
            self._stage("work"),
            self.executor.profiled(self.record.keep_report) if fitting else contextlib.nullcontext(),
            contextlib.closing(self.executor.execute(queue)) as results,
        ):
            for result in results:
                if isinstance(result, Fetched):
                    log_delay(result)
                    self.callback.on_fetch(result)
                    if result.is_whole:
                        on_their_way.discard(numbers[result.archive.url])
                    if result.reject:
                        self._lost[numbers[result.archive.url]] = result.reject
                elif isinstance(result, Lost):
                    check_lost(result, self.plan)
                    name = containers[result.container].name
                    if result.container not in queue.unreadable:
                        if result.container not in on_their_way:
                            logger.warning(_FETCHED_AGAIN, name, result.message)
                        on_their_way.add(result.container)
                        continue
                    reject = Reject(Kind.ARCHIVE, result.reason, name, result.message)
                    self._lost[result.container] = reject
                    logger.warning(_LEFT_OUT, name, result.reason, result.message)
                else:
                    self._add(result)
        for conversion in (*too_large, *queue.rejected):
            self._add(conversion)

    def _publish(self) -> Published:
        try:
            published = publish(
                self.objects,
                self.config,
                self.plan,
                self._conversions,
                self.own.mark.run_id,
                lambda version: check_not_pruned(self.objects, self.own, version),
                tuple(self._lost.values()),
            )
        except OSError as error:
            raise RunError(
                "the version could not be published; the converted volumes are kept",
                where=self.config.store,
                value=f"{type(error).__name__}: {error}",
                remedy="fix the cause (disk, space, permissions) and run the same again",
            ) from error
        self.record.publish(published)
        return published
