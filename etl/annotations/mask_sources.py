"""Join the masks of one source: list its files, read them in tasks, bring the results together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etl.annotations.containers import MOST_MEMBER_BYTES, too_large, unreadable
from etl.annotations.entries import Fault, FaultyEntry, Missing, Reading, SplitEntry
from etl.annotations.grids import Grids
from etl.annotations.joined import JoinedMask, Unmatched
from etl.annotations.joins import Outcome
from etl.annotations.mask_files import MaskFile, list_files, read_files, readable_files
from etl.annotations.mask_tasks import MaskPart, MaskReader, PartResult, task_bytes
from etl.annotations.printed_rows import PrintedRow, Rows
from etl.annotations.uls23_masks import parse_mask_name, read_uls23_splits
from etl.core.urls import public_url
from etl.run.protocol import Executor, Queue, Task
from etl.store.label_images import Grid

# A task takes a tenth of a second and more, its turn with the scheduler a few milliseconds.
MOST_FILES, MOST_BYTES = 64, 1 << 25
_MASK_ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class MaskStore:
    """A store to keep masks in: its place, and its volumes."""

    url: str
    grids: Grids


@dataclass(frozen=True)
class ListedMasks:
    """The files of a source of masks, told apart.

    Attributes:
        outcomes: results by position, of those that need not be read.
        parts: the others, by volume, with their positions.
        splits: lists of splits.
        ignored: number of files of other kinds.
        count: number of masks.
    """

    outcomes: dict[int, Outcome]
    parts: tuple[tuple[MaskPart, tuple[int, ...]], ...]
    splits: tuple[Reading[SplitEntry], ...]
    ignored: int
    count: int


@dataclass(frozen=True)
class MaskResults:
    """The masks of a source, joined, in the order of the files, and entries of a version's `labels`."""

    outcomes: tuple[Outcome, ...]
    labels: tuple[Any, ...]
    splits: tuple[Reading[SplitEntry], ...]
    ignored: int


def join_masks(
    name: str, urls: Iterable[str], rows: Rows, executor: Executor, store: MaskStore | None
) -> MaskResults:
    """Read and join the masks of a source in tasks of an executor, and store them where there is a store.

    Args:
        name: of the source, in the config.
        urls: folders, tars, zips, files.
        rows: the rows to join to.
        executor: where the tasks run.
        store: None to join only.

    Raises:
        SourceError: a place can't be read, or an archive is damaged.
        RunError: a task failed after retries.
    """
    listed = list_masks((file for url in urls for file in list_files(url)), rows, store)
    tasks = MaskTasks(MaskReader(name, store.url if store else None), listed, rows)
    for _ in executor.execute(tasks):
        pass
    return MaskResults(
        tuple(_of_given_rows(tasks.outcomes[at], rows) for at in range(listed.count)),
        tuple(tasks.labels[volume_id] for volume_id in sorted(tasks.labels)),
        listed.splits,
        listed.ignored,
    )


def _of_given_rows(outcome: Outcome, rows: Rows) -> Outcome:
    """Return an outcome; a mask that fits no row may be of another, if not all of its series are given."""
    if isinstance(outcome, FaultyEntry) and outcome.reason is Fault.MASK_OFF_LESION:
        named = parse_mask_name(outcome.where.split(".")[0])
        if named is not None and named[0] in rows.partial:
            return Unmatched(outcome.where, Missing.NOT_IN_CSV)
    return outcome


def list_masks(files: Iterable[MaskFile], rows: Rows, store: MaskStore | None) -> ListedMasks:
    """Tell the files of a source of masks apart, by their names; only lists of splits are read.

    Raises:
        SourceError: a list of splits can't be read.
    """
    outcomes: dict[int, Outcome] = {}
    splits: list[Reading[SplitEntry]] = []
    seen: set[object] = set()
    found: dict[str, tuple[list[MaskFile], list[int], dict[int, PrintedRow], Grid | None]] = {}
    ignored = count = 0
    # The release of ULS23 has the CT of each mask under the mask's name: images/NAME next to labels/NAME.
    for file in sorted(files, key=_is_among_images):
        stem = file.stem
        if stem.endswith(".json") and "split" in stem:
            splits.append(read_uls23_splits(_read_one(file), file.name))
            continue
        if not stem.endswith(_MASK_ENDINGS):
            ignored += 1
            continue
        named = parse_mask_name(stem.removesuffix(".gz").removesuffix(".nii"))
        if named is not None and named in seen and _is_among_images(file):
            ignored += 1
            continue
        position, count = count, count + 1
        candidates = rows.by_slice.get(named[:2], ()) if named is not None else ()
        if named is None:
            message = f"'{stem[-80:]}'; allowed: a name like 000001_01_01_109_lesion_01.nii.gz"
            outcomes[position] = FaultyEntry(stem, Fault.NAME_UNEXPECTED, message)
        elif named in seen:
            message = "an earlier file has the same name; allowed: each mask once"
            outcomes[position] = FaultyEntry(stem, Fault.MASK_REPEATED, message)
        elif not candidates:
            outcomes[position] = Unmatched(stem, Missing.NOT_IN_CSV)
        else:
            grid = store.grids.holding(named[0], named[1], named[1]) if store is not None else None
            volume_id = grid.volume_id if grid else candidates[0].volume_id
            own, positions, own_rows, _ = found.setdefault(volume_id, ([], [], {}, grid))
            own.append(file)
            positions.append(position)
            own_rows |= {row.lesion_id: row for row in candidates}
        seen.add(named)
    parts = tuple(
        (MaskPart(volume_id, tuple(own), tuple(own_rows.values()), grid), tuple(positions))
        for volume_id, (own, positions, own_rows, grid) in found.items()
    )
    return ListedMasks(outcomes, parts, tuple(splits), ignored, count)


def _is_among_images(file: MaskFile) -> bool:
    """Return if a file lies in a folder of images by its name, such as images or imagesTr."""
    path = (file.name if "/" in file.name else public_url(file.url)).replace("\\", "/")
    return path.split("/")[-2:][0].lower().startswith("images")


def _read_one(file: MaskFile) -> bytes:
    if file.bytes > MOST_MEMBER_BYTES:
        too_large(file.name, file.bytes, MOST_MEMBER_BYTES)
    try:
        with readable_files([file]) as (readable,):
            return read_files([readable])[0]
    except OSError as error:
        unreadable(file.url, str(error))


class MaskTasks(Queue):
    """Tasks that each read the masks of some volumes, in the order of the files.

    Parts whose files can only be read from the beginning of their place are one task, which copies it once.

    Attributes:
        outcomes: results by position, those of `listed` and of all tasks that have finished.
        labels: entries of a version's `labels` by volume.
    """

    def __init__(self, reader: MaskReader, listed: ListedMasks, rows: Rows) -> None:
        self.outcomes: dict[int, Outcome] = dict(listed.outcomes)
        self.labels: dict[str, Mapping[str, Any]] = {}
        self._reader = reader
        self._rows = {row.lesion_id: row for row in rows.rows}
        self._positions = {part.volume_id: positions for part, positions in listed.parts}
        self._coming = enumerate(_together([part for part, _ in listed.parts]))

    def take(self, has_core: bool = True) -> Task | None:
        """Return the next task."""
        if has_core:
            for number, parts in self._coming:
                return Task(f"masks-{number}", self._reader, parts, memory_bytes=task_bytes(parts))
        return None

    def finish(self, task: Task, result: Any) -> None:
        """Keep the results of a task, each with the row that is here already."""
        parts: tuple[MaskPart, ...] = task.argument
        found: tuple[PartResult, ...] = result
        for part, own in zip(parts, found, strict=True):
            if own.labels is not None:
                self.labels[part.volume_id] = own.labels
            for position, outcome in zip(self._positions[part.volume_id], own.outcomes, strict=True):
                if isinstance(outcome, JoinedMask):
                    outcome = replace(outcome, row=self._rows[outcome.row.lesion_id])
                self.outcomes[position] = outcome


def _together(parts: Sequence[MaskPart]) -> Iterator[tuple[MaskPart, ...]]:
    """Yield the parts of each task."""
    if sequential := tuple(part for part in parts if part.is_sequential):
        yield sequential
    task: list[MaskPart] = []
    files = size = 0
    for part in parts:
        if part.is_sequential:
            continue
        if task and (files + len(part.files) > MOST_FILES or size + part.bytes > MOST_BYTES):
            yield tuple(task)
            task, files, size = [], 0, 0
        task.append(part)
        files, size = files + len(part.files), size + part.bytes
    if task:
        yield tuple(task)
