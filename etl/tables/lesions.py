"""The table `lesions`: one row an accepted row of DL_info.csv, joined to the volume of its key slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from etl.core.rejects import Kind, Reason, Reject
from etl.imaging.geometry import mm_to_voxel, pixel_to_mm
from etl.release.annotation_columns import SPLITS as SPLIT_CODES
from etl.release.names import SeriesKey, file_name
from etl.tables.built import BuiltVolume
from etl.tables.checks import StoredTables, Wrong
from etl.tables.locations import check_locations, location_columns
from etl.tables.table import BOOL, FLOAT, INT, TEXT, Partition, Table, field, series_fields

if TYPE_CHECKING:
    import pandas as pd

SPLITS = tuple(SPLIT_CODES.values())

POINTS = {
    "recist_long_x1": ("x", "column of the long diameter's first end"),
    "recist_long_y1": ("y", "row of the long diameter's first end"),
    "recist_long_x2": ("x", "column of the long diameter's second end"),
    "recist_long_y2": ("y", "row of the long diameter's second end"),
    "recist_short_x1": ("x", "column of the short diameter's first end"),
    "recist_short_y1": ("y", "row of the short diameter's first end"),
    "recist_short_x2": ("x", "column of the short diameter's second end"),
    "recist_short_y2": ("y", "row of the short diameter's second end"),
    "bbox_x1": ("x", "left edge of the box"),
    "bbox_y1": ("y", "upper (anterior) edge of the box"),
    "bbox_x2": ("x", "right edge of the box"),
    "bbox_y2": ("y", "lower (posterior) edge of the box"),
}
"""Coordinates in the image plane: name -> (axis, meaning)."""


_SCHEMA = pa.schema(
    [
        field(
            "lesion_id", INT, "0-based row number in DL_info.csv, as other public work on the release counts"
        ),
        field("volume_id", TEXT, "volume that holds the key slice"),
        field("file_name", TEXT, "key slice as the CSV names it"),
        *series_fields(),
        field("key_slice_index", INT, "slice number of the key slice"),
        *(
            field(f"{name}_px", FLOAT, f"{text}, as published: pixel centres count from 1", "pixel")
            for name, (_, text) in POINTS.items()
        ),
        field("bbox_past_edge", BOOL, "the box reaches past the image's edge"),
        *(
            field(f"{name}_mm", FLOAT, f"{text}, from the centre of the first voxel", "mm")
            for name, (_, text) in POINTS.items()
        ),
        field("z_mm", FLOAT, "key slice, from the centre of the volume's first voxel", "mm"),
        *(
            field(
                f"lps_{axis}_mm",
                FLOAT,
                f"middle of the box on the key slice, towards the patient's {way}, from the centre of the "
                f"volume's first voxel (LPS, as in ITK and DICOM); RAS is {ras}",
                "mm",
            )
            for axis, way, ras in (
                ("x", "left", "-lps_x_mm"),
                ("y", "back (posterior)", "-lps_y_mm"),
                ("z", "head (superior)", "lps_z_mm, the same"),
            )
        ),
        *(
            field(f"{name}_vox", FLOAT, f"{text}, index in the stored volume, voxel centres from 0", "voxel")
            for name, (_, text) in POINTS.items()
        ),
        field(
            "z_vox",
            FLOAT,
            "key slice, index in the stored volume, voxel centres from 0; up to 1 past the last voxel",
            "voxel",
        ),
        field("long_diameter_px", FLOAT, "long RECIST diameter as published", "pixel"),
        field("short_diameter_px", FLOAT, "short RECIST diameter as published", "pixel"),
        field("long_diameter_mm", FLOAT, "long RECIST diameter, from its ends and the pixel spacing", "mm"),
        field("short_diameter_mm", FLOAT, "short RECIST diameter, from its ends and the pixel spacing", "mm"),
        field("norm_x", FLOAT, "relative position in the body, patient's right to left, as published"),
        field("norm_y", FLOAT, "relative position in the body, front to back, as published"),
        field("norm_z", FLOAT, "relative position in the body, head to feet, as published"),
        *(
            field(
                f"norm_{axis}_recomputed",
                FLOAT,
                f"norm_{axis} by the box as printed and the location mask of the key slice as it is stored "
                "here; null where the mask is one pixel wide",
                nullable=True,
            )
            for axis in "xy"
        ),
        *(
            field(
                f"norm_{axis}_difference",
                FLOAT,
                f"norm_{axis}_recomputed - norm_{axis}; null as the former",
                nullable=True,
            )
            for axis in "xy"
        ),
        field(
            "location_agrees",
            BOOL,
            "both differences are within 0.002: the row belongs to this slice; null where one is null",
            nullable=True,
        ),
        field("coarse_type_code", pa.int8(), "coarse lesion type 1..8; null: not labelled", nullable=True),
        field("coarse_type", TEXT, "coarse lesion type by name; null: not labelled", nullable=True),
        field("possibly_noisy", BOOL, "flagged by the authors as possibly noisy"),
        field("slice_first", INT, "first slice of Slice_range as published"),
        field("slice_last", INT, "last slice of Slice_range as published"),
        field("spacing_x_mm", FLOAT, "pixel spacing of the source along a row", "mm"),
        field("spacing_y_mm", FLOAT, "pixel spacing of the source along a column", "mm"),
        field("spacing_z_mm", FLOAT, "slice interval of the source", "mm"),
        field("image_width_px", INT, "columns of the source image", "pixel"),
        field("image_height_px", INT, "rows of the source image", "pixel"),
        field("window_low_hu", FLOAT, "lower end of the display window", "HU"),
        field("window_high_hu", FLOAT, "upper end of the display window", "HU"),
        field("sex", TEXT, "F or M"),
        field(
            "age_years",
            pa.int16(),
            "age as published (0 and 157 occur); null: missing",
            "year",
            nullable=True,
        ),
    ]
)


def place(
    lesions: pd.DataFrame, built: Sequence[BuiltVolume], rejects: Sequence[Reject], source: str
) -> tuple[pd.DataFrame, list[int], list[Reject]]:
    """Find the volume that holds the key slice of each row of the CSV.

    Args:
        lesions: rows that were accepted and selected.
        rejects: of slices, among others.
        source: name of the CSV, for messages.

    Returns:
        (rows whose key slice is in a volume, that volume's position in `built`, a reject for each other row).
    """
    by_series: dict[SeriesKey, list[int]] = defaultdict(list)
    for position, volume in enumerate(built):
        by_series[volume.series].append(position)
    bad_slices = {
        (r.series_id, r.slice_index): r
        for r in rejects
        if r.kind is Kind.SLICE and r.reason is not Reason.SLICE_MISSING
    }
    keep: list[bool] = []
    positions: list[int] = []
    row_rejects: list[Reject] = []
    columns = ("lesion_id", "patient_index", "study_index", "series_index", "key_slice_index")
    for lesion_id, *numbers, key_slice in zip(*(lesions[c].tolist() for c in columns), strict=True):
        series = SeriesKey(*numbers)
        runs = by_series.get(series, [])
        holding = [p for p in runs if built[p].first <= key_slice <= built[p].last]
        keep.append(bool(holding))
        positions += holding
        if holding:
            continue
        bad = bad_slices.get((str(series), key_slice))
        reason = Reason.KEY_SLICE_REJECTED if bad else Reason.KEY_SLICE_MISSING
        message = (
            f"its key slice is rejected: {bad.reason}" if bad else "its key slice is in no archive or folder"
        )
        where = f"{source} row {lesion_id}: {file_name(series, key_slice)}"
        row_rejects.append(Reject(Kind.ROW, reason, where, message, str(series), key_slice, lesion_id))
    return lesions[np.array(keep, dtype=bool)], positions, row_rejects


def lesion_rows(lesions: pd.DataFrame, built: Sequence[BuiltVolume]) -> pa.Table:
    """Return the rows of the table.

    Args:
        lesions: rows of the CSV.
        built: the volume that holds the key slice of each row.
    """
    columns: dict[str, Any] = {name: lesions[name] for name in lesions.columns}
    columns["volume_id"] = [volume.volume_id for volume in built]
    source, stored = (
        np.array([getattr(volume, name) for volume in built], dtype=float).reshape(-1, 3)
        for name in ("source_spacing_mm", "spacing_mm")
    )
    first = np.array([volume.first for volume in built], dtype=float)
    for name, (axis, _) in POINTS.items():
        number = "zyx".index(axis)
        mm = pixel_to_mm(lesions[f"{name}_px"].to_numpy(), source[:, number])
        columns[f"{name}_mm"], columns[f"{name}_vox"] = mm, mm_to_voxel(mm, stored[:, number])
    z_mm = (lesions["key_slice_index"].to_numpy() - first) * source[:, 0]
    columns |= {"z_mm": z_mm, "z_vox": mm_to_voxel(z_mm, stored[:, 0]), "lps_z_mm": -z_mm + 0.0}
    for axis in "xy":
        columns[f"lps_{axis}_mm"] = (columns[f"bbox_{axis}1_mm"] + columns[f"bbox_{axis}2_mm"]) / 2
    for side in ("long", "short"):
        dx, dy = (
            columns[f"recist_{side}_{axis}2_mm"] - columns[f"recist_{side}_{axis}1_mm"] for axis in "xy"
        )
        columns[f"{side}_diameter_mm"] = np.hypot(dx, dy)
    return LESIONS.rows(columns | location_columns(lesions, built))


# Positions in voxels are quotients of floats.
_TOLERANCE_VOX = 1e-6


def _check_rejected(stored: StoredTables) -> Iterator[Wrong]:
    """Check that no row is rejected as well."""
    rejected = set(stored.rows["rejects"]["lesion_id"].dropna())
    for lesion_id in sorted(set(stored.rows["lesions"]["lesion_id"]) & rejected):
        yield Wrong("row is rejected as well", f"lesions: lesion_id {lesion_id}")


def _check_inside(stored: StoredTables) -> Iterator[Wrong]:
    """Check that every lesion lies inside its volume."""
    placed = stored.rows["lesions"].merge(
        stored.rows["volumes"].drop_duplicates("volume_id"),
        on="volume_id",
        suffixes=("", "_of_volume"),
        validate="m:1",
    )
    first, last = placed["slice_first_of_volume"], placed["slice_last_of_volume"]
    yield from _outside(placed, "key_slice_index", placed["key_slice_index"], first, last)
    per_pixel = {a: placed[f"source_spacing_{a}_mm"] / placed[f"spacing_{a}_mm_of_volume"] for a in "zyx"}
    # The last slice's centre may lie past the last stored voxel's, by less than a voxel.
    yield from _outside(placed, "z_vox", placed["z_vox"], 0, (placed["source_shape_z"] - 1) * per_pixel["z"])
    for axis in "yx":
        voxels_per_pixel = per_pixel[axis]
        # Pixels reach half of one to either side of their centre.
        low, high = -voxels_per_pixel / 2, (placed[f"source_shape_{axis}"] - 0.5) * voxels_per_pixel
        near, far = placed[f"bbox_{axis}1_vox"], placed[f"bbox_{axis}2_vox"]
        within = ~placed["bbox_past_edge"]
        for name, values in ((f"bbox_{axis}1_vox", near), (f"bbox_{axis}2_vox", far)):
            yield from _outside(placed[within], name, values[within], low[within], high[within])
        # A box past the edge may have its middle outside, but shares voxels with the plane.
        yield from _outside(placed[~within], f"bbox_{axis}1_vox", near[~within], -np.inf, high[~within])
        yield from _outside(placed[~within], f"bbox_{axis}2_vox", far[~within], low[~within], np.inf)


def _outside(lesions: pd.DataFrame, name: str, values: Any, low: Any, high: Any) -> Iterator[Wrong]:
    """Yield a finding for each lesion whose value is NaN or not from `low` to `high`."""
    ends = [np.broadcast_to(np.asarray(end, dtype=float), len(lesions)) for end in (low, high)]
    inside = (values >= ends[0] - _TOLERANCE_VOX) & (values <= ends[1] + _TOLERANCE_VOX)
    columns = (lesions["lesion_id"], values, *ends, ~inside)
    for lesion_id, value, least, most, bad in zip(*(np.asarray(c) for c in columns), strict=True):
        if bad:
            where, allowed = f"lesions: lesion_id {lesion_id}", f"{least:g} to {most:g}"
            yield Wrong(f"{name} is outside its volume", where, f"{value:g}", allowed)


LESIONS = Table(
    "lesions",
    "annotations joined to the volumes; one row an accepted row of DL_info.csv",
    _SCHEMA,
    key=("lesion_id",),
    unit="volume",
    unit_columns=("volume_id",),
    partition=Partition("split", SPLITS, "train, val or test"),
    checks=(_check_rejected, _check_inside, check_locations),
)
