"""Which rows and slices of the release a build takes, and what the CSV promises that isn't there.

Every row and slice ends in one of three places: built, rejected, not selected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from etl.core.config import Config, Select
from etl.core.rejects import Kind, Reason, Reject
from etl.release.annotations import Annotations, RunGeometry
from etl.release.index import SliceIndex
from etl.release.names import SeriesKey, file_name, parse_series_id


def is_selected_run(
    series: SeriesKey, geometries: Sequence[RunGeometry], splits: dict[int, str], select: Select
) -> bool:
    if not _is_selected_series(series, select):
        return False
    return select.splits is None or any(splits.get(g.lesion_id) in select.splits for g in geometries)


def _is_selected_series(series: SeriesKey, select: Select) -> bool:
    return (select.patients is None or series.patient in select.patients) and (
        select.series is None or str(series) in select.series
    )


def split_member_rejects(
    rejects: Sequence[Reject], is_selected: Callable[[SeriesKey], bool]
) -> tuple[list[Reject], list[Reject]]:
    """(kept, not selected): a member of a series that `select` leaves out is not this build's affair."""
    kept: list[Reject] = []
    others: list[Reject] = []
    for reject in rejects:
        key = parse_series_id(reject.series_id)
        (kept if key is None or is_selected(key) else others).append(reject)
    return kept, others


def rows_touching(annotations: Annotations, runs: Iterable[tuple[SeriesKey, int, int]]) -> set[int]:
    """Ids of the rows whose Slice_range meets one of the runs (series, first, last)."""
    by_series: dict[SeriesKey, list[tuple[int, int]]] = defaultdict(list)
    for series, first, last in runs:
        by_series[series].append((first, last))
    return {
        g.lesion_id
        for g in annotations.geometries
        if any(g.first <= last and g.last >= first for first, last in by_series.get(g.series, []))
    }


def select_rows(
    annotations: Annotations,
    present: set[SeriesKey],
    disagreeing: set[int],
    touched: set[int] | None,
    left_out: Mapping[SeriesKey, Sequence[tuple[int, int]]],
    config: Config,
) -> tuple[np.ndarray, list[Reject]]:
    """(ids of the rows to join, rejected rows); every other row is not selected.

    Args:
        present: series of which the release has a slice.
        disagreeing: ids of the rows that disagree with others of their run.
        touched: ids of the rows whose Slice_range meets a planned run, where there is a limit; None for all.
        left_out: first and last slice of the runs that are not built because they are not selected.
    """
    select, lesions = config.select, annotations.lesions
    selected: list[int] = []
    rejects: list[Reject] = []
    for reject in annotations.rejects:
        key = parse_series_id(reject.series_id)
        known = key is not None
        if key is not None and not (
            _is_selected_series(key, select) and (key in present or config.source.complete)
        ):
            continue
        if touched is not None and known and reject.lesion_id not in touched:
            continue
        rejects.append(reject)
    columns = ("lesion_id", "patient_index", "study_index", "series_index", "key_slice_index", "split")
    for lesion_id, *numbers, key_slice, split in zip(*(lesions[c].tolist() for c in columns), strict=True):
        series = SeriesKey(*numbers)
        if not _is_selected_series(series, select) or (
            select.splits is not None and split not in select.splits
        ):
            continue
        where = f"{annotations.source} row {lesion_id}: {file_name(series, key_slice)}"
        if series not in present:
            if config.source.complete:
                message = "its series is in no archive; source.complete says that the whole release is given"
                rejects.append(
                    Reject(Kind.ROW, Reason.SERIES_MISSING, where, message, str(series), key_slice, lesion_id)
                )
            continue
        in_left_out = any(first <= key_slice <= last for first, last in left_out.get(series, ()))
        if touched is not None and (lesion_id not in touched or in_left_out):
            continue
        if lesion_id in disagreeing:
            message = (
                "it disagrees with other rows of its run on spacing or image size; see the run's own reject"
            )
            rejects.append(
                Reject(Kind.ROW, Reason.RUN_DISAGREES, where, message, str(series), key_slice, lesion_id)
            )
            continue
        selected.append(lesion_id)
    return np.array(selected, dtype=np.int64), rejects


def missing_slices(
    annotations: Annotations,
    index: SliceIndex,
    members: Sequence[Reject],
    reported: Collection[SeriesKey],
    touched: set[int] | None,
) -> Iterator[Reject]:
    """What Slice_range promises and the release lacks, one reject a slice.

    Args:
        members: rejected members; what is there but rejected is not missing.
        reported: series of this build.
        touched: ids of the rows to look at; None for all.
    """
    ranges: dict[tuple[SeriesKey, int, int], int] = {}
    for g in annotations.geometries:
        if g.series in reported and (touched is None or g.lesion_id in touched):
            ranges.setdefault((g.series, g.first, g.last), g.lesion_id)
    if not ranges:
        return
    rejected = [(*key, r.slice_index) for r in members if (key := parse_series_id(r.series_id))]
    known = np.array([index.slices[name] for name in (*SeriesKey._fields, "index")], dtype=np.int64)
    have = _codes(np.concatenate([known, np.array(rejected, dtype=np.int64).reshape(-1, 4).T], axis=1))
    lengths = [last - first + 1 for _, first, last in ranges]
    keys = np.repeat([[*series] for series, _, _ in ranges], lengths, axis=0).T
    numbers = np.concatenate([np.arange(first, last + 1) for _, first, last in ranges])
    promised = _codes(np.vstack([keys, numbers]))
    lesion_ids = np.repeat(list(ranges.values()), lengths)
    promised, position = np.unique(promised, return_index=True)
    missing = ~np.isin(promised, have)
    for code, lesion_id in zip(
        promised[missing].tolist(), lesion_ids[position][missing].tolist(), strict=True
    ):
        series, number = _decode(code)
        yield Reject(
            Kind.SLICE,
            Reason.SLICE_MISSING,
            f"{annotations.source} row {lesion_id}: {file_name(series, number)}",
            "the row's Slice_range promises this slice and no archive or folder holds it",
            str(series),
            number,
        )


def _codes(slices: np.ndarray) -> np.ndarray:
    """One int64 a slice from rows (patient, study, series, index), ordered as the slices are."""
    patient, study, series, index = slices
    return ((patient * 100 + study) * 100 + series) * 1_000_000 + index


def _decode(code: int) -> tuple[SeriesKey, int]:
    code, index = divmod(code, 1_000_000)
    code, series = divmod(code, 100)
    patient, study = divmod(code, 100)
    return SeriesKey(patient, study, series), index
