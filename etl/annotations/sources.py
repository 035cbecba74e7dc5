"""Read and join what a config's `source.more` names, one source after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from etl.annotations.aim_rows import read_aim_rows
from etl.annotations.coco_boxes import read_coco_boxes
from etl.annotations.containers import MOST_MEMBER_BYTES, read_bytes, sha256_of
from etl.annotations.dl_info_like import read_dl_info_like
from etl.annotations.dlt_pairs import read_dlt_pairs
from etl.annotations.entries import FaultyEntry, Missing, Reading
from etl.annotations.harvester_boxes import read_harvester_boxes
from etl.annotations.joined import JoinedMask, JoinedTags, SourceJoin, Unmatched, rows_of
from etl.annotations.joins import (
    Outcome,
    join_box,
    join_entries,
    join_pair,
    join_row,
    join_split,
    join_tags,
    sort_outcomes,
    unboxed_lesions,
)
from etl.annotations.lesanet_tags import read_lesanet_tags
from etl.annotations.manual_3d_boxes import read_manual_3d_boxes
from etl.annotations.mask_sources import MaskStore, join_masks
from etl.annotations.printed_rows import PrintedRow, Rows, printed_rows
from etl.annotations.release_order import RowNumbers, number_rows
from etl.annotations.several_files import one_reading
from etl.annotations.uls23_masks import parse_mask_name
from etl.core.config import File, More
from etl.core.errors import SourceError
from etl.core.urls import public_url
from etl.release.annotations import Annotations
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor

MASKS = "uls23_masks"
ROW_KEYED = "lesanet_tags"


@dataclass(frozen=True)
class Kind:
    """A kind of file: the reader of one, and the join of one entry."""

    read: Callable[[bytes, str], Reading[Any]]
    join: Callable[[Any, Rows], Outcome]


KINDS: Mapping[str, Kind] = {
    "lesanet_tags": Kind(read_lesanet_tags, join_tags),
    "dlt_pairs": Kind(read_dlt_pairs, join_pair),
    "harvester_boxes": Kind(read_harvester_boxes, join_box),
    "manual_3d_boxes": Kind(read_manual_3d_boxes, join_box),
    "aim_rows": Kind(read_aim_rows, join_box),
    "coco_boxes": Kind(read_coco_boxes, join_box),
    "dl_info_like": Kind(read_dl_info_like, join_row),
}
"""Every kind but masks, which are read file by file."""


@dataclass(frozen=True)
class GivenRows:
    """The rows of the CSV that sources are joined to, and how far their official numbers are known.

    Attributes:
        rows: those that are given: of the CSV, or of a store.
        numbers: of all rows of the CSV.
        row_count: rows of the CSV.
        candidates: rows that entries are compared with, where those are more: all of the store's series.
    """

    rows: Rows
    numbers: RowNumbers
    row_count: int
    candidates: Rows | None = None

    @property
    def lesion_ids(self) -> str:
        """`official` where the CSV is the release's or a part of it in its order, else `other`."""
        return "official" if self.numbers.is_official else "other"

    def summary(self) -> dict[str, Any]:
        """Return what is known of the CSV, as plain JSON types."""
        share = self.numbers.ascending_share
        return {
            "rows": self.row_count,
            "read": len(self.rows.rows),
            "lesion_ids": self.lesion_ids,
            "whole_release": self.numbers.is_whole,
            "official_numbers": len(self.numbers.numbers),
            "numbers_found_by": dict(self.numbers.found_by),
            "ascending_share": None if share is None else round(share, 4),
        }


def given_rows(annotations: Annotations) -> GivenRows:
    """Return the rows of a CSV with their official numbers, where these are certain."""
    rows = printed_rows(annotations.lesions)
    numbers = number_rows(rows, annotations.row_count, annotations.sha256)
    return GivenRows(Rows(rows, numbers.numbers, numbers.partial), numbers, annotations.row_count)


def stored_rows(given: GivenRows, lesions: pd.DataFrame) -> GivenRows:
    """Return the rows of a CSV that a store has.

    Args:
        given: the rows of the CSV that the store was built from.
        lesions: the store's table.

    Raises:
        SourceError: the store's lesions are not the CSV's rows of the same numbers.
    """
    by_id = {row.lesion_id: row for row in given.rows.rows}
    stored = printed_rows(lesions)
    for row in stored:
        if by_id.get(row.lesion_id) != row:
            raise SourceError(
                "the CSV is not the one that the store was built from",
                where=f"source.annotations, row {row.lesion_id}",
                value=str(by_id.get(row.lesion_id))[:200],
                allowed=str(row)[:200],
                remedy="name the store's own CSV in source.annotations",
            )
    found = replace(given.rows, rows=stored)
    of_its_series = [row for row in given.rows.rows if row.series in found.by_series]
    return replace(given, rows=found, candidates=replace(given.rows, rows=of_its_series))


def join_source(
    name: str,
    more: More,
    given: GivenRows,
    executor: Executor | None = None,
    store: MaskStore | None = None,
) -> SourceJoin:
    """Read and join one source.

    Args:
        name: its name in the config.
        more: its kind and files.
        given: the rows to join to.
        executor: where masks are read; one after the other in this process if None.
        store: where masks are stored, and whose volumes boxes are placed in; entries are only joined if None.

    Raises:
        SourceError: a file can't be read, or is of another kind.
        RunError: a task that reads masks failed, after retries.
    """
    if more.kind == MASKS:
        return _join_masks(name, more, given.rows, executor or SerialExecutor(), store)
    kind = KINDS[more.kind]
    readings = [kind.read(read_checked(file), public_url(file.url)) for file in more.places]
    reading = one_reading(name, readings, [file.url for file in more.places])
    candidates, present = given.candidates or given.rows, {row.lesion_id for row in given.rows.rows}

    def join(entry: Any) -> Outcome:
        found = kind.join(entry, candidates)
        if isinstance(found, FaultyEntry):
            return found
        if not isinstance(found, Unmatched):
            is_given = all(row.lesion_id in present for row in rows_of(found))
        elif (box := found.entry) is not None and store is not None:
            is_given = store.grids.holding(box.series, box.z_first, box.z_last) is not None
        else:
            is_given = True
        return found if is_given else Unmatched(entry.where, Missing.NOT_IN_CSV)

    joined = join_entries(name, more.kind, reading, join)
    if reading.volumes:
        joined = replace(joined, notes={**joined.notes, **unboxed_lesions(reading, given.rows)})
    return _refuse_rows(_with_types(joined), given) if more.kind == ROW_KEYED else joined


def read_checked(file: File) -> bytes:
    """Read one file, and compare its SHA-256 where the config gives one.

    Raises:
        SourceError: it can't be read, is too large, or is another file.
    """
    data = read_bytes(file.url, MOST_MEMBER_BYTES)
    _compare(file, hashlib.sha256(data).hexdigest())
    return data


def _compare(file: File, found: str) -> None:
    if file.sha256 is not None and found != file.sha256:
        raise SourceError(
            "the annotations are not the file that is expected",
            where=public_url(file.url),
            value=f"sha256 {found}",
            allowed=file.sha256,
            remedy="fetch the file again, or correct its sha256 in the config",
        )


def _with_types(joined: SourceJoin) -> SourceJoin:
    """Add counts of lesions whose tags name their own coarse type, and of those that name another only."""
    named = {"bone", "liver", "lung", "kidney", "mediastinum", "pelvis", "abdomen"}
    agree = contradict = 0
    for item in joined.joined:
        if isinstance(item, JoinedTags) and item.row.coarse_type in named:
            found = {joined.tags[tag] for tag in item.entry.relevant} & named
            agree += item.row.coarse_type in found
            contradict += bool(found) and item.row.coarse_type not in found
    return replace(
        joined, notes={**joined.notes, "tags_name_coarse_type": agree, "tags_name_other_type": contradict}
    )


def _refuse_rows(joined: SourceJoin, given: GivenRows) -> SourceJoin:
    """Say so where none of the rows that a source names can be found in the CSV for certain."""
    unknown = sum(item.reason is Missing.ROW_NUMBER_UNKNOWN for item in joined.unmatched)
    if joined.joined or not unknown:
        return joined
    error = SourceError(
        "the source names lesions by their row in the release's DL_info.csv, and the CSV is in another order",
        where=f"source.more.{joined.name}",
        value=f"official row numbers are certain for {len(given.numbers.numbers)} of {given.row_count} rows",
        allowed="DL_info.csv as released, or whole series of it in its order",
        remedy="give the release's own DL_info.csv",
    )
    return replace(joined, problem=str(error))


def _join_masks(name: str, more: More, rows: Rows, executor: Executor, store: MaskStore | None) -> SourceJoin:
    for file in more.places:
        if file.sha256 is not None:
            _compare(file, sha256_of(file.url))
    found = join_masks(name, [file.url for file in more.places], rows, executor, store)
    joined = sort_outcomes(name, MASKS, found.outcomes)
    masks: dict[tuple[object, int, int], PrintedRow] = {}
    for item in joined.joined:
        named = parse_mask_name(item.where.split(".")[0]) if isinstance(item, JoinedMask) else None
        if named is not None and isinstance(item, JoinedMask) and item.is_3d:
            masks[(named[0], named[1], named[3])] = item.row
    listed = None
    if found.splits:
        listed = join_entries(
            f"{name}.splits",
            MASKS,
            one_reading(name, found.splits),
            lambda entry: join_split(entry, rows, masks),
        )
    several = sum(item.lesions_on_slice > 1 for item in joined.joined if isinstance(item, JoinedMask))
    notes = {"files_of_other_kinds": found.ignored, "on_slices_with_several_lesions": several}
    return replace(joined, notes=notes, splits=listed, labels=found.labels)
