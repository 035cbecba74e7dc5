from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping

import pandas as pd
import pytest

from etl.core.rejects import Kind, Reason
from etl.release.annotations import (
    COARSE_TYPES,
    COLUMNS,
    LESION_DTYPES,
    SPLITS,
    Annotations,
    RunGeometry,
    parse_annotations,
)
from etl.release.names import SeriesKey

CELLS = (
    "000012_03_01_109.png",
    "12",
    "3",
    "1",
    "109",
    "233.5, 95.25, 234, 107, 231.125, 101.5, 236.25, 101",
    "226.125, 90.25, 241.25, 112",
    "11.7606, 5.14934",
    "0.44666, 0.283794, 0.434454",
    "3",
    "0",
    "103, 115",
    "0.488281, 0.5, 5",
    "512, 768",
    "-182.5, 322.5",
    "F",
    "62",
    "3",
)
ROW = dict(zip(COLUMNS, CELLS, strict=True))
RUN = RunGeometry(0, SeriesKey(12, 3, 1), 103, 115, (5.0, 0.5, 0.488281), 512, 768)


def changed(**cells: str) -> dict[str, str]:
    assert cells.keys() <= ROW.keys()
    return {**ROW, **cells}


def csv_bytes(*rows: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    return text.getvalue().encode()


def parse(*rows: Mapping[str, str]) -> Annotations:
    return parse_annotations(csv_bytes(*rows), "DL_info.csv")


def test_a_row_in_official_format_is_typed_exactly() -> None:
    data = csv_bytes(ROW)
    read = parse_annotations(data, "DL_info.csv")
    assert read.lesions.to_dict("records") == [{
        "lesion_id": 0, "file_name": "000012_03_01_109.png", "patient_index": 12, "study_index": 3,
        "series_index": 1, "key_slice_index": 109, "recist_long_x1_px": 233.5,
        "recist_long_y1_px": 95.25, "recist_long_x2_px": 234.0, "recist_long_y2_px": 107.0,
        "recist_short_x1_px": 231.125, "recist_short_y1_px": 101.5, "recist_short_x2_px": 236.25,
        "recist_short_y2_px": 101.0, "bbox_x1_px": 226.125, "bbox_y1_px": 90.25,
        "bbox_x2_px": 241.25, "bbox_y2_px": 112.0, "bbox_past_edge": False,
        "long_diameter_px": 11.7606, "short_diameter_px": 5.14934, "norm_x": 0.44666,
        "norm_y": 0.283794, "norm_z": 0.434454, "coarse_type_code": 3, "coarse_type": "mediastinum",
        "possibly_noisy": False, "slice_first": 103, "slice_last": 115, "spacing_x_mm": 0.488281,
        "spacing_y_mm": 0.5, "spacing_z_mm": 5.0, "image_width_px": 768, "image_height_px": 512,
        "window_low_hu": -182.5, "window_high_hu": 322.5, "sex": "F", "age_years": 62,
        "split": "test",
    }]  # fmt: skip
    assert read.geometries == (RUN,)
    assert read.rejects == ()
    assert (read.row_count, read.bytes, read.source) == (1, len(data), "DL_info.csv")
    assert read.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "rows", [[ROW], [changed(Patient_gender="X")]], ids=["one accepted", "none accepted"]
)
def test_dtypes_do_not_depend_on_the_rows(rows: list[dict[str, str]]) -> None:
    lesions = parse(*rows).lesions
    assert list(lesions) == list(LESION_DTYPES)
    assert all(
        lesions[name].dtype == pd.Series([], dtype=dtype).dtype for name, dtype in LESION_DTYPES.items()
    )


@pytest.mark.parametrize(
    ("cells", "column", "value"),
    [
        ({"Patient_age": ""}, "age_years", None),
        ({"Patient_age": "NaN"}, "age_years", None),
        ({"Patient_age": "0"}, "age_years", 0),
        ({"Patient_age": "157"}, "age_years", 157),
        ({"Patient_age": "62.0"}, "age_years", 62),
        ({"Coarse_lesion_type": "-1"}, "coarse_type_code", None),
        ({"Coarse_lesion_type": "-1"}, "coarse_type", None),
        ({"Coarse_lesion_type": "7"}, "coarse_type", "soft tissue"),
        ({"Possibly_noisy": "1"}, "possibly_noisy", True),
        ({"Patient_gender": " M "}, "sex", "M"),
        ({"Patient_index": " 12 "}, "patient_index", 12),
        ({"Slice_range": "103,115"}, "slice_last", 115),
        ({"Lesion_diameters_Pixel_": "1.5e1, .5"}, "long_diameter_px", 15.0),
        ({"Bounding_boxes": "0.5, 0.5, 768.5, 512.5"}, "bbox_past_edge", False),
        ({"Bounding_boxes": "0.25, 1, 10, 10"}, "bbox_past_edge", True),
        ({"Bounding_boxes": "1, 0.25, 10, 10"}, "bbox_past_edge", True),
        ({"Bounding_boxes": "700, 1, 768.75, 10"}, "bbox_past_edge", True),
        ({"Bounding_boxes": "1, 500, 10, 512.75"}, "bbox_past_edge", True),
        ({"File_name": "000012_03_01_1109.png", "Key_slice_index": "1109", "Slice_range": "998, 1109"},
         "key_slice_index", 1109),
    ],
)  # fmt: skip
def test_accepted_variants(cells: dict[str, str], column: str, value: object) -> None:
    read = parse(changed(**cells))
    assert read.rejects == ()
    found = read.lesions[column].iloc[0]
    assert pd.isna(found) if value is None else found == value


@pytest.mark.parametrize(("code", "name"), COARSE_TYPES.items())
def test_types(code: int, name: str) -> None:
    assert parse(changed(Coarse_lesion_type=str(code))).lesions["coarse_type"].tolist() == [name]


@pytest.mark.parametrize(("code", "name"), SPLITS.items())
def test_splits(code: int, name: str) -> None:
    assert parse(changed(Train_Val_Test=str(code))).lesions["split"].tolist() == [name]


# reason, column, its cell, and whether the volume of the row can still be built
REJECTED = [
    (Reason.FIELD_MISSING, "Patient_gender", "", True),
    (Reason.FIELD_MISSING, "Slice_range", "  ", False),
    (Reason.FIELD_MISSING, "File_name", "", True),
    (Reason.FIELD_UNPARSABLE, "Study_index", "three", True),
    (Reason.FIELD_UNPARSABLE, "Patient_index", "12.5", True),
    (Reason.FIELD_UNPARSABLE, "Patient_index", "1_2", True),
    (Reason.FIELD_UNPARSABLE, "Patient_index", "\uff11\uff12", True),
    (Reason.FIELD_UNPARSABLE, "Patient_index", "9" * 5000, True),
    (Reason.FIELD_UNPARSABLE, "Normalized_lesion_location", "0.4, nan, 0.4", True),
    (Reason.FIELD_UNPARSABLE, "Normalized_lesion_location", "0.4, 1e999, 0.4", True),
    (Reason.FIELD_UNPARSABLE, "Spacing_mm_px_", "0.5, inf, 5", False),
    (Reason.FIELD_UNPARSABLE, "Spacing_mm_px_", "0.5, 0_5, 5", False),
    (Reason.FIELD_UNPARSABLE, "Spacing_mm_px_", "0.5, , 5", False),
    (Reason.FIELD_UNPARSABLE, "Patient_age", "62.5", True),
    (Reason.FIELD_COUNT, "Measurement_coordinates", "1, 2, 3", True),
    (Reason.FIELD_COUNT, "Spacing_mm_px_", "0.5, 0.5", False),
    (Reason.FIELD_COUNT, "Image_size", "512", False),
    (Reason.FIELD_COUNT, "Possibly_noisy", "0, 1", True),
    (Reason.FILE_NAME_MISMATCH, "File_name", "lesion.png", True),
    (Reason.FILE_NAME_MISMATCH, "File_name", "000013_03_01_109.png", False),
    (Reason.FILE_NAME_MISMATCH, "Patient_index", "13", False),
    (Reason.FILE_NAME_MISMATCH, "Study_index", "4", False),
    (Reason.FILE_NAME_MISMATCH, "Series_ID", "2", False),
    (Reason.FILE_NAME_MISMATCH, "Key_slice_index", "110", True),
    (Reason.BOX_INVERTED, "Bounding_boxes", "241, 90, 226, 112", True),
    (Reason.BOX_INVERTED, "Bounding_boxes", "226, 112, 241, 90", True),
    (Reason.BOX_INVERTED, "Bounding_boxes", "226, 90, 226, 112", True),
    (Reason.BOX_OUTSIDE_IMAGE, "Bounding_boxes", "768.5, 90, 790, 112", True),
    (Reason.BOX_OUTSIDE_IMAGE, "Bounding_boxes", "226, 512.5, 241, 600", True),
    (Reason.BOX_OUTSIDE_IMAGE, "Bounding_boxes", "-20, 90, 0.5, 112", True),
    (Reason.BOX_OUTSIDE_IMAGE, "Bounding_boxes", "226, -20, 241, 0.5", True),
    (Reason.RANGE_REVERSED, "Slice_range", "115, 103", False),
    (Reason.KEY_SLICE_OUTSIDE_RANGE, "Slice_range", "110, 115", True),
    (Reason.KEY_SLICE_OUTSIDE_RANGE, "Slice_range", "103, 108", True),
    (Reason.SPACING_NOT_POSITIVE, "Spacing_mm_px_", "0.5, 0.5, 0", False),
    (Reason.SPACING_NOT_POSITIVE, "Spacing_mm_px_", "-0.5, 0.5, 5", False),
    (Reason.WINDOW_REVERSED, "DICOM_windows", "275, -175", True),
    (Reason.WINDOW_REVERSED, "DICOM_windows", "40, 40", True),
    (Reason.UNKNOWN_SPLIT, "Train_Val_Test", "4", True),
    (Reason.UNKNOWN_TYPE, "Coarse_lesion_type", "9", True),
    (Reason.UNKNOWN_TYPE, "Coarse_lesion_type", "0", True),
    (Reason.UNKNOWN_SEX, "Patient_gender", "f", True),
    (Reason.VALUE_OUT_OF_RANGE, "Image_size", "512, 4097", False),
    (Reason.VALUE_OUT_OF_RANGE, "Image_size", "0, 512", False),
    (Reason.VALUE_OUT_OF_RANGE, "Possibly_noisy", "2", True),
    (Reason.VALUE_OUT_OF_RANGE, "Patient_age", "-1", True),
    (Reason.VALUE_OUT_OF_RANGE, "Patient_age", "201", True),
    (Reason.VALUE_OUT_OF_RANGE, "Lesion_diameters_Pixel_", "11, 0", True),
    (Reason.VALUE_OUT_OF_RANGE, "Slice_range", "103, 1000000", False),
    (Reason.VALUE_OUT_OF_RANGE, "Slice_range", "-1, 115", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "0.5, 0.5, 100.5", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "0.5, 0.5, 100", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "100, 100, 100", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "2.7, 0.5, 5", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "0.5, 4, 5", False),
    (Reason.VALUE_OUT_OF_RANGE, "Spacing_mm_px_", "0.5, 0.0001, 5", False),
    (Reason.VALUE_OUT_OF_RANGE, "Bounding_boxes", "1, 1, 10, 1e7", True),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "column", "cell", "buildable"), REJECTED)
def test_one_bad_field_rejects_its_row_alone(reason: Reason, column: str, cell: str, buildable: bool) -> None:
    other = changed(Patient_age="70")
    read = parse({**ROW, column: cell}, other)
    (reject,) = read.rejects
    assert (reject.kind, reject.reason, reject.lesion_id) == (Kind.ROW, reason, 0)
    assert column in reject.message
    assert "allowed: " in reject.message
    assert len(reject.message) < 1000
    assert read.lesions["lesion_id"].tolist() == [1]
    assert read.row_count == 2
    assert [run.lesion_id for run in read.geometries] == ([0, 1] if buildable else [1])
    if buildable:
        assert (read.geometries[0].series, read.geometries[0].spacing_zyx_mm) == (
            RUN.series,
            RUN.spacing_zyx_mm,
        )


def test_a_reject_names_every_problem_and_the_first_gives_the_reason() -> None:
    bad = changed(Train_Val_Test="4", Patient_gender="X", Bounding_boxes="900, 1, 901, 2", Slice_range="1, 2")
    (reject,) = parse(bad).rejects
    assert reject.message.split(" | ") == [
        "Patient_gender 'X' is unknown; allowed: M or F",
        "Train_Val_Test '4' is unknown; allowed: 1 (train), 2 (val), 3 (test)",
        "Bounding_boxes '900, 1, 901, 2' lies wholly outside the image; "
        "allowed: a box that shares pixels with x 0.5 to 768.5, y 0.5 to 512.5",
        "Slice_range '1, 2' leaves out the key slice 109; allowed: first <= key slice <= last",
    ]
    assert reject.reason is Reason.UNKNOWN_SEX
    assert reject.found_in == "DL_info.csv row 0: 000012_03_01_109.png"
    assert (reject.series_id, reject.slice_index) == ("000012_03_01", 109)


@pytest.mark.parametrize(
    ("cells", "series_id", "slice_index"),
    [
        ({"File_name": "?"}, "000012_03_01", 109),
        ({"File_name": "?", "Study_index": "?"}, "", 109),
        ({"File_name": "?", "Study_index": "100"}, "", 109),
        ({"File_name": "?", "Key_slice_index": "?"}, "000012_03_01", -1),
        ({"Study_index": "4"}, "", 109),
        ({"Key_slice_index": "110"}, "000012_03_01", -1),
    ],
)
def test_a_reject_names_what_is_known(cells: dict[str, str], series_id: str, slice_index: int) -> None:
    (reject,) = parse(changed(**cells)).rejects
    assert (reject.series_id, reject.slice_index) == (series_id, slice_index)


def test_text_from_the_data_is_escaped_and_bounded() -> None:
    (reject,) = parse(changed(File_name="\x1b[31m\u202e\0" + "a" * 10_000)).rejects
    assert reject.found_in.isprintable()
    assert reject.message.isprintable()
    assert reject.found_in.startswith(r"DL_info.csv row 0: \x1b[31m\u202e\x00aaa")
    assert len(reject.found_in) < 150
    assert len(reject.message) < 250


def test_a_repeated_row_is_a_duplicate_whether_the_first_was_good_or_bad() -> None:
    bad = changed(Patient_gender="X")
    read = parse(ROW, bad, ROW, bad)
    assert [(r.reason, r.lesion_id) for r in read.rejects] == [
        (Reason.UNKNOWN_SEX, 1),
        (Reason.DUPLICATE_ROW, 2),
        (Reason.DUPLICATE_ROW, 3),
    ]
    assert "row 0" in read.rejects[1].message
    assert "row 1" in read.rejects[2].message
    assert [run.lesion_id for run in read.geometries] == [0, 1]


@pytest.mark.parametrize(
    ("damage", "reason", "buildable"),
    [
        (lambda line: line.replace(b'5.14934"', b"5.14934"), Reason.FIELD_UNPARSABLE, False),
        (lambda line: line[: line.rindex(b'"')], Reason.FIELD_UNPARSABLE, False),
        (lambda line: line.replace(b",3,0,", b",3\r,0,"), Reason.FIELD_UNPARSABLE, False),
        (lambda line: line.replace(b",F,", b"," + b"F" * 200_000 + b","), Reason.FIELD_UNPARSABLE, False),
        (lambda line: line.replace(b",F,", b",\xff,"), Reason.UNKNOWN_SEX, True),
        (lambda line: line.replace(b",F,", b",\0,"), Reason.UNKNOWN_SEX, True),
        (lambda line: line.replace(b'"103, 115"', b"103, 115"), Reason.FIELD_COUNT, False),
        (lambda line: line[: line.index(b",F,")], Reason.FIELD_MISSING, True),
        (lambda line: line[: line.index(b',"512')], Reason.FIELD_MISSING, False),
    ],
)  # fmt: skip
def test_a_damaged_line_costs_its_row_alone(
    damage: Callable[[bytes], bytes], reason: Reason, buildable: bool
) -> None:
    header, bad, good = csv_bytes(ROW, changed(Patient_age="70")).splitlines()
    damaged = damage(bad)
    assert damaged != bad
    read = parse_annotations(b"\n".join([header, damaged, good]), "DL_info.csv")
    (reject,) = read.rejects
    assert (reject.reason, reject.lesion_id) == (reason, 0)
    assert (reject.series_id, reject.slice_index) == ("000012_03_01", 109)
    assert read.lesions["lesion_id"].tolist() == [1]
    assert [run.lesion_id for run in read.geometries] == ([0, 1] if buildable else [1])
