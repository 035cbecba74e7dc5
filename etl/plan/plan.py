"""Annotations + slice index + config -> the frozen, ordered list of volumes to build. No I/O.

A volume is a maximal run of consecutive slices that are present; its spacing and image size come from the CSV
rows whose Slice_range overlaps the run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from etl.core.config import Config, Volume
from etl.core.rejects import Reject
from etl.core.spacings import target_mm
from etl.imaging.geometry import output_shape
from etl.imaging.resample import RESAMPLE_VERSION
from etl.plan.memory import conversion_bytes
from etl.plan.select import (
    choose_runs,
    missing_slices,
    rows_touching,
    select_rows,
    slices_found,
    split_member_rejects,
)
from etl.release.annotations import Annotations
from etl.release.index import SliceIndex
from etl.release.names import SeriesKey, parse_series_id, volume_id

# Raise this when the same source and config give other bytes: the layout of a volume's objects, its metadata,
# its receipt with the measures of each slice, decoding. Resampling has its own version.
VOLUME_VERSION = 4

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class PlannedVolume:
    """One run of slices and the volume to make of it. Shapes and spacings are (z, y, x).

    Attributes:
        series: series of the run.
        slices: rows of `SLICE_DTYPE`, consecutive slice indices ascending.
        source_shape, source_spacing_mm: grid of the run.
        shape, spacing_mm: grid of the volume to store.
        parameters: interpolation, clipping, chunks and codec of the volume.
        peak_bytes: peak memory of its conversion, above that of an idle worker.
        fingerprint: 16 hex digits over everything that decides the volume's bytes.
    """

    series: SeriesKey
    slices: np.ndarray
    source_shape: Shape
    source_spacing_mm: Spacing
    shape: Shape
    spacing_mm: Spacing
    parameters: Volume
    peak_bytes: int
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
        """Positions in the index of the archives or folders with its slices."""
        return set(self.slices["container"].tolist())

    @property
    def source_bytes(self) -> int:
        """Bytes of the PNG files as stored in the archives."""
        return int(self.slices["stored_bytes"].sum())

    @property
    def output_bytes(self) -> int:
        """Bytes of the voxels of the first level before compression."""
        return int(np.prod(self.shape, dtype=np.int64)) * 2


@dataclass(frozen=True, eq=False)
class Plan:
    """The volumes that a build makes, and the rows and slices that it leaves out.

    Attributes:
        volumes: in the store's order: patient, study, series, first slice.
        index: the slices of the release, with checksums for those of `volumes`.
        annotations: the CSV as read.
        selected_lesion_ids: accepted rows whose series and run are built.
        rejects: rejects of the CSV, the archives and the runs; conversion adds those of the pixels.
        slices_not_selected: slices that `select` leaves out.
        rows_not_selected: rows that `select` leaves out, whose series is in no given archive, or whose key
            slice is not in a partial source.
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
    series: SeriesKey,
    slices: np.ndarray,
    spacing_mm: Spacing,
    image: tuple[int, int],
    volume: Volume,
    *,
    in_bucket: bool = False,
) -> PlannedVolume:
    """Plan one run of consecutive slices.

    Args:
        slices: rows of `SLICE_DTYPE`, consecutive.
        spacing_mm: spacing of the source (z, y, x).
        image: rows and columns of each slice.
        in_bucket: the store is a bucket, which raises the peak memory.
    """
    target: Spacing = target_mm(volume.spacing_mm, spacing_mm)
    source_shape = (len(slices), *image)
    shape = output_shape(source_shape, spacing_mm, target)
    return PlannedVolume(
        series,
        slices,
        source_shape,
        spacing_mm,
        shape,
        target,
        volume,
        conversion_bytes(slices, source_shape, spacing_mm, shape, target, volume, in_bucket=in_bucket),
        _fingerprint(series, slices, source_shape, spacing_mm, volume),
    )


def make_plan(annotations: Annotations, index: SliceIndex, config: Config) -> Plan:
    """Plan a build. Pure: slices of a folder need their checksums in the index; see `with_checksums`."""
    choice = choose_runs(annotations, index, config.select)
    in_bucket = config.store.startswith("s3://")
    volumes = tuple(
        plan_run(
            series,
            index.slices[run],
            geometry.spacing_zyx_mm,
            (geometry.rows, geometry.columns),
            config.volume,
            in_bucket=in_bucket,
        )
        for series, run, geometry in choice.runs
    )
    members, others = split_member_rejects(index.rejects, choice.is_selected)
    member_series = {key for reject in members if (key := parse_series_id(reject.series_id))}
    runs = [(volume.series, volume.first, volume.last) for volume in volumes]
    touched = rows_touching(annotations, runs) if config.select.limit is not None else None
    present, slices = choice.present | member_series, slices_found(index, index.rejects)
    selected, rows = select_rows(annotations, choice, present, slices, touched, config)
    reported = () if config.source.partial else choice.reported | member_series
    missing = missing_slices(annotations, slices, reported, touched)
    return Plan(
        volumes,
        index,
        annotations,
        selected,
        (*choice.rejects, *members, *rows, *missing),
        choice.slices_not_selected + len(others),
        annotations.row_count - len(selected) - len(rows),
    )


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
