"""The columns of the store's tables: type, unit and meaning, kept in the Parquet schema itself."""

from __future__ import annotations

import pyarrow as pa

TABLES = ("lesions", "volumes", "slices", "rejects")


def _field(
    name: str, kind: pa.DataType, description: str, unit: str = "", *, nullable: bool = False
) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


_INT, _FLOAT, _TEXT, _BOOL = pa.int32(), pa.float64(), pa.string(), pa.bool_()

_POINTS = {
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

POINT_AXES = {name: axis for name, (axis, _) in _POINTS.items()}

LESIONS = pa.schema(
    [
        _field("lesion_id", _INT, "0-based row number in DL_info.csv"),
        _field("volume_id", _TEXT, "volume that holds the key slice"),
        _field("file_name", _TEXT, "key slice as the CSV names it"),
        _field("patient_index", _INT, "patient"),
        _field("study_index", _INT, "study of the patient"),
        _field("series_index", _INT, "series of the study"),
        _field("key_slice_index", _INT, "slice number of the key slice"),
        *(
            _field(f"{name}_px", _FLOAT, f"{text}, as published: pixel centres count from 1", "pixel")
            for name, (_, text) in _POINTS.items()
        ),
        _field("bbox_past_edge", _BOOL, "the box reaches past the image's edge"),
        *(
            _field(f"{name}_mm", _FLOAT, f"{text}, from the centre of the first voxel", "mm")
            for name, (_, text) in _POINTS.items()
        ),
        _field("z_mm", _FLOAT, "key slice, from the centre of the volume's first voxel", "mm"),
        *(
            _field(
                f"{name}_vox", _FLOAT, f"{text}, index in the stored volume, voxel centres from 0", "voxel"
            )
            for name, (_, text) in _POINTS.items()
        ),
        _field(
            "z_vox",
            _FLOAT,
            "key slice, index in the stored volume, voxel centres from 0; up to 1 past the last voxel",
            "voxel",
        ),
        _field("long_diameter_px", _FLOAT, "long RECIST diameter as published", "pixel"),
        _field("short_diameter_px", _FLOAT, "short RECIST diameter as published", "pixel"),
        _field("long_diameter_mm", _FLOAT, "long RECIST diameter, from its ends and the pixel spacing", "mm"),
        _field(
            "short_diameter_mm", _FLOAT, "short RECIST diameter, from its ends and the pixel spacing", "mm"
        ),
        _field("norm_x", _FLOAT, "relative position in the body, patient's right to left, as published"),
        _field("norm_y", _FLOAT, "relative position in the body, front to back, as published"),
        _field("norm_z", _FLOAT, "relative position in the body, head to feet, as published"),
        *(
            _field(
                f"norm_{axis}_recomputed",
                _FLOAT,
                f"norm_{axis} by the box as printed and the location mask of the key slice as it is stored "
                "here; null where the mask is one pixel wide",
                nullable=True,
            )
            for axis in "xy"
        ),
        *(
            _field(
                f"norm_{axis}_difference",
                _FLOAT,
                f"norm_{axis}_recomputed - norm_{axis}; null as the former",
                nullable=True,
            )
            for axis in "xy"
        ),
        _field(
            "location_agrees",
            _BOOL,
            "both differences are within 0.002: the row belongs to this slice; null where one is null",
            nullable=True,
        ),
        _field("coarse_type_code", pa.int8(), "coarse lesion type 1..8; null: not labelled", nullable=True),
        _field("coarse_type", _TEXT, "coarse lesion type by name; null: not labelled", nullable=True),
        _field("possibly_noisy", _BOOL, "flagged by the authors as possibly noisy"),
        _field("slice_first", _INT, "first slice of Slice_range as published"),
        _field("slice_last", _INT, "last slice of Slice_range as published"),
        _field("spacing_x_mm", _FLOAT, "pixel spacing of the source along a row", "mm"),
        _field("spacing_y_mm", _FLOAT, "pixel spacing of the source along a column", "mm"),
        _field("spacing_z_mm", _FLOAT, "slice interval of the source", "mm"),
        _field("image_width_px", _INT, "columns of the source image", "pixel"),
        _field("image_height_px", _INT, "rows of the source image", "pixel"),
        _field("window_low_hu", _FLOAT, "lower end of the display window", "HU"),
        _field("window_high_hu", _FLOAT, "upper end of the display window", "HU"),
        _field("sex", _TEXT, "F or M"),
        _field(
            "age_years",
            pa.int16(),
            "age as published (0 and 157 occur); null: missing",
            "year",
            nullable=True,
        ),
    ]
)
"""One row an accepted row of DL_info.csv. Files lie under `split=train|val|test/`: the split column."""

VOLUMES = pa.schema(
    [
        _field("volume_id", _TEXT, "PPPPPP_SS_RR_FFF-LLL: patient, study, series, first and last slice"),
        _field("path", _TEXT, "of the OME-Zarr group, relative to the store"),
        _field("patient_index", _INT, "patient"),
        _field("study_index", _INT, "study of the patient"),
        _field("series_index", _INT, "series of the study"),
        _field("slice_first", _INT, "number of the first slice"),
        _field("slice_last", _INT, "number of the last slice"),
        _field("split", _TEXT, "train, val or test, of its lesions; null without lesions", nullable=True),
        *(_field(f"shape_{a}", _INT, f"voxels along {a}", "voxel") for a in "zyx"),
        *(_field(f"spacing_{a}_mm", _FLOAT, f"voxel spacing along {a}", "mm") for a in "zyx"),
        *(
            _field(f"source_shape_{a}", _INT, f"source pixels along {a} (slices for z)", "pixel")
            for a in "zyx"
        ),
        *(_field(f"source_spacing_{a}_mm", _FLOAT, f"source spacing along {a}", "mm") for a in "zyx"),
        _field("bytes", pa.int64(), "of all its objects", "byte"),
        _field("sha256", _TEXT, "of its receipt.json, which lists every object's"),
        _field("fingerprint", _TEXT, "over the source slices and every parameter that changes voxels"),
        _field("hu_minimum", _INT, "least stored voxel", "HU"),
        _field("hu_maximum", _INT, "greatest stored voxel", "HU"),
        _field("hu_mean", _FLOAT, "mean of the stored voxels", "HU"),
        _field("hu_standard_deviation", _FLOAT, "standard deviation of the stored voxels", "HU"),
        _field("source_archives", pa.list_(_TEXT), "archives (or the folder) that its slices are from"),
        _field("lesion_count", _INT, "rows of `lesions` in this volume"),
        _field(
            "norm_z_slope_per_mm",
            _FLOAT,
            "of the line of norm_z on z_mm through the key slices of the series (of the volume, where slice "
            "intervals within the series differ); null with fewer than two",
            "1/mm",
            nullable=True,
        ),
        _field("norm_z_intercept", _FLOAT, "norm_z of that line at z_mm = 0 of this volume", nullable=True),
        _field(
            "norm_z_residual",
            _FLOAT,
            "root mean square distance of norm_z from that line, with n - 2 degrees of freedom; null with "
            "fewer than three key slices",
            nullable=True,
        ),
        _field("norm_z_key_slices", _INT, "different key slices that the line is fitted to, n; 0: no line"),
        _field("norm_z_span_mm", _FLOAT, "from the first to the last of them", "mm", nullable=True),
    ]
)
"""The catalogue: one row a volume."""


def _mask_fields(name: str, what: str, empty: str) -> list[pa.Field]:
    boxed = name == "body_mask"
    return [
        _field(f"{name}_area_px", _INT, f"area of {what}", "pixel"),
        _field(f"{name}_area_mm2", _FLOAT, f"area of the {name}", "mm^2"),
        _field(
            f"{name}_centroid_x_mm",
            _FLOAT,
            "its centroid, from the first pixel's centre; null where empty",
            "mm",
            nullable=True,
        ),
        _field(
            f"{name}_centroid_y_mm",
            _FLOAT,
            "its centroid, from the first pixel's centre; null where empty",
            "mm",
            nullable=True,
        ),
        *(
            _field(
                f"{name}_{side}_{end}",
                _INT,
                f"{end} {side} of the {name}, counted from 0; {empty}",
                "pixel",
                nullable=boxed,
            )
            for side in ("column", "row")
            for end in ("first", "last")
        ),
    ]


SLICES = pa.schema(
    [
        _field("volume_id", _TEXT, "volume that it is part of"),
        _field("patient_index", _INT, "patient"),
        _field("study_index", _INT, "study of the patient"),
        _field("series_index", _INT, "series of the study"),
        _field("slice_index", _INT, "slice number in the series"),
        _field("archive", _TEXT, "archive (or the folder) that it is from"),
        _field("bytes", pa.int64(), "of the PNG file", "byte"),
        _field("crc32", pa.uint32(), "CRC-32 of the PNG file"),
        _field("z_mm", _FLOAT, "from the centre of the volume's first voxel", "mm"),
        _field("hu_minimum", _INT, "least value as read, before clipping", "HU"),
        _field("hu_maximum", _INT, "greatest value as read, before clipping", "HU"),
        _field("hu_mean", _FLOAT, "mean as read, before clipping", "HU"),
        _field("hu_standard_deviation", _FLOAT, "standard deviation as read, before clipping", "HU"),
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
        _field(
            "norm_z_predicted",
            _FLOAT,
            "predicted, not published: norm_z by the line of its volume (norm_z_slope_per_mm in `volumes`); "
            "null where the line's key slices span less than 50 mm",
            nullable=True,
        ),
    ]
)
"""One row a source slice that is part of a volume."""

REJECTS = pa.schema(
    [
        _field("kind", _TEXT, "row, slice, archive or volume"),
        _field("reason", _TEXT, "reason code"),
        _field("found_in", _TEXT, "archive and member, or CSV row"),
        _field("message", _TEXT, "what was found and what is allowed"),
        _field("series_id", _TEXT, "PPPPPP_SS_RR where it can be told", nullable=True),
        _field("slice_index", _INT, "slice number where it can be told", nullable=True),
        _field("lesion_id", _INT, "0-based row number of a rejected CSV row", nullable=True),
    ]
)
"""What is in the release and not in the store, and why."""

SCHEMAS = {"lesions": LESIONS, "volumes": VOLUMES, "slices": SLICES, "rejects": REJECTS}


def schema_text(schema: pa.Schema) -> str:
    """A schema as reviewable text: one line a column with type, nullability, unit and meaning."""
    lines = []
    for field in schema:
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        unit = f" [{metadata['unit']}]" if "unit" in metadata else ""
        null = " nullable" if field.nullable else ""
        lines.append(f"{field.name}: {field.type}{null}{unit} - {metadata['description']}")
    return "\n".join(lines) + "\n"
