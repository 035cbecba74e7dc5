from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from etl.convert.results import Conversion
from etl.core.rejects import Kind, Reason, Reject
from etl.plan.plan import Plan, PlannedVolume
from etl.publish.assemble import make_tables
from etl.tables.lesions import POINTS
from etl.tables.registry import BUILD_TABLES
from tests.support.tiny_release import (
    Present,
    csv_row,
    made_up_conversion,
    tiny_plan,
)

SERIES = "000001_01_01"
ANISOTROPIC = {
    "Spacing_mm_px_": "0.5, 0.8, 2.5",
    "Measurement_coordinates": "1, 1, 7, 6, 8, 7, 8, 10",
    "Bounding_boxes": "4, 5, 12, 13",
}


def plan(present: Present, *rows: dict[str, str]) -> Plan:
    return tiny_plan(present, *rows, volume={"spacing_mm": 2.0})


def unreadable(volume: PlannedVolume) -> Conversion:
    """A run of which no slice can be read."""
    rejects = tuple(
        Reject(Kind.SLICE, Reason.SLICE_NOT_PNG, "x.zip: y", "no signature", str(volume.series), index)
        for index in volume.slices["index"].tolist()
    )
    return Conversion(volume.volume_id, (), 0, rejects, len(rejects), volume.source_bytes)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return list(table.to_pylist())


def test_a_lesion_in_pixels_mm_and_voxels_worked_by_hand() -> None:
    """0.5 x 0.8 x 2.5 mm to 2 mm; the key slice 8 is the third of the second run, 6 to 9."""
    made = plan({SERIES: [3, 4, 6, 7, 8, 9]}, csv_row(SERIES, 8, (3, 9), **ANISOTROPIC))
    joined = make_tables(made, [made_up_conversion(volume) for volume in reversed(made.volumes)])
    (lesion,) = rows(joined.tables["lesions"])
    assert lesion["volume_id"] == f"{SERIES}_006-009"
    expected = {
        # name: px as printed, mm = (px - 1) x spacing, voxel = mm / 2
        "bbox_x1": (4.0, 1.5, 0.75),
        "bbox_y1": (5.0, 3.2, 1.6),
        "bbox_x2": (12.0, 5.5, 2.75),
        "bbox_y2": (13.0, 9.6, 4.8),
        "recist_long_x1": (1.0, 0.0, 0.0),
        "recist_long_y1": (1.0, 0.0, 0.0),
        "recist_long_x2": (7.0, 3.0, 1.5),
        "recist_long_y2": (6.0, 4.0, 2.0),
        "recist_short_x1": (8.0, 3.5, 1.75),
        "recist_short_y1": (7.0, 4.8, 2.4),
        "recist_short_x2": (8.0, 3.5, 1.75),
        "recist_short_y2": (10.0, 7.2, 3.6),
    }
    assert expected.keys() == POINTS.keys()
    for name, values in expected.items():
        found = tuple(lesion[f"{name}_{unit}"] for unit in ("px", "mm", "vox"))
        assert found == pytest.approx(values), name
    assert (lesion["z_mm"], lesion["z_vox"]) == (5.0, 2.5)
    box = {name: lesion[f"bbox_{name}_mm"] for name in ("x1", "x2", "y1", "y2")}
    middle = [(box["x1"] + box["x2"]) / 2, (box["y1"] + box["y2"]) / 2, -5.0]
    assert [lesion[f"lps_{axis}_mm"] for axis in "xyz"] == middle
    # the long axis spans 3 mm by 4 mm; the published pixels stay as they are
    assert lesion["long_diameter_mm"] == pytest.approx(5.0)
    assert lesion["short_diameter_mm"] == pytest.approx(2.4)
    assert (lesion["long_diameter_px"], lesion["short_diameter_px"]) == (5.0, 3.0)


def test_the_first_slice_is_at_zero() -> None:
    made = plan({SERIES: [3, 4, 6, 7]}, csv_row(SERIES, 3, (3, 7)), csv_row(SERIES, 6, (3, 7)))
    lesions = rows(make_tables(made, [made_up_conversion(v) for v in made.volumes]).tables["lesions"])
    assert [(lesion["z_mm"], lesion["z_vox"]) for lesion in lesions] == [(0.0, 0.0), (0.0, 0.0)]


def test_every_value_of_a_row_reaches_its_column() -> None:
    cells = {
        "Coarse_lesion_type": "-1",
        "Possibly_noisy": "1",
        "Patient_age": "NaN",
        "Patient_gender": "M",
        "DICOM_windows": "-182.5, 322.5",
        "Train_Val_Test": "1",
        "Bounding_boxes": "9, 5, 19, 13",
    }
    made = plan({SERIES: [3, 4, 5]}, csv_row(SERIES, 4, (3, 7), **cells), csv_row(SERIES, 5, (3, 7)))
    joined = make_tables(made, [made_up_conversion(v) for v in made.volumes])
    odd, usual = rows(joined.tables["lesions"])
    assert (
        odd
        | {
            "lesion_id": 0,
            "file_name": f"{SERIES}_004.png",
            "patient_index": 1,
            "study_index": 1,
            "series_index": 1,
            "key_slice_index": 4,
            "bbox_past_edge": True,
            "coarse_type_code": None,
            "coarse_type": None,
            "possibly_noisy": True,
            "slice_first": 3,
            "slice_last": 7,
            "spacing_x_mm": 0.5,
            "spacing_z_mm": 2.0,
            "image_width_px": 16,
            "window_low_hu": -182.5,
            "window_high_hu": 322.5,
            "sex": "M",
            "age_years": None,
            "norm_x": 0.522364,
            "norm_z": 0.6,
        }
        == odd
    )
    assert (usual["coarse_type_code"], usual["coarse_type"], usual["age_years"]) == (5, "lung", 62)
    assert (usual["bbox_past_edge"], usual["possibly_noisy"]) == (False, False)
    assert [odd["split"], usual["split"]] == ["train", "val"]


def test_the_catalogue_and_the_slices_worked_by_hand() -> None:
    made = plan(
        {SERIES: [3, 4, 6, 7, 8, 9]},
        csv_row(SERIES, 8, (3, 9), **ANISOTROPIC),
        csv_row(SERIES, 7, (3, 9), **ANISOTROPIC),
        csv_row(SERIES, 3, (3, 9), **ANISOTROPIC, Train_Val_Test="3"),
    )
    joined = make_tables(made, [made_up_conversion(volume) for volume in reversed(made.volumes)])
    first, second = rows(joined.tables["volumes"])
    assert [first["volume_id"], second["volume_id"]] == [f"{SERIES}_003-004", f"{SERIES}_006-009"]
    fingerprint = made.volumes[1].fingerprint
    assert (
        second
        | {
            "path": f"volumes/{SERIES}_006-009/{fingerprint}.ome.zarr",
            "fingerprint": fingerprint,
            "slice_first": 6,
            "slice_last": 9,
            "split": "val",
            "shape_z": 4,  # floor(3 x 2.5 / 2) + 1
            "shape_y": 7,  # floor(15 x 0.8 / 2) + 1
            "shape_x": 4,  # floor(15 x 0.5 / 2) + 1
            "spacing_z_mm": 2.0,
            "source_shape_z": 4,
            "source_shape_y": 16,
            "source_spacing_z_mm": 2.5,
            "source_spacing_y_mm": 0.8,
            "source_spacing_x_mm": 0.5,
            "hu_minimum": -1024,
            "hu_maximum": 3071,
            "hu_mean": 0.5,
            "hu_standard_deviation": 100.0,
            "source_archives": ["Images_png_01.zip"],
            "lesion_count": 2,
        }
        == second
    )
    assert (first["split"], first["lesion_count"]) == ("test", 1)
    slices = rows(joined.tables["slices"])
    assert [(s["volume_id"][-7:], s["slice_index"], s["z_mm"]) for s in slices] == [
        ("003-004", 3, 0.0),
        ("003-004", 4, 2.5),
        ("006-009", 6, 0.0),
        ("006-009", 7, 2.5),
        ("006-009", 8, 5.0),
        ("006-009", 9, 7.5),
    ]
    assert (
        slices[4] | {"bytes": 508, "crc32": 8 * 7919 + 1, "hu_minimum": -2046, "hu_mean": -1.0} == slices[4]
    )
    missing = rows(joined.tables["rejects"])
    assert [(r["kind"], r["reason"], r["series_id"], r["slice_index"], r["lesion_id"]) for r in missing] == [
        ("slice", "slice_missing", SERIES, 5, None)
    ]


def test_a_volume_without_lesions_or_of_two_splits_has_no_split() -> None:
    made = plan(
        {SERIES: [3, 4, 6, 7]},
        csv_row(SERIES, 6, (3, 7)),
        csv_row(SERIES, 7, (3, 7), Train_Val_Test="3"),
    )
    volumes = rows(make_tables(made, [made_up_conversion(v) for v in made.volumes]).tables["volumes"])
    assert [(v["split"], v["lesion_count"]) for v in volumes] == [(None, 0), (None, 2)]


def test_a_lesion_whose_key_slice_is_absent_or_rejected_is_a_reject() -> None:
    made = plan(
        {SERIES: [3, 4, 6], "000002_01_01": [1]},
        csv_row(SERIES, 5, (3, 6)),
        csv_row(SERIES, 6, (3, 6)),
        csv_row("000002_01_01", 1, (1, 1)),
    )
    first, bad, other = made.volumes
    joined = make_tables(made, [made_up_conversion(first), unreadable(bad), made_up_conversion(other)])
    assert [lesion["lesion_id"] for lesion in rows(joined.tables["lesions"])] == [2]
    rejected = [row for row in rows(joined.tables["rejects"]) if row["kind"] == "row"]
    assert [(r["lesion_id"], r["reason"], r["slice_index"]) for r in rejected] == [
        (0, "key_slice_missing", 5),
        (1, "key_slice_rejected", 6),
    ]
    assert rejected[1]["found_in"] == f"DL_info.csv row 1: {SERIES}_006.png"
    assert "slice_not_png" in rejected[1]["message"]
    counts = joined.counts
    assert (counts.lesions, counts.rows_rejected, counts.rows_found) == (1, 2, 3)
    assert (counts.slices, counts.slices_rejected, counts.slices_missing, counts.slices_found) == (3, 1, 1, 4)
    assert counts.rejects_by_reason == {
        "key_slice_missing": 1,
        "key_slice_rejected": 1,
        "slice_missing": 1,
        "slice_not_png": 1,
    }


def test_where_nothing_could_be_read_every_table_is_there_and_empty() -> None:
    made = plan({SERIES: [3, 4]}, csv_row(SERIES, 4, (3, 4)))
    joined = make_tables(made, [unreadable(volume) for volume in made.volumes])
    assert {name: table.num_rows for name, table in joined.tables.items()} == {
        "lesions": 0,
        "volumes": 0,
        "slices": 0,
        "rejects": 3,
    }
    assert all(table.schema.equals(BUILD_TABLES[name].rows_schema) for name, table in joined.tables.items())
