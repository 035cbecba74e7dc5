"""Selection of the rows and slices that a build takes; slices that the CSV promises and the release lacks.

Every row and slice is either built, rejected, or not selected.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etl.core.config import Config, Select
from etl.core.counted import first_of
from etl.core.rejects import Kind, Reason, Reject
from etl.release.annotations import Annotations, RunGeometry
from etl.release.index import SliceIndex, slice_codes, slice_codes_of, slice_of_code
from etl.release.names import SeriesKey, file_name, parse_series_id, volume_id


@dataclass(frozen=True, eq=False)
class RunChoice:
    """The runs of consecutive slices that a build takes, and the fate of all others.

    Attributes:
        runs: series, position in `index.slices` and geometry of each run to build, in order.
        wanted: boolean mask over `index.slices` of these runs.
        rejects: slices and runs without a usable geometry.
        disagreeing: ids of the rows that disagree with others of their run.
        present: series with at least one slice in the release.
        reported: series with at least one selected run.
        left_out: first and last slice of the runs that are not selected.
        slices_not_selected: number of their slices.
        is_selected: tells if `select` takes a series.
    """

    runs: tuple[tuple[SeriesKey, slice, RunGeometry], ...]
    wanted: np.ndarray
    rejects: tuple[Reject, ...]
    disagreeing: frozenset[int]
    present: frozenset[SeriesKey]
    reported: frozenset[SeriesKey]
    left_out: Mapping[SeriesKey, Sequence[tuple[int, int]]]
    slices_not_selected: int
    is_selected: Callable[[SeriesKey], bool]


def choose_runs(annotations: Annotations, index: SliceIndex, select: Select) -> RunChoice:
    """Divide the slices into maximal runs and choose those to build. The index needs no checksums."""
    by_series: dict[SeriesKey, list[RunGeometry]] = defaultdict(list)
    for geometry in annotations.geometries:
        by_series[geometry.series].append(geometry)
    lesions = annotations.lesions
    splits = dict(zip(lesions["lesion_id"].tolist(), lesions["split"].tolist(), strict=True))

    def is_selected(series: SeriesKey, geometries: Sequence[RunGeometry]) -> bool:
        return _is_selected_series(series, select) and (
            select.splits is None or any(splits.get(g.lesion_id) in select.splits for g in geometries)
        )

    runs: list[tuple[SeriesKey, slice, RunGeometry]] = []
    rejects: list[Reject] = []
    disagreeing: set[int] = set()
    present: set[SeriesKey] = set()
    reported: set[SeriesKey] = set()
    left_out: dict[SeriesKey, list[tuple[int, int]]] = defaultdict(list)
    wanted = np.zeros(len(index.slices), dtype=bool)
    not_selected = 0
    for series, run in _runs(index.slices):
        present.add(series)
        indices = index.slices["index"][run]
        first, last = int(indices[0]), int(indices[-1])
        geometries = [g for g in by_series.get(series, []) if g.first <= last and g.last >= first]
        if not is_selected(series, geometries) or len(runs) == select.limit:
            not_selected += len(indices)
            left_out[series].append((first, last))
            continue
        reported.add(series)
        if not geometries:
            message = "no row of the CSV gives this run's spacing; allowed: a Slice_range that meets it"
            rejects += _each_slice(index, run, Reason.SLICE_NOT_ANNOTATED, message)
        elif len({(g.spacing_zyx_mm, g.rows, g.columns) for g in geometries}) > 1:
            disagreeing.update(g.lesion_id for g in geometries)
            rejects += _disagreement(series, first, last, geometries)
            message = "the rows of its run disagree on geometry"
            rejects += _each_slice(index, run, Reason.RUN_DISAGREES, message)
        else:
            runs.append((series, run, geometries[0]))
            wanted[run] = True
    return RunChoice(
        tuple(runs),
        wanted,
        tuple(rejects),
        frozenset(disagreeing),
        frozenset(present),
        frozenset(reported),
        left_out,
        not_selected,
        lambda series: is_selected(series, by_series.get(series, [])),
    )


def _runs(slices: np.ndarray) -> Iterator[tuple[SeriesKey, slice]]:
    """Yield the maximal runs of consecutive slice indices of one series, in order."""
    if not len(slices):
        return
    breaks = slices["index"][1:] != slices["index"][:-1] + 1
    for name in SeriesKey._fields:
        breaks |= slices[name][1:] != slices[name][:-1]
    edges = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(slices)]]).tolist()
    for start, stop in itertools.pairwise(edges):
        row = slices[start]
        yield SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"])), slice(start, stop)


def _is_selected_series(series: SeriesKey, select: Select) -> bool:
    return (select.patients is None or series.patient in select.patients) and (
        select.series is None or str(series) in select.series
    )


def split_member_rejects(
    rejects: Sequence[Reject], is_selected: Callable[[SeriesKey], bool]
) -> tuple[list[Reject], list[Reject]]:
    """Return (rejects of selected series, rejects of the others)."""
    kept: list[Reject] = []
    others: list[Reject] = []
    for reject in rejects:
        key = parse_series_id(reject.series_id)
        (kept if key is None or is_selected(key) else others).append(reject)
    return kept, others


def rows_touching(annotations: Annotations, runs: Iterable[tuple[SeriesKey, int, int]]) -> set[int]:
    """Return the ids of the rows whose Slice_range overlaps one of the runs (series, first, last)."""
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
    choice: RunChoice,
    present: Collection[SeriesKey],
    slices: np.ndarray,
    touched: set[int] | None,
    config: Config,
) -> tuple[np.ndarray, list[Reject]]:
    """Return (ids of the rows to join, rejected rows); every other row is not selected.

    Args:
        present: series with at least one slice in the release, rejected ones included.
        slices: `slices_found` of the release.
        touched: with a limit, the ids of the rows whose Slice_range overlaps a planned run; None for all.
    """
    select, lesions = config.select, annotations.lesions
    selected: list[int] = []
    rejects: list[Reject] = []
    columns = ("lesion_id", "patient_index", "study_index", "series_index", "key_slice_index", "split")
    of_known_split = set(zip(*(lesions[c].tolist() for c in columns[1:4]), strict=True))
    for reject in annotations.rejects:
        key = parse_series_id(reject.series_id)
        if key is None or (
            _is_selected_series(key, select)
            and (key in present or config.source.complete)
            and (key not in of_known_split or choice.is_selected(key))
            and (touched is None or reject.lesion_id in touched)
        ):
            rejects.append(reject)
    elsewhere: set[int] = set()
    if config.source.partial:
        key_slices = slice_codes(np.stack([lesions[c].to_numpy(np.int64) for c in columns[1:5]]))
        elsewhere = set(lesions["lesion_id"].to_numpy()[~np.isin(key_slices, slices)].tolist())
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
        if lesion_id in elsewhere:
            continue
        in_left_out = any(first <= key_slice <= last for first, last in choice.left_out.get(series, ()))
        if touched is not None and (lesion_id not in touched or in_left_out):
            continue
        if lesion_id in choice.disagreeing:
            message = (
                "it disagrees with other rows of its run on spacing or image size; see the run's own reject"
            )
            rejects.append(
                Reject(Kind.ROW, Reason.RUN_DISAGREES, where, message, str(series), key_slice, lesion_id)
            )
            continue
        selected.append(lesion_id)
    return np.array(selected, dtype=np.int64), rejects


def slices_found(index: SliceIndex, members: Sequence[Reject]) -> np.ndarray:
    """Return one int64 for each slice in the release, for `select_rows` and `missing_slices`.

    Args:
        members: rejected members; they exist, so they are not missing.
    """
    rejected = [(*key, r.slice_index) for r in members if (key := parse_series_id(r.series_id))]
    numbers = np.array(rejected, dtype=np.int64).reshape(-1, 4).T
    return np.concatenate([slice_codes_of(index.slices), slice_codes(numbers)])


def missing_slices(
    annotations: Annotations,
    slices: np.ndarray,
    reported: Collection[SeriesKey],
    touched: set[int] | None,
) -> Iterator[Reject]:
    """Yield one reject for each slice that a Slice_range promises and the release lacks.

    Args:
        slices: `slices_found` of the release.
        reported: series of this build.
        touched: ids of the rows to consider; None for all.
    """
    ranges: dict[tuple[SeriesKey, int, int], int] = {}
    for g in annotations.geometries:
        if g.series in reported and (touched is None or g.lesion_id in touched):
            ranges.setdefault((g.series, g.first, g.last), g.lesion_id)
    if not ranges:
        return
    lengths = [last - first + 1 for _, first, last in ranges]
    keys = np.repeat([[*series] for series, _, _ in ranges], lengths, axis=0).T
    numbers = np.concatenate([np.arange(first, last + 1) for _, first, last in ranges])
    promised = slice_codes(np.vstack([keys, numbers]))
    lesion_ids = np.repeat(list(ranges.values()), lengths)
    promised, position = np.unique(promised, return_index=True)
    missing = ~np.isin(promised, slices)
    for code, lesion_id in zip(
        promised[missing].tolist(), lesion_ids[position][missing].tolist(), strict=True
    ):
        series, number = slice_of_code(code)
        yield Reject(
            Kind.SLICE,
            Reason.SLICE_MISSING,
            f"{annotations.source} row {lesion_id}: {file_name(series, number)}",
            "the row's Slice_range promises this slice and no archive or folder holds it",
            str(series),
            number,
        )


def _each_slice(index: SliceIndex, run: slice, reason: Reason, message: str) -> Iterator[Reject]:
    for row in index.slices[run]:
        series = index.series_id(row)
        where = f"{index.containers[row['container']].name}: {series}/{row['index']:03d}.png"
        yield Reject(Kind.SLICE, reason, where, message, series, int(row["index"]))


def _disagreement(
    series: SeriesKey, first: int, last: int, geometries: Sequence[RunGeometry]
) -> Iterator[Reject]:
    stated: dict[str, list[int]] = defaultdict(list)
    for g in geometries:
        z, y, x = g.spacing_zyx_mm
        stated[f"{x} x {y} x {z} mm, {g.columns} x {g.rows} px"].append(g.lesion_id)
    texts = [f"{geometry} in rows {first_of(ids)}" for geometry, ids in stated.items()]
    message = f"rows of one contiguous run disagree: {first_of(texts, between='; ')}"
    name = volume_id(series, first, last)
    yield Reject(
        Kind.VOLUME, Reason.RUN_DISAGREES, name, message + "; allowed: one geometry a run", str(series)
    )
