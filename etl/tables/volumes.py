"""The table `volumes`: the catalogue, one row a volume."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from etl.imaging.geometry import output_shape
from etl.imaging.location import Line, fit_line
from etl.release.names import SeriesKey
from etl.tables.built import BuiltVolume
from etl.tables.checks import StoredTables, Wrong, differing
from etl.tables.table import FLOAT, INT, LONG, TEXT, Table, field, series_fields

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA = pa.schema(
    [
        field("volume_id", TEXT, "PPPPPP_SS_RR_FFF-LLL: patient, study, series, first and last slice"),
        field("path", TEXT, "of the OME-Zarr group, relative to the store"),
        *series_fields(),
        field("slice_first", INT, "number of the first slice"),
        field("slice_last", INT, "number of the last slice"),
        field("split", TEXT, "train, val or test, of its lesions; null without lesions", nullable=True),
        *(field(f"shape_{a}", INT, f"voxels along {a}", "voxel") for a in "zyx"),
        *(field(f"spacing_{a}_mm", FLOAT, f"voxel spacing along {a}", "mm") for a in "zyx"),
        *(field(f"source_shape_{a}", INT, f"source pixels along {a} (slices for z)", "pixel") for a in "zyx"),
        *(field(f"source_spacing_{a}_mm", FLOAT, f"source spacing along {a}", "mm") for a in "zyx"),
        field("bytes", LONG, "of all its objects", "byte"),
        field("sha256", TEXT, "of its receipt, which lists every object's"),
        field("fingerprint", TEXT, "over the source slices and every parameter that changes voxels"),
        field("hu_minimum", INT, "least stored voxel", "HU"),
        field("hu_maximum", INT, "greatest stored voxel", "HU"),
        field("hu_mean", FLOAT, "mean of the stored voxels", "HU"),
        field("hu_standard_deviation", FLOAT, "standard deviation of the stored voxels", "HU"),
        field("source_archives", pa.list_(TEXT), "archives (or the folder) that its slices are from"),
        field("lesion_count", INT, "rows of `lesions` in this volume"),
        field(
            "norm_z_slope_per_mm",
            FLOAT,
            "of the line of norm_z on z_mm through the key slices of the series (of the volume, where slice "
            "intervals within the series differ); null with fewer than two",
            "1/mm",
            nullable=True,
        ),
        field("norm_z_intercept", FLOAT, "norm_z of that line at z_mm = 0 of this volume", nullable=True),
        field(
            "norm_z_residual",
            FLOAT,
            "root mean square distance of norm_z from that line, with n - 2 degrees of freedom; null with "
            "fewer than three key slices",
            nullable=True,
        ),
        field("norm_z_key_slices", INT, "different key slices that the line is fitted to, n; 0: no line"),
        field("norm_z_span_mm", FLOAT, "from the first to the last of them", "mm", nullable=True),
    ]
)

ZLine = tuple[Line, float] | None
"""The line of published z on z_mm of a volume, and the distance of its outermost key slices in mm."""


def volume_rows(
    built: Sequence[BuiltVolume], positions: Sequence[int], splits: Sequence[str], lines: Sequence[ZLine]
) -> pa.Table:
    """Return the rows of the table.

    Args:
        positions, splits: of each lesion: the position of its volume in `built`, and its split.
        lines: one a volume, of `z_lines`.
    """
    lesion_count = Counter(positions)
    by_position: dict[int, set[str]] = defaultdict(set)
    for position, split in zip(positions, splits, strict=True):
        by_position[position].add(split)
    no_line = (Line(np.nan, np.nan, None, np.nan, 0), np.nan)
    rows = []
    for position, volume in enumerate(built):
        found = by_position[position]
        line, span_mm = lines[position] or no_line
        row = {
            **{name: getattr(volume, name) for name in ("volume_id", "path", "bytes", "sha256")},
            "fingerprint": volume.fingerprint,
            "patient_index": volume.series.patient,
            "study_index": volume.series.study,
            "series_index": volume.series.series,
            "slice_first": volume.first,
            "slice_last": volume.last,
            "split": next(iter(found)) if len(found) == 1 else None,
            **{f"hu_{name}": value for name, value in asdict(volume.hu).items()},
            "source_archives": list(volume.archives),
            "lesion_count": lesion_count[position],
            "norm_z_slope_per_mm": line.slope,
            "norm_z_intercept": line.intercept,
            "norm_z_residual": line.residual,
            "norm_z_key_slices": line.points,
            "norm_z_span_mm": span_mm,
        }
        for number, axis in enumerate("zyx"):
            row[f"shape_{axis}"] = volume.shape[number]
            row[f"spacing_{axis}_mm"] = volume.spacing_mm[number]
            row[f"source_shape_{axis}"] = volume.source_shape[number]
            row[f"source_spacing_{axis}_mm"] = volume.source_spacing_mm[number]
        rows.append(row)
    return VOLUMES.rows({name: [row[name] for row in rows] for name in _SCHEMA.names})


def z_lines(lesions: pd.DataFrame, built: Sequence[BuiltVolume]) -> list[ZLine]:
    """Fit for each volume the line of published z on z_mm.

    A line is fitted to all key slices of the series, on slice number x slice interval; where the intervals
    within a series differ, to the volume's own key slices. None with fewer than two.

    Args:
        lesions: of these volumes.
    """
    scores: dict[SeriesKey, dict[int, float]] = defaultdict(dict)
    names = ("patient_index", "study_index", "series_index", "key_slice_index", "norm_z")
    for *key, index, z in zip(*(lesions[name].tolist() for name in names), strict=True):
        scores[SeriesKey(*key)][index] = z
    intervals: dict[SeriesKey, set[float]] = defaultdict(set)
    for volume in built:
        intervals[volume.series].add(volume.source_spacing_mm[0])
    lines: list[ZLine] = []
    for volume in built:
        interval_mm = volume.source_spacing_mm[0]
        whole = len(intervals[volume.series]) == 1
        points = [
            ((index - volume.first) * interval_mm, z)
            for index, z in sorted(scores[volume.series].items())
            if whole or volume.first <= index <= volume.last
        ]
        line = fit_line(*zip(*points, strict=True)) if points else None
        lines.append((line, points[-1][0] - points[0][0]) if line else None)
    return lines


def _check_catalogue(stored: StoredTables) -> Iterator[Wrong]:
    """Check the catalogue against the version file and the receipts."""
    entries = {entry["volume_id"]: entry for entry in stored.version["volumes"]}
    rows = {row["volume_id"]: row for row in stored.rows["volumes"].to_dict("records")}
    if "volumes" in stored.complete:
        for volume_id in sorted(entries.keys() - rows.keys()):
            yield Wrong("volume is not in the table `volumes`", volume_id)
    for volume_id in sorted(entries.keys() & rows.keys()):
        row, entry = rows[volume_id], entries[volume_id]
        values = [(name, row[name], entry[name]) for name in ("path", "bytes", "sha256")]
        shape, spacing, source_shape, source_spacing = (
            tuple(row[pattern.format(axis)] for axis in "zyx")
            for pattern in ("shape_{}", "spacing_{}_mm", "source_shape_{}", "source_spacing_{}_mm")
        )
        values.append(("shape (z, y, x)", shape, output_shape(source_shape, source_spacing, spacing)))
        if volume_id in stored.facts:
            own = stored.facts[volume_id]
            values.append(("fingerprint", row["fingerprint"], own.fingerprint))
            values.append(("shape (z, y, x), by its receipt,", shape, own.shape))
            values.append(("spacing (z, y, x) in mm", spacing, own.spacing_mm))
            values += [(f"hu_{name}", row[f"hu_{name}"], value) for name, value in asdict(own.hu).items()]
        yield from differing(f"volumes: {volume_id}", values)


def _check_lesion_counts(stored: StoredTables) -> Iterator[Wrong]:
    """Check that the lesions of each volume are as many as the catalogue says."""
    if stored.complete.issuperset({"lesions", "volumes"}):
        counts = Counter(stored.rows["lesions"]["volume_id"])
        columns: Any = stored.rows["volumes"][["volume_id", "lesion_count"]]
        for volume_id, count in columns.itertuples(index=False):
            yield from differing(f"volumes: {volume_id}", [("lesion_count", count, counts[volume_id])])


VOLUMES = Table(
    "volumes",
    "catalogue of the volumes; one row a volume",
    _SCHEMA,
    key=("volume_id",),
    unit="volume",
    unit_columns=("volume_id",),
    checks=(_check_catalogue, _check_lesion_counts),
)
