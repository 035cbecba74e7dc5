"""Join entries to printed rows, and prove every join from the data: boxes, pairs, tags, rows and splits.

A box joins a row of its sub-volume whose key slice it covers: one whose printed corners it repeats within
0.11 px, else the one with the largest IoU in the plane, above 0.3. Sources that claim to repeat printed boxes
join by the corners only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

from etl.annotations.entries import (
    Box,
    BoxEntry,
    Fault,
    FaultyEntry,
    Missing,
    PairEntry,
    Reading,
    RowEntry,
    SplitEntry,
    TagEntry,
    each_once,
)
from etl.annotations.joined import (
    Joined,
    JoinedBox,
    JoinedPair,
    JoinedRow,
    JoinedSplit,
    JoinedTags,
    SourceJoin,
    Unmatched,
    rows_of,
)
from etl.annotations.printed_rows import PrintedRow, Rows
from etl.annotations.release_order import series_of_row

MOST_DIFFERENCE_PX = 0.11
"""Others print one decimal, so a repeated coordinate differs by 0.05 and rounding."""
LEAST_IOU = 0.3
_SLACK = 1e-6
Outcome = Joined | Unmatched | FaultyEntry
Entry = TypeVar("Entry", BoxEntry, PairEntry, TagEntry, RowEntry, SplitEntry)


def join_entries(
    name: str, kind: str, reading: Reading[Entry], join: Callable[[Entry], Outcome]
) -> SourceJoin:
    """Join each entry of a source by `join`, and sort the outcomes."""
    joined: Iterable[Outcome] = map(join, reading.entries)
    outcomes = [*each_once(joined, _subject, attrgetter("entry.where")), *reading.rejects]
    return sort_outcomes(name, kind, outcomes, reading)


def _subject(outcome: Outcome) -> str | None:
    """Return the rows of a pair, or the row that an entry without a box joins; None of other outcomes.

    Sources print a pair's boxes with different decimals, so its rows decide what is a repeat.
    """
    if isinstance(outcome, JoinedPair) or (isinstance(outcome, JoinedRow) and outcome.entry.box is None):
        return " and ".join(f"row {row}" for row in sorted(row.lesion_id for row in rows_of(outcome)))
    return None


def sort_outcomes(
    name: str, kind: str, outcomes: Iterable[Outcome], reading: Reading[object] | None = None
) -> SourceJoin:
    """Return outcomes as one source's joined, unmatched and rejected entries."""
    found = list(outcomes)
    return SourceJoin(
        name,
        kind,
        entries=len(found),
        joined=[item for item in found if not isinstance(item, (Unmatched, FaultyEntry))],
        unmatched=[item for item in found if isinstance(item, Unmatched)],
        rejects=[item for item in found if isinstance(item, FaultyEntry)],
        tags=reading.tags if reading else (),
        notes=dict(reading.notes) if reading else {},
    )


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def join_box(entry: BoxEntry, rows: Rows) -> JoinedBox | Unmatched | FaultyEntry:
    """Join one box."""
    placed = _placed(entry, rows)
    if not isinstance(placed, list):
        return placed
    candidates = [row for row in placed if entry.z_first <= row.key_slice <= entry.z_last]
    width, height = placed[0].size_px
    x1, y1, x2, y2 = entry.box_px
    if x2 <= -0.5 or y2 <= -0.5 or x1 >= width - 0.5 or y1 >= height - 0.5:
        return FaultyEntry(
            entry.where, Fault.BOX_OUTSIDE_IMAGE, f"the box lies outside {width} x {height} px"
        )
    repeated = [row for row in candidates if _repeats(entry, row)]
    if len(repeated) > 1 and entry.row is not None:
        repeated = [row for row in repeated if rows.numbers.get(row.lesion_id) == entry.row] or repeated
    if len(repeated) > 1:
        ids = ", ".join(str(row.lesion_id) for row in repeated)
        return FaultyEntry(entry.where, Fault.BOX_AMBIGUOUS, f"rows {ids} have this box; allowed: one")
    if repeated:
        return _numbered(entry, repeated[0], rows)
    best = max(candidates, key=lambda row: iou(entry.box_px, row.box_px), default=None)
    overlap = iou(entry.box_px, best.box_px) if best else 0.0
    is_joined = best is not None and overlap > LEAST_IOU and not entry.is_printed
    if not is_joined and entry.series in rows.partial and entry.row not in rows.by_number:
        return Unmatched(entry.where, Missing.NOT_IN_CSV)
    if entry.is_printed:
        near = f"the nearest, row {best.lesion_id}, has IoU {overlap:.2f}" if best else "none is on its slice"
        return FaultyEntry(entry.where, Fault.BOX_DISAGREES, f"no row has the box that it repeats: {near}")
    if best is None or overlap <= LEAST_IOU:
        return Unmatched(entry.where, Missing.NOT_LISTED, entry)
    return JoinedBox(entry, best, overlap)


def _placed(entry: BoxEntry, rows: Rows) -> list[PrintedRow] | Unmatched | FaultyEntry:
    """Return the rows of the sub-volume that the box lies in."""
    own = rows.by_series.get(entry.series, ())
    if entry.volume is not None:
        placed = [row for row in own if row.volume == entry.volume]
        touched = {row.volume for row in own if _overlap(row.volume, entry.volume)}
        if not placed and touched:
            first, last = min(touched)
            message = f"slices {entry.volume[0]} to {entry.volume[1]}; allowed, as printed: {first} to {last}"
            return FaultyEntry(entry.where, Fault.VOLUME_DISAGREES, message)
    else:
        placed = [row for row in own if row.volume[0] <= entry.z_first <= entry.z_last <= row.volume[1]]
    return placed or Unmatched(entry.where, Missing.NOT_IN_CSV)


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _repeats(entry: BoxEntry, row: PrintedRow) -> bool:
    """Return True where the box repeats the row's printed box."""
    pairs = list(zip(row.printed_box, entry.box_px, strict=True))
    if entry.truncated:
        return all(int(printed) == round(own) + 1 for printed, own in pairs)
    return max(abs(printed - 1 - own) for printed, own in pairs) <= MOST_DIFFERENCE_PX + _SLACK


def _numbered(entry: BoxEntry, row: PrintedRow, rows: Rows) -> JoinedBox | FaultyEntry:
    """Return the join, unless the source claims another row number than the row has."""
    number = rows.numbers.get(row.lesion_id)
    if entry.row is not None and number is not None and number != entry.row:
        message = f"the source says row {entry.row}, its box is that of row {number}"
        return FaultyEntry(entry.where, Fault.ROW_DISAGREES, message)
    return JoinedBox(entry, row, iou(entry.box_px, row.box_px))


def unboxed_lesions(reading: Reading[BoxEntry], rows: Rows) -> dict[str, int]:
    """Count the printed lesions of a source's sub-volumes, and those without a box of an IoU above 0.3."""
    boxes: dict[object, list[BoxEntry]] = {}
    for entry in reading.entries:
        boxes.setdefault((entry.series, entry.volume), []).append(entry)
    listed = [row for volume in reading.volumes for row in rows.by_volume.get(volume, ())]
    missed = [
        row
        for row in listed
        if not any(
            entry.z_first <= row.key_slice <= entry.z_last and iou(entry.box_px, row.box_px) > LEAST_IOU
            for entry in boxes.get((row.series, row.volume), ())
        )
    ]
    return {"printed_lesions": len(listed), "printed_lesions_without_box": len(missed)}


def join_pair(entry: PairEntry, rows: Rows) -> JoinedPair | Unmatched | FaultyEntry:
    """Join both boxes of a pair by their upper left corners; the source cuts boxes at the image's edges."""
    found = []
    for side in (entry.first, entry.second):
        placed = _placed(side, rows)
        if isinstance(placed, Unmatched):
            return Unmatched(entry.where, placed.reason)
        if isinstance(placed, FaultyEntry):
            return FaultyEntry(entry.where, placed.reason, placed.message)
        corner = [row for row in placed if row.key_slice == side.z_first and _same_corner(row, side)]
        if not corner and side.series in rows.partial:
            return Unmatched(entry.where, Missing.NOT_IN_CSV)
        if len(corner) != 1:
            reason = Fault.BOX_AMBIGUOUS if corner else Fault.BOX_DISAGREES
            return FaultyEntry(
                entry.where, reason, f"{side.where}: {len(corner)} rows have this box; allowed: 1"
            )
        found.append(corner[0])
    first, second = found
    if first.series.patient != second.series.patient:
        return FaultyEntry(
            entry.where, Fault.PAIR_OF_TWO_PATIENTS, "its rows are of two patients; allowed: one"
        )
    if first.lesion_id == second.lesion_id:
        return FaultyEntry(entry.where, Fault.PAIR_OF_ITSELF, f"both sides are row {first.lesion_id}")
    return JoinedPair(entry, first, second)


def _same_corner(row: PrintedRow, side: BoxEntry) -> bool:
    """Return True where both boxes, cut at the image's left and upper edge, have one upper left corner."""
    pairs = zip(row.box_px[:2], side.box_px[:2], strict=True)
    return all(abs(max(a, 0.0) - max(b, 0.0)) <= MOST_DIFFERENCE_PX + _SLACK for a, b in pairs)


def join_tags(entry: TagEntry, rows: Rows) -> JoinedTags | Unmatched:
    """Join tags by their official row number, where a row has that number for certain."""
    row = rows.by_number.get(entry.row)
    if row is not None:
        return JoinedTags(entry, row)
    series = series_of_row(entry.row)
    own = rows.by_series.get(series, ()) if series is not None else ()
    is_unknown = any(row.lesion_id not in rows.numbers for row in own)
    return Unmatched(entry.where, Missing.ROW_NUMBER_UNKNOWN if is_unknown else Missing.NOT_IN_CSV)


def join_row(entry: RowEntry, rows: Rows) -> JoinedRow | Unmatched | FaultyEntry:
    """Join a corrected row by its box, or by its slice where that has one lesion and the file no boxes."""
    if entry.box is not None:
        found = join_box(entry.box, rows)
        return JoinedRow(entry, found.row, found.iou) if isinstance(found, JoinedBox) else found
    on_slice = rows.by_slice.get((entry.series, entry.slice_index), ())
    if len(on_slice) == 1:
        return JoinedRow(entry, on_slice[0], None)
    reason = Missing.SEVERAL_LESIONS_ON_SLICE if on_slice else Missing.NOT_IN_CSV
    return Unmatched(entry.where, reason)


def join_split(
    entry: SplitEntry, rows: Rows, masks: Mapping[tuple[object, int, int], PrintedRow]
) -> JoinedSplit | Unmatched:
    """Join a split by its mask, or by its slice where that has one lesion.

    Args:
        masks: rows of joined masks by series, key slice and number in their names.
    """
    row = masks.get((entry.series, entry.slice_index, entry.number))
    on_slice: Sequence[PrintedRow] = rows.by_slice.get((entry.series, entry.slice_index), ())
    if row is None and len(on_slice) == 1:
        row = on_slice[0]
    if row is not None:
        return JoinedSplit(entry, row)
    reason = Missing.SEVERAL_LESIONS_ON_SLICE if on_slice else Missing.NOT_IN_CSV
    return Unmatched(entry.where, reason)
