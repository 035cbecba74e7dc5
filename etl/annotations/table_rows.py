"""Joined sources -> rows of the tables tags, pairs, boxes, masks, other_splits and of their accounts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from etl.annotations.entries import BoxEntry
from etl.annotations.grids import Grids
from etl.annotations.joined import (
    JoinedBox,
    JoinedMask,
    JoinedPair,
    JoinedRow,
    JoinedSplit,
    JoinedTags,
    SourceJoin,
    StoredMask,
)
from etl.annotations.sources import GivenRows
from etl.imaging.geometry import mm_to_voxel
from etl.tables.annotation_sources import ANNOTATION_REJECTS, ANNOTATION_SOURCES
from etl.tables.boxes import BOXES
from etl.tables.masks import BOUNDS, MASKS
from etl.tables.other_splits import OTHER_SPLITS
from etl.tables.pairs import PAIRS
from etl.tables.release_rows import RELEASE_ROWS
from etl.tables.table import Table
from etl.tables.tags import TAGS

Row = dict[str, Any]


def annotation_tables(
    joins: Sequence[SourceJoin], grids: Grids, given: GivenRows
) -> list[tuple[Table, pa.Table]]:
    """Return every table of annotations with its rows, sorted by key.

    Args:
        joins: the sources.
        grids: the store's volumes.
        given: the store's rows, and their official numbers.
    """
    rows: Mapping[Table, Iterable[Row]] = {
        TAGS: (row for join in joins for row in _tags(join)),
        PAIRS: (row for join in joins for row in _pairs(join)),
        BOXES: (row for join in joins for row in _boxes(join, grids)),
        MASKS: (row for join in joins for row in _masks(join)),
        OTHER_SPLITS: (row for join in joins for row in _splits(join)),
        RELEASE_ROWS: _numbers(given),
        ANNOTATION_SOURCES: (_account(join, given.lesion_ids) for join in _with_splits(joins)),
        ANNOTATION_REJECTS: (row for join in _with_splits(joins) for row in _rejects(join)),
    }
    return [(table, _table(table, found)) for table, found in rows.items()]


def _table(table: Table, rows: Iterable[Row]) -> pa.Table:
    if table.key:
        once = {tuple(row[name] for name in table.key): row for row in rows}
        found = [once[key] for key in sorted(once)]
    else:
        found = list(rows)
    return table.rows({name: [row[name] for row in found] for name in table.rows_schema.names})


def _with_splits(joins: Sequence[SourceJoin]) -> Iterator[SourceJoin]:
    for join in joins:
        yield join
        if join.splits is not None:
            yield join.splits


def _tags(join: SourceJoin) -> Iterator[Row]:
    for item in join.joined:
        if isinstance(item, JoinedTags):
            for certainty in ("relevant", "uncertain"):
                for tag in getattr(item.entry, certainty):
                    yield {
                        "lesion_id": item.row.lesion_id,
                        "source": join.name,
                        "tag_id": tag,
                        "tag": join.tags[tag],
                        "certainty": certainty,
                    }


def _pairs(join: SourceJoin) -> Iterator[Row]:
    for item in join.joined:
        if isinstance(item, JoinedPair):
            low, high = sorted((item.first.lesion_id, item.second.lesion_id))
            yield {
                "source": join.name,
                "lesion_id_1": low,
                "lesion_id_2": high,
                "same_study": item.is_same_study,
            }


def _boxes(join: SourceJoin, grids: Grids) -> Iterator[Row]:
    for item in join.joined:
        if isinstance(item, JoinedBox):
            yield from _box(join.name, item.entry, grids, item.row.lesion_id, item.row.key_slice, item.iou)
        elif isinstance(item, JoinedRow) and item.entry.box is not None:
            box = item.entry.box
            yield from _box(join.name, box, grids, item.row.lesion_id, item.row.key_slice, item.iou)
    for missing in join.unmatched:
        if missing.entry is not None:
            yield from _box(join.name, missing.entry, grids, None, None, None)


def _box(
    source: str, entry: BoxEntry, grids: Grids, lesion_id: int | None, key: int | None, iou: float | None
) -> Iterator[Row]:
    first, last = (entry.z_first, entry.z_last) if key is None else (key, key)
    grid = grids.holding(entry.series, first, last)
    if grid is None:
        return
    x1, y1, x2, y2 = entry.box_px
    z1, z2 = entry.z_first - grid.slice_first, entry.z_last - grid.slice_first
    row: Row = {
        "source": source,
        "entry": entry.where,
        "volume_id": grid.volume_id,
        "lesion_id": lesion_id,
        "iou": iou,
        "is_3d": entry.is_3d,
        "has_margin": entry.with_margin,
        "slice_first": entry.z_first,
        "slice_last": entry.z_last,
    }
    corners = {"x1": (x1, 2), "y1": (y1, 1), "z1": (z1, 0), "x2": (x2, 2), "y2": (y2, 1), "z2": (z2, 0)}
    for name, (value, axis) in corners.items():
        mm = value * grid.source_spacing_mm[axis]
        row[f"{name}_px"] = value + 1
        row[f"{name}_mm"] = mm
        row[f"{name}_vox"] = mm_to_voxel(mm, grid.spacing_mm[axis])
    yield row


def _masks(join: SourceJoin) -> Iterator[Row]:
    for item in join.joined:
        if isinstance(item, JoinedMask):
            yield {
                "source": join.name,
                "file": item.where,
                "lesion_id": item.row.lesion_id,
                "is_3d": item.is_3d,
                "voxels": item.voxels,
                "volume_mm3": item.volume_mm3,
                "recist_share": item.recist_share,
                "end_point_px": item.end_point_px,
                "lesions_on_slice": item.lesions_on_slice,
                **_place(item.stored),
            }


def _place(stored: StoredMask | None) -> Row:
    """Return the columns that say where a mask lies in the store."""
    found: Row = {
        "volume_id": stored and stored.volume_id,
        "path": stored and stored.path,
        "source_path": stored and stored.source_path,
        "stored_voxels": stored and stored.voxels,
    }
    for at, name in enumerate(BOUNDS):
        found[f"{name}_vox"] = stored and stored.bounds[at]
        found[f"source_{name}"] = stored and stored.source_bounds[at]
    return found


def _splits(join: SourceJoin) -> Iterator[Row]:
    for item in (*join.joined, *(join.splits.joined if join.splits else ())):
        if isinstance(item, (JoinedTags, JoinedSplit)) and item.entry.split:
            yield {"lesion_id": item.row.lesion_id, "source": join.name, "split": item.entry.split}


def _numbers(given: GivenRows) -> Iterator[Row]:
    for row in given.rows.rows:
        if row.lesion_id in given.numbers.numbers:
            yield {"lesion_id": row.lesion_id, "release_row": given.numbers.numbers[row.lesion_id]}


def _account(join: SourceJoin, lesion_ids: str) -> Row:
    summary = join.summary()
    residual = summary.get("residual_px", {})
    reasons = {"unmatched": summary["unmatched_by_reason"], "rejects": summary["rejects_by_reason"]}
    return {
        "source": join.name,
        "kind": join.kind,
        **{name: summary[name] for name in ("entries", "joined", "unmatched", "rejects")},
        "reasons": json.dumps(reasons, sort_keys=True),
        "residual_x_px": residual.get("x"),
        "residual_y_px": residual.get("y"),
        "lesion_ids": lesion_ids,
        "problem": join.problem or None,
    }


def _rejects(join: SourceJoin) -> Iterator[Row]:
    for item in join.rejects:
        yield {
            "source": join.name,
            "entry": item.where,
            "reason": str(item.reason),
            "message": item.message,
        }
