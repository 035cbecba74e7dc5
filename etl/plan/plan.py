"""Annotations + slice index + config -> the frozen, ordered list of volumes to build. No pixels are read.

A volume is a maximal run of consecutive slices that are present; its spacing and image size come
from the CSV rows whose Slice_range meets the run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from etl.core.config import Config, Volume
from etl.core.rejects import Kind, Reason, Reject
from etl.imaging.geometry import output_shape
from etl.imaging.resample import RESAMPLE_VERSION
from etl.plan.memory import conversion_bytes
from etl.plan.select import is_selected_run, missing_slices, rows_touching, select_rows, split_member_rejects
from etl.release.annotations import Annotations, RunGeometry
from etl.release.folders import with_checksums
from etl.release.index import SliceIndex
from etl.release.names import SeriesKey, parse_series_id, volume_id

# Raise it when the same source and config give other bytes: the layout of a volume's objects, its
# metadata, its receipt with what is measured in each slice, decoding. Resampling has its own version.
VOLUME_VERSION = 3

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class PlannedVolume:
    """One run of slices and what it becomes. Shapes and spacings are (z, y, x).

    Attributes:
        series: the series that the run is part of.
        slices: rows of `SLICE_DTYPE`, consecutive slice indices ascending.
        source_shape, source_spacing_mm: of the run.
        shape, spacing_mm: of the volume to store.
        fingerprint: 16 hex digits over everything that decides the volume's bytes.
    """

    series: SeriesKey
    slices: np.ndarray
    source_shape: Shape
    source_spacing_mm: Spacing
    shape: Shape
    spacing_mm: Spacing
    fingerprint: str

    @property
    def first(self) -> int:
        return int(self.slices["index"][0])

    @property
    def last(self) -> int:
        return int(self.slices["index"][-1])

    @property
    def volume_id(self) -> str:
        return volume_id(self.series, self.first, self.last)

    @property
    def container_numbers(self) -> set[int]:
        """Positions in the index of the archives or folders that hold its slices."""
        return set(self.slices["container"].tolist())

    @property
    def source_bytes(self) -> int:
        """Bytes of the PNG files as they lie in the archives."""
        return int(self.slices["stored_bytes"].sum())

    @property
    def output_bytes(self) -> int:
        """Bytes of the stored voxels before compression, first level."""
        return int(np.prod(self.shape, dtype=np.int64)) * 2

    def memory_bytes(self, volume: Volume, *, in_bucket: bool = False) -> int:
        """What its task holds at its peak, above the empty worker; see `conversion_bytes`."""
        return conversion_bytes(
            self.slices,
            self.source_shape,
            self.source_spacing_mm,
            self.shape,
            self.spacing_mm,
            volume,
            in_bucket=in_bucket,
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """What a build will do, and what it leaves out.

    Attributes:
        volumes: to build, in the store's order: patient, study, series, first slice.
        index: the slices of the release, checksums filled in for those of `volumes`.
        annotations: the CSV as read.
        selected_lesion_ids: accepted rows whose series and run are built.
        rejects: of the CSV, the archives and the runs; those of the pixels come with conversion.
        slices_not_selected: slices that `select` leaves out.
        rows_not_selected: rows that `select` leaves out, or whose series is in no given archive.
    """

    volumes: tuple[PlannedVolume, ...]
    index: SliceIndex
    annotations: Annotations
    selected_lesion_ids: np.ndarray
    rejects: tuple[Reject, ...]
    slices_not_selected: int
    rows_not_selected: int

    @cached_property
    def slice_count(self) -> int:
        return sum(len(volume.slices) for volume in self.volumes)


def plan_run(
    series: SeriesKey, slices: np.ndarray, spacing_mm: Spacing, image: tuple[int, int], volume: Volume
) -> PlannedVolume:
    """Plan one run of consecutive slices.

    Args:
        slices: rows of `SLICE_DTYPE`, consecutive.
        spacing_mm: of the source (z, y, x).
        image: rows and columns of each slice.
    """
    target: Spacing = spacing_mm if volume.spacing_mm == "native" else (volume.spacing_mm,) * 3
    source_shape = (len(slices), *image)
    return PlannedVolume(
        series,
        slices,
        source_shape,
        spacing_mm,
        output_shape(source_shape, spacing_mm, target),
        target,
        _fingerprint(series, slices, source_shape, spacing_mm, volume),
    )


def make_plan(
    annotations: Annotations,
    index: SliceIndex,
    config: Config,
) -> Plan:
    """Plan a build.

    Args:
    """
    select = config.select
    by_series: dict[SeriesKey, list[RunGeometry]] = defaultdict(list)
    for geometry in annotations.geometries:
        by_series[geometry.series].append(geometry)
    splits = dict(
        zip(annotations.lesions["lesion_id"].tolist(), annotations.lesions["split"].tolist(), strict=True)
    )

    chosen: list[tuple[SeriesKey, slice, RunGeometry]] = []
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
        if not is_selected_run(series, geometries, splits, select) or (
            select.limit is not None and len(chosen) == select.limit
        ):
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
            rejects += _each_slice(
                index, run, Reason.RUN_DISAGREES, "the rows of its run disagree on geometry"
            )
        else:
            chosen.append((series, run, geometries[0]))
            wanted[run] = True

    index = with_checksums(index, wanted)
    volumes = tuple(
        plan_run(
            series,
            index.slices[run],
            geometry.spacing_zyx_mm,
            (geometry.rows, geometry.columns),
            config.volume,
        )
        for series, run, geometry in chosen
    )

    members, others = split_member_rejects(
        index.rejects, lambda key: is_selected_run(key, by_series.get(key, []), splits, select)
    )
    present |= {key for reject in members if (key := parse_series_id(reject.series_id))}
    runs = [(volume.series, volume.first, volume.last) for volume in volumes]
    touched = rows_touching(annotations, runs) if select.limit is not None else None
    selected, rows = select_rows(annotations, present, disagreeing, touched, left_out, config)
    rejects += members
    rejects += rows
    reported |= {key for r in members if (key := parse_series_id(r.series_id))}
    rejects += missing_slices(annotations, index, members, reported, touched)
    return Plan(
        volumes,
        index,
        annotations,
        selected,
        tuple(rejects),
        not_selected + len(others),
        annotations.row_count - len(selected) - len(rows),
    )


def _runs(slices: np.ndarray) -> Iterator[tuple[SeriesKey, slice]]:
    """Maximal runs of consecutive slice indices of one series, in order."""
    if not len(slices):
        return
    breaks = slices["index"][1:] != slices["index"][:-1] + 1
    for name in SeriesKey._fields:
        breaks |= slices[name][1:] != slices[name][:-1]
    edges = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(slices)]]).tolist()
    for start, stop in itertools.pairwise(edges):
        row = slices[start]
        yield SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"])), slice(start, stop)


def _fingerprint(
    series: SeriesKey, slices: np.ndarray, shape: Shape, spacing_mm: Spacing, volume: Volume
) -> str:
    digest = hashlib.sha256()
    header = {
        "volume_version": VOLUME_VERSION,
        "resample_version": RESAMPLE_VERSION,
        "series": str(series),
        "shape": shape,
        "spacing_mm": spacing_mm,
        "volume": volume.model_dump(mode="json"),
    }
    digest.update(json.dumps(header, sort_keys=True).encode())
    for name in ("index", "bytes", "crc32"):
        digest.update(np.ascontiguousarray(slices[name]).tobytes())
    return digest.hexdigest()[:16]


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
    message = "rows of one contiguous run disagree: " + "; ".join(
        f"{geometry} in rows {', '.join(map(str, ids[:5]))}{' ...' if len(ids) > 5 else ''}"
        for geometry, ids in stated.items()
    )
    name = volume_id(series, first, last)
    yield Reject(
        Kind.VOLUME, Reason.RUN_DISAGREES, name, message + "; allowed: one geometry a run", str(series)
    )
