"""The result for each entry of a source: joined to a lesion, unmatched, or rejected. None is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from etl.annotations.entries import (
    BoxEntry,
    FaultyEntry,
    Missing,
    PairEntry,
    RowEntry,
    SplitEntry,
    TagEntry,
)
from etl.annotations.printed_rows import PrintedRow


@dataclass(frozen=True)
class JoinedTags:
    """Tags of a lesion."""

    entry: TagEntry
    row: PrintedRow


@dataclass(frozen=True)
class JoinedBox:
    """A box of a lesion: the row that it joins, and the IoU with its printed box in the slice's plane."""

    entry: BoxEntry
    row: PrintedRow
    iou: float


@dataclass(frozen=True)
class JoinedPair:
    """Two rows of one lesion."""

    entry: PairEntry
    first: PrintedRow
    second: PrintedRow

    @property
    def is_same_study(self) -> bool:
        """True where both CTs belong to one study."""
        return self.first.series.study == self.second.series.study


@dataclass(frozen=True)
class JoinedRow:
    """A corrected row of a lesion."""

    entry: RowEntry
    row: PrintedRow
    iou: float | None


@dataclass(frozen=True)
class JoinedSplit:
    """A split that a lesion is put in."""

    entry: SplitEntry
    row: PrintedRow


Bounds = tuple[int, int, int, int, int, int]
"""First z, y, x and the z, y, x after the last, as indices in a grid."""


@dataclass(frozen=True)
class StoredMask:
    """The place of a mask in the store.

    Attributes:
        volume_id: the volume.
        path, source_path: images of labels in the stored and in the source's grid, relative to the store.
        voxels: voxels inside in the stored grid.
        bounds, source_bounds: of the voxels inside, in the two grids.
    """

    volume_id: str
    path: str
    source_path: str
    voxels: int
    bounds: Bounds
    source_bounds: Bounds


@dataclass(frozen=True)
class JoinedMask:
    """A mask of a lesion, without its voxels.

    Attributes:
        where: name of its file.
        row: the lesion.
        is_3d: a mask of the whole lesion; False for one of the key slice.
        voxels: voxels inside.
        volume_mm3: their volume; of one slice where `is_3d` is False.
        recist_share: share of both RECIST lines that lies inside.
        end_point_px: distance of the farthest RECIST end point from the nearest pixel's centre.
        residual_px: centre of the mask's extent on the key slice minus that of the RECIST lines, x and y.
        lesions_on_slice: rows of the same key slice, among which this one fits best.
        stored: where it lies in the store; None where it was joined without one.
    """

    where: str
    row: PrintedRow
    is_3d: bool
    voxels: int
    volume_mm3: float
    recist_share: float
    end_point_px: float
    residual_px: tuple[float, float]
    lesions_on_slice: int
    stored: StoredMask | None = None


Joined = JoinedTags | JoinedBox | JoinedPair | JoinedRow | JoinedSplit | JoinedMask


@dataclass(frozen=True)
class Unmatched:
    """A sound entry that joins no lesion. `entry` is kept where it can be placed in a volume all the same."""

    where: str
    reason: Missing
    entry: BoxEntry | None = None


@dataclass(frozen=True)
class SourceJoin:
    """One source, joined: `entries == len(joined) + len(unmatched) + len(rejects)`.

    Attributes:
        name: the source's name in the config.
        kind: what kind of file it is.
        entries: entries in its files.
        joined: those that join.
        unmatched: those that join no lesion, and why.
        rejects: those that are malformed or fail a check, and why.
        tags: names of tags by number.
        notes: further counts by name.
        problem: why a source keyed by row numbers is refused as a whole, or empty.
        splits: its list of splits, where its files hold one.
        labels: entries of a version's `labels` for its masks.
    """

    name: str
    kind: str
    entries: int
    joined: Sequence[Joined]
    unmatched: Sequence[Unmatched]
    rejects: Sequence[FaultyEntry]
    tags: Sequence[str] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    splits: SourceJoin | None = None
    labels: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        found = len(self.joined) + len(self.unmatched) + len(self.rejects)
        assert self.entries == found, f"{self.name}: {self.entries} entries, {found} accounted for"

    def lesions(self) -> set[int]:
        """Return the `lesion_id` of every lesion that an entry joins."""
        return {row.lesion_id for item in self.joined for row in rows_of(item)}

    def summary(self) -> dict[str, Any]:
        """Return the source's row of the report, as plain JSON types."""
        summary: dict[str, Any] = {
            "kind": self.kind,
            "entries": self.entries,
            "joined": len(self.joined),
            "unmatched": len(self.unmatched),
            "rejects": len(self.rejects),
            "unmatched_by_reason": _counted(item.reason for item in self.unmatched),
            "rejects_by_reason": _counted(item.reason for item in self.rejects),
            "reject_examples": [
                {"where": item.where, "reason": str(item.reason), "message": item.message}
                for item in self.rejects[:20]
            ],
            "lesions": len(self.lesions()),
            "notes": dict(self.notes),
        }
        residuals = [found for item in self.joined for found in residuals_px(item)]
        if residuals:
            summary["residual_px"] = {
                "x": round(median(x for x, _ in residuals), 3),
                "y": round(median(y for _, y in residuals), 3),
                "compared": len(residuals),
            }
        masks = [item for item in self.joined if isinstance(item, JoinedMask)]
        if masks:
            near = sum(item.end_point_px <= 3 for item in masks)
            summary["end_points_within_3_px"] = round(near / len(masks), 4)
        if self.problem:
            summary["refused"] = self.problem
        if self.splits is not None:
            summary["splits"] = self.splits.summary()
        return summary


def rows_of(item: Joined) -> tuple[PrintedRow, ...]:
    """Return the rows that a joined entry joins: two of a pair, else one."""
    return (item.first, item.second) if isinstance(item, JoinedPair) else (item.row,)


def residuals_px(item: Joined) -> tuple[tuple[float, float], ...]:
    """Return how far the entry's centres lie from the printed ones, x and y in pixels, both 0-based."""
    if isinstance(item, JoinedMask):
        return (item.residual_px,)
    if isinstance(item, JoinedBox):
        return (_residual(item.entry, item.row),)
    if isinstance(item, JoinedRow):
        return () if item.entry.box is None else (_residual(item.entry.box, item.row),)
    if isinstance(item, JoinedPair):
        # Width and height of boxes at an image's edge are clipped in this source, so corners are compared.
        sides = ((item.entry.first, item.first), (item.entry.second, item.second))
        return tuple((box.box_px[0] - row.box_px[0], box.box_px[1] - row.box_px[1]) for box, row in sides)
    return ()


def _residual(box: BoxEntry, row: PrintedRow) -> tuple[float, float]:
    a, b = box.box_px, row.box_px
    return (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2


def _counted(reasons: Any) -> dict[str, int]:
    return {str(reason): count for reason, count in sorted(Counter(reasons).items())}
