"""Read one row of DL_info.csv: its lesion, the geometry of its run of slices, and its problems."""

from __future__ import annotations

from dataclasses import dataclass

from etl.core.rejects import Reason
from etl.release import annotation_columns as column
from etl.release.annotation_fields import FieldReader, Problem, Value
from etl.release.csv_records import Record
from etl.release.names import SeriesKey, parse_file_name, parse_series_id


@dataclass(frozen=True)
class RunGeometry:
    """Geometry of the contiguous run of slices around a lesion, as its row gives it.

    Attributes:
        lesion_id: 0-based row number in the CSV.
        series: the series of the run.
        first: number of the run's first slice.
        last: number of its last slice, included.
        spacing_zyx_mm: slice interval, row spacing and column spacing in mm.
        rows: image height in pixels.
        columns: image width in pixels.
    """

    lesion_id: int
    series: SeriesKey
    first: int
    last: int
    spacing_zyx_mm: tuple[float, float, float]
    rows: int
    columns: int


@dataclass(frozen=True)
class RowReading:
    """One row, read.

    Attributes:
        values: the row's values by their names in the lesions table; complete where `problems` is empty.
        problems: every problem found, in the order of `read_row`.
        series: the row's series, or None where it is unknown.
        slice_index: number of the key slice, or -1 where it is unknown.
        run: the geometry of the lesion's run, or None where a field for it can't be used.
        as_decimals: a whole number was printed as 62.0.
    """

    values: dict[str, Value]
    problems: tuple[Problem, ...]
    series: SeriesKey | None
    slice_index: int
    run: RunGeometry | None
    as_decimals: bool = False


def read_row(record: Record, header_count: int, lesion_id: int) -> RowReading:
    """Read and check one row.

    Problems come in this order: the record itself (not CSV, too many fields, too few); then each column in
    the order of `COLUMNS` (empty, wrong count, not a number, out of range, not one of the known values); then
    columns against each other (file name and indices, box and image, key slice and range). The columns of a
    record that is not CSV or has too many fields are not read: which field belongs to which is unknown.
    """
    if record.damage or record.field_count > header_count:
        series, slice_index = parse_file_name(record.cells.get("File_name", "").strip(" ")) or (None, -1)
        return RowReading({}, (_record_problem(record, header_count),), series, slice_index, None)
    fields = FieldReader(record.cells)
    if record.field_count < header_count:
        fields.problems.append(_record_problem(record, header_count))

    named = _read_file_name(fields)
    patient = fields.whole_number("Patient_index", "patient_index")
    study = fields.whole_number("Study_index", "study_index")
    series_number = fields.whole_number("Series_ID", "series_index")
    key_slice = column.read_key_slice(fields)
    column.read_recist(fields)
    box = column.read_box(fields)
    column.read_diameters(fields)
    column.read_location(fields)
    column.read_type(fields)
    column.read_noisy(fields)
    slices = column.read_slice_range(fields)
    spacing = column.read_spacing(fields)
    image_size = column.read_image_size(fields)
    column.read_window(fields)
    column.read_sex(fields)
    column.read_age(fields)
    column.read_split(fields)

    series = _agreed_series(fields, named[0] if named else None, (patient, study, series_number))
    slice_index = _agreed_slice(fields, named[1] if named else None, key_slice)
    if box and image_size:
        _check_box(fields, box, image_size)
    if slices and slice_index >= 0 and not slices[0] <= slice_index <= slices[1]:
        fields.problem(
            Reason.KEY_SLICE_OUTSIDE_RANGE,
            "Slice_range",
            f"leaves out the key slice {slice_index}",
            "first <= key slice <= last",
        )
    if spacing and image_size and slices and not column.is_extent_possible(spacing, image_size, slices):
        in_plane, along = column.MAX_EXTENT_MM
        fields.problem(
            Reason.VALUE_OUT_OF_RANGE,
            "Spacing_mm_px_",
            f"makes slices of {image_size[1]} x {image_size[0]} px larger than any scan",
            f"at most {in_plane:g} mm in the plane and {along:g} mm along the run",
        )
        spacing = None
    run = None
    if series and slices and spacing and image_size:
        (x_mm, y_mm, z_mm), (height, width) = spacing, image_size
        run = RunGeometry(lesion_id, series, slices[0], slices[1], (z_mm, y_mm, x_mm), height, width)
    return RowReading(fields.values, tuple(fields.problems), series, slice_index, run, fields.as_decimals)


def _record_problem(record: Record, header_count: int) -> Problem:
    if record.damage:
        what = f"the line is not a CSV record: {record.damage}"
        return Problem(Reason.FIELD_UNPARSABLE, f"{what}; allowed: {header_count} fields")
    what = f"the record has {record.field_count} fields; allowed: {header_count}"
    if record.field_count > header_count:
        return Problem(Reason.FIELD_COUNT, what)
    absent = ", ".join(name for name in column.COLUMNS if name not in record.cells)
    return Problem(Reason.FIELD_MISSING, f"{what}; absent: {absent or 'none that are read'}")


def _read_file_name(fields: FieldReader) -> tuple[SeriesKey, int] | None:
    name = fields.text("File_name")
    fields.values["file_name"] = name
    if name is None:
        return None
    named = parse_file_name(name)
    if named is None:
        allowed = "a name like 000001_01_01_109.png"
        fields.problem(Reason.FILE_NAME_MISMATCH, "File_name", "is not the name of a slice", allowed)
    return named


def _agreed_series(
    fields: FieldReader, named: SeriesKey | None, indices: tuple[int | None, int | None, int | None]
) -> SeriesKey | None:
    """Return the series by the file name, or by the indices without one; None where they disagree."""
    if named is None:
        patient, study, series = indices
        if patient is None or study is None or series is None:
            return None
        return parse_series_id(str(SeriesKey(patient, study, series)))
    agreed = True
    for name, expected, found in zip(column.COLUMNS[1:4], named, indices, strict=True):
        if found is not None and found != expected:
            agreed = False
            fields.problem(Reason.FILE_NAME_MISMATCH, name, "disagrees with File_name", str(expected))
    return named if agreed else None


def _agreed_slice(fields: FieldReader, named: int | None, key_slice: int | None) -> int:
    """Return the key slice by the file name, or by its index without one; -1 where they disagree."""
    if named is None:
        return -1 if key_slice is None else key_slice
    if key_slice is not None and key_slice != named:
        fields.problem(Reason.FILE_NAME_MISMATCH, "Key_slice_index", "disagrees with File_name", str(named))
        return -1
    return named


def _check_box(fields: FieldReader, box: tuple[float, ...], image_size: tuple[int, ...]) -> None:
    """Compare the box with the image, which covers [0.5, width + 0.5]: pixel centres count from 1."""
    x1, y1, x2, y2 = box
    bottom, right = (size + 0.5 for size in image_size)
    if x2 <= 0.5 or y2 <= 0.5 or x1 >= right or y1 >= bottom:
        fields.problem(
            Reason.BOX_OUTSIDE_IMAGE,
            "Bounding_boxes",
            "lies wholly outside the image",
            f"a box that shares pixels with x 0.5 to {right:g}, y 0.5 to {bottom:g}",
        )
    fields.values["bbox_past_edge"] = x1 < 0.5 or y1 < 0.5 or x2 > right or y2 > bottom
