"""The table `slices`: one row a source slice that is part of a volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from etl.tables.built import BuiltVolume
from etl.tables.checks import StoredTables, Wrong, differing, digest
from etl.tables.table import FLOAT, INT, LONG, TEXT, Table, field, series_fields
from etl.tables.volumes import ZLine

PREDICTS_FROM_SPAN_MM = 50.0
"""Key slices of a series closer together than this determine the slope too badly to predict from it."""


def _mask_fields(name: str, what: str, empty: str) -> list[pa.Field]:
    boxed = name == "body_mask"
    return [
        field(f"{name}_area_px", INT, f"area of {what}", "pixel"),
        field(f"{name}_area_mm2", FLOAT, f"area of the {name}", "mm^2"),
        field(
            f"{name}_centroid_x_mm",
            FLOAT,
            "its centroid, from the first pixel's centre; null where empty",
            "mm",
            nullable=True,
        ),
        field(
            f"{name}_centroid_y_mm",
            FLOAT,
            "its centroid, from the first pixel's centre; null where empty",
            "mm",
            nullable=True,
        ),
        *(
            field(
                f"{name}_{side}_{end}",
                INT,
                f"{end} {side} of the {name}, counted from 0; {empty}",
                "pixel",
                nullable=boxed,
            )
            for side in ("column", "row")
            for end in ("first", "last")
        ),
    ]


_SCHEMA = pa.schema(
    [
        field("volume_id", TEXT, "volume that it is part of"),
        *series_fields(),
        field("slice_index", INT, "slice number in the series"),
        field("archive", TEXT, "archive (or the folder) that it is from"),
        field("bytes", LONG, "of the PNG file", "byte"),
        field("crc32", pa.uint32(), "CRC-32 of the PNG file"),
        field("z_mm", FLOAT, "from the centre of the volume's first voxel", "mm"),
        field("hu_minimum", INT, "least value as read, before clipping", "HU"),
        field("hu_maximum", INT, "greatest value as read, before clipping", "HU"),
        field("hu_mean", FLOAT, "mean as read, before clipping", "HU"),
        field("hu_standard_deviation", FLOAT, "standard deviation as read, before clipping", "HU"),
        *_mask_fields(
            "location_mask",
            "the mask behind norm_x and norm_y (above -768 HU, opened with 7 x 7 pixels; table and blankets "
            "are in it)",
            "the whole slice where the mask is empty",
        ),
        *_mask_fields(
            "body_mask",
            "the body alone (largest piece above -500 HU, table and blankets removed, holes filled)",
            "null where there is none",
        ),
        field(
            "norm_z_predicted",
            FLOAT,
            "predicted, not published: norm_z by the line of its volume (norm_z_slope_per_mm in `volumes`); "
            "null where the line's key slices span less than 50 mm",
            nullable=True,
        ),
    ]
)


def slice_rows(built: Sequence[BuiltVolume], archives: Sequence[str], lines: Sequence[ZLine]) -> pa.Table:
    """Return the rows of the table.

    Args:
        archives: names by the number that `slices` of a volume has for its archive.
        lines: one a volume, of `etl.tables.volumes.z_lines`.
    """
    from etl.imaging.body import SLICE_MASKS_DTYPE
    from etl.release.index import SLICE_DTYPE

    slices = np.concatenate([np.zeros(0, SLICE_DTYPE), *(volume.slices for volume in built)])
    masks = np.concatenate([np.zeros(0, SLICE_MASKS_DTYPE), *(volume.slice_masks for volume in built)])
    statistics = [row for volume in built for row in volume.slice_hu]
    counts = [len(volume.slices) for volume in built]
    spacing_mm = np.array([v.source_spacing_mm[1:] for v in built], float).reshape(-1, 2)
    columns: dict[str, Any] = {
        "volume_id": [volume.volume_id for volume in built for _ in range(len(volume.slices))],
        "patient_index": slices["patient"],
        "study_index": slices["study"],
        "series_index": slices["series"],
        "slice_index": slices["index"],
        "archive": np.array(archives, dtype=object)[slices["container"]],
        "bytes": slices["bytes"],
        "crc32": slices["crc32"],
        "z_mm": np.concatenate([np.zeros(0), *(volume.z_mm for volume in built)]),
        "norm_z_predicted": _predicted_z(lines, built),
        **mask_columns(masks, np.repeat(spacing_mm, counts, axis=0)),
    }
    for name in ("minimum", "maximum", "mean", "standard_deviation"):
        columns[f"hu_{name}"] = [getattr(row, name) for row in statistics]
    return SLICES.rows(columns)


def mask_columns(masks: np.ndarray, spacing_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Return area, centroid and box of both masks of slices, by column name.

    Args:
        masks: `SLICE_MASKS_DTYPE`, (slices,).
        spacing_mm: row and column spacing, (slices, 2).

    Returns:
        Arrays of shape (slices,). The centroid of an empty mask is NaN, and so is the box of an empty body.
    """
    from etl.imaging.body import SLICE_MASKS_DTYPE

    columns: dict[str, np.ndarray] = {}
    for mask in SLICE_MASKS_DTYPE.names or ():
        found = masks[mask]
        area_px = found["area_px"]
        per_pixel = np.where(area_px > 0, 1 / np.maximum(area_px, 1), np.nan)
        columns[f"{mask}_mask_area_px"] = area_px
        columns[f"{mask}_mask_area_mm2"] = area_px * (spacing_mm[:, 0] * spacing_mm[:, 1])
        columns[f"{mask}_mask_centroid_x_mm"] = found["column_sum"] * per_pixel * spacing_mm[:, 1]
        columns[f"{mask}_mask_centroid_y_mm"] = found["row_sum"] * per_pixel * spacing_mm[:, 0]
        for name in ("column_first", "column_last", "row_first", "row_last"):
            # Published locations take the whole slice where their mask is empty; no body has no box.
            box = found[name] if mask == "location" else np.where(area_px > 0, found[name], np.nan)
            columns[f"{mask}_mask_{name}"] = box
    return columns


def _predicted_z(lines: Sequence[ZLine], built: Sequence[BuiltVolume]) -> np.ndarray:
    """Return z of every slice of each volume by its line; NaN where its key slices span too little."""
    parts = [np.zeros(0)]
    for line, volume in zip(lines, built, strict=True):
        if line is None or line[1] < PREDICTS_FROM_SPAN_MM:
            parts.append(np.full(len(volume.slices), np.nan))
        else:
            parts.append(line[0].intercept + line[0].slope * volume.z_mm)
    return np.concatenate(parts)


def _check_slices(stored: StoredTables) -> Iterator[Wrong]:
    """Check that each volume has a row for each of its slices, with what its receipt measured."""
    if not stored.complete.issuperset({"slices", "volumes"}):
        return
    slices = dict(list(stored.rows["slices"].groupby("volume_id", sort=True)))
    columns: Any = stored.rows["volumes"][["volume_id", "slice_first", "slice_last", "source_shape_z"]]
    for volume_id, first, last, count in columns.itertuples(index=False):
        rows, where = slices.get(volume_id), f"slices: {volume_id}"
        indices = [] if rows is None else rows["slice_index"].tolist()
        values: list[tuple[str, Any, Any]] = [
            ("list of slices", indices, list(range(first, last + 1))),
            ("source_shape_z of the volume", count, last - first + 1),
        ]
        own = stored.facts.get(volume_id)
        if own is not None and rows is not None and "body_mask_area_px" in rows:
            values.append(("number of slices with masks in its receipt", own.mask_count, own.slice_count))
        yield from differing(where, values)
        if own is not None and rows is not None and len(rows) == own.slice_count:
            for name, expected in own.slice_digests.items():
                if name in rows and digest(rows[name].to_numpy(float)) != expected:
                    yield Wrong(f"{name} is wrong", where, expected="what its receipt measured")


SLICES = Table(
    "slices",
    "source slices; one row a slice that is part of a volume",
    _SCHEMA,
    key=("volume_id", "slice_index"),
    unit="volume",
    unit_columns=("volume_id",),
    checks=(_check_slices,),
)
