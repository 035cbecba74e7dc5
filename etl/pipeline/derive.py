"""A derived table, from a published version to the next: what is missing is computed and published.

    version -> volumes without rows -> files of killed runs -> tasks of many volumes each -> version

A file is written whole by one task and never changed. A run that was killed leaves files that the next run
with the same recipe finds and names, whatever was published meanwhile. The driver keeps a few hundred bytes
for each volume; rows pass through it only where a build has changed a volume since.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etl.core.errors import GuardError, StoreError
from etl.core.rejects import Reason
from etl.derive.volume_table import ROW_COLUMNS, Derivation, volume_row
from etl.pipeline.derived_parts import Derived, DerivedReject, Deriver, Job, PartLooker, part_names
from etl.pipeline.preflight import check_shared
from etl.pipeline.queue import REASONS
from etl.publish.add_tables import NewTable, Part, add_tables, token_digests
from etl.publish.carry import Units
from etl.run.protocol import Executor, Queue, Task, TaskFailure
from etl.store.parquet import covered_in, read_table
from etl.store.reader import Store
from etl.store.running import running
from etl.store.versions import Version, new_run_id, readable
from etl.tables.derived_rejects import rejects_of
from etl.tables.table import Table

logger = logging.getLogger(__name__)

PART_VOXELS = 10**9
"""Most voxels of the volumes of one file, unless it has one volume only."""


@dataclass(frozen=True, eq=False)
class Derivations:
    """The result of a run.

    Attributes:
        version: that holds the table now.
        is_new: it was published by this run.
        computed, found: volumes that this run computed, and that a run before it had computed unpublished.
        rejects: volumes without rows.
    """

    version: Version
    is_new: bool
    computed: int
    found: int
    rejects: tuple[DerivedReject, ...]


def derive(
    store: Store,
    derivation: Derivation,
    executor: Executor,
    *,
    most_rejects: float = 0.01,
    limit: int | None = None,
    volumes_a_part: int = 32,
    on_start: Callable[[int, int], None] = lambda present, total: None,
    on_part: Callable[[Derived], None] = lambda derived: None,
) -> Derivations:
    """Compute a derived table for all volumes of a version that lack it, and publish it in a new version.

    Args:
        most_rejects: largest share of the volumes that may be rejected; one volume always may.
        limit: most volumes to compute now, those that were rejects before last; the version says how many are
            covered.
        volumes_a_part: most volumes of one file.
        on_start: called with the number of volumes that have rows already, and of all.
        on_part: called with each result of a task.

    Raises:
        StoreError: the store can't be written or read, or not by all workers; raised before any work.
        RunError: work failed after retries; finished files are kept and a rerun continues from them.
        GuardError: too many volumes were rejected; finished files are kept, nothing was published.
    """
    objects, run_id = store.objects, new_run_id()
    objects.check_writable()
    with running(objects, run_id, "tables") as own:
        own.wait_for("prune")
        jobs = list(_jobs(store, derivation))
        missing = _uncovered(jobs, _covered(store, derivation))
        found = _found_parts(store, derivation, missing, executor) if missing else []
        have = {pair for part in found for pair in part.inputs.items()}
        to_do = [job for job in missing if not set(job.inputs) <= have]
        known = _known_rejects(store, derivation)
        # Last, or a run with a limit might only try these, again and again.
        before = {reject.volume_id: reject for reject in known or ()}
        to_do.sort(key=lambda job: job.row.volume_id in before)
        now, later = to_do[:limit], [] if limit is None else to_do[limit:]
        on_start(len(jobs) - len(to_do), len(jobs))
        results: list[Derived] = []
        if to_do:
            check_shared(executor.everywhere, objects, None)
            deriver = Deriver(objects.root, run_id, derivation)
            queue = _Groups(now, deriver, executor, volumes_a_part)
            with contextlib.closing(executor.execute(queue)) as finished:
                # Lazily: the failed ones are known only after the last result.
                for result in itertools.chain(queue.too_large, finished, queue.failed):
                    results.append(result)
                    on_part(result)
        rejects = tuple(sorted((r for one in results for r in one.rejects), key=lambda r: r.volume_id))
        untried = [before[job.row.volume_id] for job in later if job.row.volume_id in before]
        _guard(store, derivation, [*rejects, *untried], len(jobs), most_rejects)
        computed = sum(len(result.volume_ids) for result in results)
        is_same = known is not None and set(rejects) <= known
        if is_same and not found and not computed and _is_there(store, derivation, derivation.table):
            return Derivations(store.version, False, 0, 0, rejects)
        made = [result.part for result in results if result.part]
        again = {unit for part in made for unit in part.inputs}
        parts = sorted([*(_without(p, again) for p in found), *made], key=lambda p: str(min(p.inputs)))
        tried = {job.row.volume_id for job in missing} - {job.row.volume_id for job in to_do}
        tried |= {name for one in results for name in one.volume_ids} | {r.volume_id for r in rejects}
        if known is None:
            tried |= {job.row.volume_id for job in jobs} - {job.row.volume_id for job in missing}
        table, rejected = derivation.table, rejects_of(derivation.table)
        columns = {
            "volume_id": [reject.volume_id for reject in rejects],
            "reason": [str(reject.reason) for reject in rejects],
            "message": [reject.message for reject in rejects],
        }
        new = [
            NewTable(table, table.rows_schema.empty_table(), (), parts, derivation.recipe),
            NewTable(rejected, rejected.rows(columns), tried, recipe=derivation.recipe),
        ]
        version, is_new = add_tables(objects, store.version, new, own)
        return Derivations(version, is_new, computed, len(missing) - len(to_do), rejects)


def _jobs(store: Store, derivation: Derivation) -> Iterator[Job]:
    """Yield each volume of the version, with what its rows belong to."""
    unit = derivation.table.unit
    assert unit is not None  # of every derived table
    digests = token_digests(Units(store.objects, store.version), unit)
    lesions: dict[str, dict[str, list[Any]]] = {}
    columns = list(dict.fromkeys([*derivation.lesion_columns, *(["lesion_id"] if unit == "lesion" else [])]))
    if columns:
        rows = store.lesions(columns=["volume_id", *columns])
        for name, group in rows.groupby("volume_id"):
            lesions[str(name)] = {column: group[column].tolist() for column in columns}
    volumes = store.volumes(columns=list(ROW_COLUMNS))
    for values in zip(*(volumes[name].tolist() for name in ROW_COLUMNS), strict=True):
        row = volume_row(dict(zip(ROW_COLUMNS, values, strict=True)))
        own = lesions.get(row.volume_id, {})
        units = [row.volume_id] if unit == "volume" else own.get("lesion_id", [])
        yield Job(row, tuple((name, digests[name]) for name in units), own)


def _covered(store: Store, derivation: Derivation) -> set[Any]:
    """Return the volumes or lesions for which the version has rows of the same recipe, in whole files."""
    if not _is_there(store, derivation, derivation.table):
        return set()
    covered: set[Any] = set()
    with readable(store.objects):
        for entry in store.version["tables"][derivation.table.name]:
            try:
                covered |= covered_in(store.objects, entry)
            except StoreError as error:
                logger.warning("%s: %s; its rows are computed again", error.what, error.where)
    return covered


def _known_rejects(store: Store, derivation: Derivation) -> set[DerivedReject] | None:
    """Return the rejects that the version has, of the same recipe; None where a file is lost or damaged."""
    table = rejects_of(derivation.table)
    if not _is_there(store, derivation, table):
        return set()
    entries, columns = store.version["tables"][table.name], ["volume_id", "reason", "message"]
    with readable(store.objects):
        try:
            found = read_table(store.objects, entries, table, columns)
        except StoreError as error:
            logger.warning("%s: %s; it is written again", error.what, error.where)
            return None
    rows = found.to_pandas().itertuples(index=False)
    return {DerivedReject(volume_id, Reason(reason), message) for volume_id, reason, message in rows}


def _is_there(store: Store, derivation: Derivation, table: Table) -> bool:
    added = store.version.get("added_tables", {}).get(table.name)
    return added is not None and added.get("recipe") == derivation.recipe


def _uncovered(jobs: Iterable[Job], covered: set[Any]) -> list[Job]:
    return [job for job in jobs if not all(unit in covered for unit, _ in job.inputs)]


def _found_parts(
    store: Store, derivation: Derivation, missing: Sequence[Job], executor: Executor
) -> list[Part]:
    """Return files of earlier runs with rows of missing volumes; no volume or lesion is in two of them."""
    named = {entry["path"] for entry in store.version["tables"].get(derivation.table.name, ())}
    names = [name for name in part_names(store.objects, derivation.table.name) if name not in named]
    wanted = dict(pair for job in missing for pair in job.inputs)
    chosen: list[Part] = []
    with contextlib.closing(
        executor.run(PartLooker(store.objects.root, derivation.fingerprint), names)
    ) as looked:
        found = sorted((part for part in looked if part is not None), key=lambda p: str(p.entry["path"]))
    for part in found:
        of_use = {unit for unit, digest in part.inputs.items() if wanted.get(unit) == digest}
        # A file that also holds a unit which another one has would give its rows twice.
        if of_use and not any(part.inputs.keys() & other.inputs.keys() for other in chosen):
            chosen.append(part)
            for unit in of_use:
                del wanted[unit]
    return chosen


def _without(part: Part, units: set[Any]) -> Part:
    """Return a part whose rows of these units do not count: a volume of it has more lesions now."""
    inputs = {unit: "" if unit in units else digest for unit, digest in part.inputs.items()}
    return replace(part, inputs=inputs)


def _guard(
    store: Store, derivation: Derivation, rejects: Sequence[DerivedReject], total: int, most: float
) -> None:
    if len(rejects) <= max(1, most * total):
        return
    first = rejects[0]
    raise GuardError(
        f"too many volumes give no rows of {derivation.table.name}; what was computed is kept, unpublished",
        where=store.objects.root,
        value=f"{len(rejects):,} of {total:,}, such as {first.volume_id}: {first.reason}: {first.message}",
        allowed=f"one, or {most:.1%} of the volumes",
        remedy="mend the cause and run the same again, or allow more",
    )


class _Groups(Queue):
    """Groups of volumes, one task each. A group whose task fails is tried again, one volume at a time.

    Attributes:
        too_large: results of volumes that need more memory than any worker has.
        failed: results of volumes whose task failed alone.
    """

    def __init__(
        self, jobs: Sequence[Job], deriver: Deriver, executor: Executor, volumes_a_part: int
    ) -> None:
        self._deriver, most = deriver, executor.largest_task_bytes
        self._memory = deriver.derivation.function.memory_bytes
        self.too_large: list[Derived] = []
        self.failed: list[Derived] = []
        fitting = []
        for job in jobs:
            needed = self._memory(job.row)
            if most is None or needed <= most:
                fitting.append(job)
            else:
                message = f"needs {needed / 2**20:,.0f} MiB; the largest worker has {most / 2**20:,.0f} MiB"
                self.too_large.append(_rejected(job, Reason.VOLUME_TOO_LARGE, message))
        self._groups = deque(_grouped(fitting, volumes_a_part))

    def take(self, has_core: bool = True) -> Task | None:
        if not has_core or not self._groups:
            return None
        group = self._groups.popleft()
        name = f"derive-{self._deriver.derivation.table.name}-{group[0].row.volume_id}"
        memory_bytes = max(self._memory(job.row) for job in group)
        return Task(name, self._deriver, group, memory_bytes=memory_bytes)

    def finish(self, task: Task, result: Any) -> None:
        pass

    def fail(self, task: Task, failure: TaskFailure) -> bool:
        group: tuple[Job, ...] = task.argument
        if len(group) > 1:
            self._groups.extend((job,) for job in group)
        else:
            self.failed.append(_rejected(group[0], REASONS[failure.kind], failure.message))
        return True


def _grouped(jobs: Iterable[Job], volumes_a_part: int) -> Iterator[tuple[Job, ...]]:
    group: list[Job] = []
    voxels = 0
    for job in jobs:
        z, y, x = job.row.shape
        if group and (len(group) == volumes_a_part or voxels + z * y * x > PART_VOXELS):
            yield tuple(group)
            group, voxels = [], 0
        group.append(job)
        voxels += z * y * x
    if group:
        yield tuple(group)


def _rejected(job: Job, reason: Reason, message: str) -> Derived:
    return Derived(None, (), (DerivedReject(job.row.volume_id, reason, message),))
