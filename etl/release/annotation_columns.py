"""The columns of DL_info.csv: their names, codes and limits, and a reader for each."""

from __future__ import annotations

import re

from etl.core.rejects import Reason
from etl.release.annotation_fields import FieldReader

COLUMNS = (
    "File_name",
    "Patient_index",
    "Study_index",
    "Series_ID",
    "Key_slice_index",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Normalized_lesion_location",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "DICOM_windows",
    "Patient_gender",
    "Patient_age",
    "Train_Val_Test",
)
"""The columns of DL_info.csv, in its order."""

COARSE_TYPES = {
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
}
"""Names of Coarse_lesion_type; -1 is a lesion without label."""

SPLITS = {1: "train", 2: "val", 3: "test"}
"""Names of Train_Val_Test."""

MAX_SLICE_INDEX = 999_999
MAX_RANGE_SLICES = 2_000
"""The longest run of the release has 545 slices; a damaged range would count thousands as missing."""
MAX_IMAGE_SIZE_PX = 4096
SPACING_LIMITS_MM = (0.001, 50.0)
"""The release has 0.18 to 0.98 mm in the plane and 0.25 to 22.5 mm between slices."""
MAX_EXTENT_MM = (2000.0, 5000.0)
"""Largest side of a slice, and length of a run: a scanner's field of view is 500 mm, a patient 2 m."""
MAX_AGE_YEARS = 200

RECIST = tuple(f"recist_{axis}_{end}_px" for axis in ("long", "short") for end in ("x1", "y1", "x2", "y2"))
BOX = ("bbox_x1_px", "bbox_y1_px", "bbox_x2_px", "bbox_y2_px")
_AGE = re.compile(r"(-?[0-9]{1,9})(?:\.0*)?")
# Empty cells as pandas, R and spreadsheets print them.
_MISSING = ("nan", "na", "n/a", "<na>", "none", "null")


def read_key_slice(fields: FieldReader) -> int | None:
    """Read the number of the slice with the measurement."""
    return fields.whole_number("Key_slice_index", "key_slice_index", low=0, high=MAX_SLICE_INDEX)


def read_recist(fields: FieldReader) -> None:
    """Read two points of the long axis, then two of the short one, in pixels."""
    fields.decimals("Measurement_coordinates", *RECIST)


def read_box(fields: FieldReader) -> tuple[float, ...] | None:
    """Read x1, y1, x2, y2 in pixels."""
    column = "Bounding_boxes"
    box = fields.decimals(column, *BOX)
    if box and not (box[0] < box[2] and box[1] < box[3]):
        allowed = "x1, y1, x2, y2 with x1 < x2 and y1 < y2"
        fields.problem(Reason.BOX_INVERTED, column, "is inverted", allowed)
        return None
    return box


def read_diameters(fields: FieldReader) -> None:
    """Read long and short diameter in pixels."""
    column = "Lesion_diameters_Pixel_"
    diameters = fields.decimals(column, "long_diameter_px", "short_diameter_px")
    if diameters and min(diameters) <= 0:
        fields.problem(Reason.VALUE_OUT_OF_RANGE, column, "is not positive", "diameters above 0 px")


def read_location(fields: FieldReader) -> None:
    """Read the centre of the lesion relative to the body, 0 to 1 in each direction."""
    fields.decimals("Normalized_lesion_location", "norm_x", "norm_y", "norm_z")


def read_type(fields: FieldReader) -> None:
    """Read code and name of the body part; both are None for a lesion without label."""
    column = "Coarse_lesion_type"
    code = fields.whole_number(column, "coarse_type_code")
    if code is None:
        return
    if code != -1 and code not in COARSE_TYPES:
        allowed = f"{min(COARSE_TYPES)} to {max(COARSE_TYPES)}, or -1 where not labelled"
        fields.problem(Reason.UNKNOWN_TYPE, column, "is unknown", allowed)
    fields.values["coarse_type_code"] = None if code == -1 else code
    fields.values["coarse_type"] = COARSE_TYPES.get(code)


def read_noisy(fields: FieldReader) -> None:
    """Read the authors' flag of a possibly noisy row."""
    fields.flag("Possibly_noisy", "possibly_noisy")


def read_slice_range(fields: FieldReader) -> tuple[int, ...] | None:
    """Read first and last slice of the run, both included."""
    column = "Slice_range"
    slices = fields.whole_numbers(column, "slice_first", "slice_last", low=0, high=MAX_SLICE_INDEX)
    if slices and slices[0] > slices[1]:
        fields.problem(Reason.RANGE_REVERSED, column, "is reversed", "first, last with first <= last")
        return None
    if slices and slices[1] - slices[0] >= MAX_RANGE_SLICES:
        count = slices[1] - slices[0] + 1
        allowed = f"at most {MAX_RANGE_SLICES}"
        fields.problem(Reason.VALUE_OUT_OF_RANGE, column, f"spans {count} slices", allowed)
        return None
    return slices


def read_spacing(fields: FieldReader) -> tuple[float, ...] | None:
    """Read x, y and z spacing in mm."""
    column = "Spacing_mm_px_"
    low, high = SPACING_LIMITS_MM
    allowed = f"{low:g} to {high:g} mm"
    spacing = fields.decimals(column, "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
    if spacing and min(spacing) <= 0:
        fields.problem(Reason.SPACING_NOT_POSITIVE, column, "is not positive", allowed)
        return None
    if spacing and not (low <= min(spacing) and max(spacing) <= high):
        fields.problem(Reason.VALUE_OUT_OF_RANGE, column, "is out of range", allowed)
        return None
    return spacing


def read_image_size(fields: FieldReader) -> tuple[int, ...] | None:
    """Read height and width in pixels, MATLAB's order of sizes; all published images are square."""
    return fields.whole_numbers(
        "Image_size", "image_height_px", "image_width_px", low=1, high=MAX_IMAGE_SIZE_PX
    )


def is_extent_possible(
    spacing_mm: tuple[float, ...], image_size: tuple[int, ...], slices: tuple[int, ...]
) -> bool:
    """Return False if the run is larger than any scan: its volume would take absurd memory.

    Args:
        spacing_mm: x, y and z.
        image_size: height and width in pixels.
        slices: first and last of the run.
    """
    x_mm, y_mm, z_mm = spacing_mm
    height, width = image_size
    in_plane, along = MAX_EXTENT_MM
    return max(x_mm * width, y_mm * height) <= in_plane and z_mm * (slices[1] - slices[0] + 1) <= along


def read_window(fields: FieldReader) -> None:
    """Read lower and upper end of the display window in HU."""
    column = "DICOM_windows"
    window = fields.decimals(column, "window_low_hu", "window_high_hu")
    if window and window[0] >= window[1]:
        fields.problem(Reason.WINDOW_REVERSED, column, "is reversed", "low, high in HU with low < high")


def read_sex(fields: FieldReader) -> None:
    """Read M or F."""
    column = "Patient_gender"
    sex = fields.text(column)
    if sex and sex not in ("M", "F"):
        fields.problem(Reason.UNKNOWN_SEX, column, "is unknown", "M or F")
    fields.values["sex"] = sex


def read_age(fields: FieldReader) -> None:
    """Read whole years; None where the cell is empty, NaN or NA."""
    column = "Patient_age"
    age = fields.text(column, optional=True)
    fields.values["age_years"] = None
    if age is None or age.lower() in _MISSING:
        return
    allowed = f"a whole number of years, 0 to {MAX_AGE_YEARS}; empty or NaN where unknown"
    match = _AGE.fullmatch(age)
    if not match:
        fields.problem(Reason.FIELD_UNPARSABLE, column, "is not a whole number", allowed)
    elif not 0 <= int(match[1]) <= MAX_AGE_YEARS:
        fields.problem(Reason.VALUE_OUT_OF_RANGE, column, "is out of range", allowed)
    else:
        fields.values["age_years"] = int(match[1])


def read_split(fields: FieldReader) -> None:
    """Read the official, patient-level split."""
    column = "Train_Val_Test"
    split = fields.whole_number(column, "split")
    if split is not None and split not in SPLITS:
        allowed = ", ".join(f"{code} ({name})" for code, name in SPLITS.items())
        fields.problem(Reason.UNKNOWN_SPLIT, column, "is unknown", allowed)
    elif split is not None:
        fields.values["split"] = SPLITS[split]
