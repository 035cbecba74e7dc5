"""Bad rows of DL_info.csv: each is one reject, and everything else is still built."""

from __future__ import annotations

import pytest

from tests.support.workshop import Outcome, Row, Workshop


@pytest.mark.slow
def test_the_undamaged_release_is_built_whole(workshop: Workshop) -> None:
    outcome = workshop.build()
    assert outcome.rejects == []
    assert outcome.lesion_ids == [0, 1, 2, 3, 4, 5]
    assert list(outcome.fingerprints) == [
        "000001_01_01_103-115",
        "000002_01_01_020-032",
        "000002_01_01_034-045",
        "000002_02_01_008-019",
    ]
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert (outcome.build.converted, outcome.build.reused) == (0, 4)


# A fault of row 0 by its column and cell. Rows 1 and 2 lie in the same run, so its volume is still built.
FAULTS = [
    ("field_missing", "Bounding_boxes", ""),
    ("field_missing", "Patient_gender", ""),
    ("field_unparsable", "Spacing_mm_px_", "0.7, 0.7, thick"),
    ("field_unparsable", "Key_slice_index", "108.5"),
    ("field_count", "Bounding_boxes", "354.236, 251.554, 380.761"),
    ("field_count", "Slice_range", "103"),
    ("box_outside_image", "Bounding_boxes", "600, 251.554, 620, 274.265"),
    ("box_inverted", "Bounding_boxes", "380.761, 251.554, 354.236, 274.265"),
    ("key_slice_outside_range", "Slice_range", "109, 115"),
    ("range_reversed", "Slice_range", "115, 103"),
    ("value_out_of_range", "Slice_range", "1, 999999"),
    ("value_out_of_range", "Slice_range", "1, 2001"),
    ("spacing_not_positive", "Spacing_mm_px_", "0.703125, 0.703125, 0"),
    ("spacing_not_positive", "Spacing_mm_px_", "0.703125, -0.703125, 5"),
    ("unknown_split", "Train_Val_Test", "4"),
    ("unknown_type", "Coarse_lesion_type", "9"),
    ("unknown_sex", "Patient_gender", "X"),
    ("file_name_mismatch", "Key_slice_index", "109"),
    ("file_name_mismatch", "Patient_index", "2"),
    ("file_name_mismatch", "File_name", "000001_01_01_109.png"),
]


@pytest.mark.parametrize(("reason", "column", "cell"), FAULTS)
def test_a_bad_row_is_one_reject(workshop: Workshop, reason: str, column: str, cell: str) -> None:
    rows = workshop.rows
    rows[0][column] = cell
    workshop.write_csv(rows)
    outcome = workshop.build()
    assert outcome.rejects == [("row", reason, f"DL_info.csv row 0: {rows[0]['File_name']}")]
    assert column in outcome.message(reason) or reason == "file_name_mismatch"
    assert "allowed: " in outcome.message(reason)
    assert_all_else_is_built(outcome, workshop, lost_lesions={0})


def assert_all_else_is_built(outcome: Outcome, workshop: Workshop, lost_lesions: set[int]) -> None:
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert outcome.lesion_ids == [i for i in workshop.clean.lesion_ids if i not in lost_lesions]
    assert outcome.build.converted == 0
    assert outcome.build.published.counts.rows_found == len(workshop.clean.lesion_ids)


def test_a_range_of_900_slices_is_taken_at_its_word(workshop: Workshop) -> None:
    rows = workshop.rows
    for row in rows[:3]:
        row["Slice_range"] = "1, 900"
    workshop.write_csv(rows)
    outcome = workshop.build()
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert [reason for _, reason, _ in outcome.rejects] == ["slice_missing"] * (900 - 13)


def test_a_row_without_its_last_fields(workshop: Workshop) -> None:
    path = workshop.folder / "DL_info.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].rsplit(",", 2)[0] + "\n"
    path.write_text("".join(lines))
    outcome = workshop.build()
    assert outcome.rejects == [("row", "field_missing", "DL_info.csv row 0: 000001_01_01_108.png")]
    assert_all_else_is_built(outcome, workshop, lost_lesions={0})


def test_a_row_that_repeats_another(workshop: Workshop) -> None:
    workshop.write_csv([*workshop.rows, workshop.rows[0]])
    outcome = workshop.build()
    assert outcome.rejects == [("row", "duplicate_row", "DL_info.csv row 6: 000001_01_01_108.png")]
    assert "row 0" in outcome.message("duplicate_row")
    assert outcome.lesion_ids == workshop.clean.lesion_ids
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert outcome.build.published.counts.rows_found == 7


def test_a_run_that_no_row_describes_is_rejected(workshop: Workshop) -> None:
    rows = workshop.rows
    rows[5]["Spacing_mm_px_"] = "0.8125, 0.8125, 0"
    workshop.write_csv(rows)
    outcome = workshop.build()
    assert ("row", "spacing_not_positive", "DL_info.csv row 5: 000002_02_01_013.png") in outcome.rejects
    slices = [found_in for kind, reason, found_in in outcome.rejects if reason == "slice_not_annotated"]
    assert slices == [f"0.zip: 000002_02_01/{index:03d}.png" for index in range(8, 20)]
    assert "000002_02_01_008-019" not in outcome.fingerprints
    assert outcome.lesion_ids == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "cell", "shown"),
    [
        ("Spacing_mm_px_", "0.703125, 0.703125, 2.5", "0.703125 x 0.703125 x 2.5 mm, 512 x 512 px in rows 1"),
        ("Image_size", "768, 768", "0.703125 x 0.703125 x 5.0 mm, 768 x 768 px in rows 1"),
    ],
)
def test_rows_of_one_run_that_disagree(workshop: Workshop, column: str, cell: str, shown: str) -> None:
    rows = workshop.rows
    rows[1][column] = cell
    workshop.write_csv(rows)
    outcome = workshop.build()
    run = [r for r in outcome.rejects if r[0] == "volume"]
    assert run == [("volume", "run_disagrees", "000001_01_01_103-115")]
    messages = outcome.store.rejects().query("kind == 'volume'")["message"].tolist()
    assert shown in messages[0]
    assert [r for r in outcome.rejects if r[0] == "row"] == [
        ("row", "run_disagrees", f"DL_info.csv row {i}: {rows[i]['File_name']}") for i in range(3)
    ]
    assert [r for r in outcome.rejects if r[0] == "slice"] == [
        ("slice", "run_disagrees", f"0.zip: 000001_01_01/{index}.png") for index in range(103, 116)
    ]
    assert outcome.lesion_ids == [3, 4, 5]
    kept = {name: mark for name, mark in workshop.clean.fingerprints.items() if name[:6] == "000002"}
    assert outcome.fingerprints == kept


def test_two_runs_of_one_series_may_differ(workshop: Workshop) -> None:
    rows = workshop.rows
    rows[3]["Slice_range"] = "20, 32"
    rows[4] |= {"Slice_range": "34, 45", "Spacing_mm_px_": "0.859375, 0.859375, 5"}
    workshop.write_csv(rows)
    outcome = workshop.build()
    assert outcome.rejects == []
    volumes = outcome.store.volumes().set_index("volume_id")
    assert volumes["source_spacing_z_mm"].to_dict() == {
        "000001_01_01_103-115": 5.0,
        "000002_01_01_020-032": 2.5,
        "000002_01_01_034-045": 5.0,
        "000002_02_01_008-019": 5.0,
    }
    assert outcome.lesion_ids == workshop.clean.lesion_ids
    assert outcome.build.converted == 1


def changed(rows: list[Row], **cells: str) -> list[Row]:
    rows[0] |= cells
    return rows


def test_what_is_not_bad_is_kept(workshop: Workshop) -> None:
    cells = {
        "Bounding_boxes": "490, 251.554, 520.5, 274.265",
        "Patient_age": "NaN",
        "DICOM_windows": "-182.5, 322.5",
    }
    workshop.write_csv(changed(workshop.rows, **cells))
    outcome = workshop.build()
    assert outcome.rejects == []
    lesion = outcome.store.lesions().set_index("lesion_id").loc[0]
    assert bool(lesion["bbox_past_edge"])
    assert lesion["age_years"] != lesion["age_years"]
    assert (lesion["window_low_hu"], lesion["window_high_hu"]) == (-182.5, 322.5)
    assert lesion["bbox_x2_px"] == 520.5
    # The place in the body that is published was of another box.
    assert not lesion["location_agrees"]
    assert_all_else_is_built(outcome, workshop, lost_lesions=set())


def test_an_empty_age_is_a_missing_age(workshop: Workshop) -> None:
    workshop.write_csv(changed(workshop.rows, Patient_age=""))
    outcome = workshop.build()
    assert outcome.rejects == []
    assert outcome.store.lesions()["age_years"].isna().tolist() == [True] + [False] * 5
