"""Bad archives and members: each is a reject, and everything else is still built."""

from __future__ import annotations

import pytest

from tests.support.workshop import Outcome, Workshop, zipped

PATIENT_1, PATIENT_2 = "000001", "000002"


def assert_only_patient_2_is_built(outcome: Outcome, workshop: Workshop) -> None:
    kept = {name: mark for name, mark in workshop.clean.fingerprints.items() if name[:6] == PATIENT_2}
    assert outcome.fingerprints == kept
    assert outcome.lesion_ids == [3, 4, 5]
    assert outcome.build.published.counts.rows_not_selected == 3
    assert outcome.build.converted == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "reason"), [(0.5, "archive_truncated"), (0.999, "archive_truncated"), (0, "archive_not_zip")]
)
def test_an_archive_that_is_cut_short(workshop: Workshop, keep: float, reason: str) -> None:
    whole = zipped(workshop.slices(PATIENT_1))
    workshop.write_archives(whole[: int(keep * len(whole))], zipped(workshop.slices(PATIENT_2)))
    outcome = workshop.build()
    assert outcome.rejects == [("archive", reason, "0.zip")]
    assert_only_patient_2_is_built(outcome, workshop)


def test_an_archive_that_is_no_zip(workshop: Workshop) -> None:
    workshop.write_archives(b"<html>404</html>" * 1000, zipped(workshop.slices(PATIENT_2)))
    outcome = workshop.build()
    assert outcome.rejects == [("archive", "archive_not_zip", "0.zip")]
    assert "16,000 bytes; is not a zip" in outcome.message("archive_not_zip")
    assert_only_patient_2_is_built(outcome, workshop)


UNEXPECTED = ["readme.txt", "000001_01_01/12.png", "000001_01_01/112.jpg", "000001_01/112.png"]


@pytest.mark.parametrize("form", ["archive", "folder"])
@pytest.mark.parametrize("name", UNEXPECTED)
def test_a_member_with_an_unexpected_name(workshop: Workshop, form: str, name: str) -> None:
    members = workshop.slices() | {name: b"x"}
    if form == "archive":
        workshop.write_archives(zipped(members))
        where = f"0.zip: Images_png/{name}"
    else:
        workshop.write_images(members)
        # A folder that is no series is one find, whatever is in it.
        shown = "000001_01" if name.startswith("000001_01/") else name
        where = f"images: {shown}"
    outcome = workshop.build()
    assert outcome.rejects == [("slice", "member_name_unexpected", where)]
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert outcome.lesion_ids == workshop.clean.lesion_ids
    assert outcome.build.published.counts.slices_found == 51


def test_a_slice_under_an_unexpected_name_is_missing_too(workshop: Workshop) -> None:
    slices = workshop.slices()
    slices["000001_01_01/112.jpg"] = slices.pop("000001_01_01/112.png")
    workshop.write_archives(zipped(slices))
    assert workshop.build().rejects == [
        ("slice", "member_name_unexpected", "0.zip: Images_png/000001_01_01/112.jpg"),
        ("slice", "slice_missing", "DL_info.csv row 0: 000001_01_01_112.png"),
    ]


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_files_of_macos_are_ignored(workshop: Workshop, form: str) -> None:
    members = workshop.slices() | {"000001_01_01/._109.png": b"x", "._000001_01_01": b"x", ".DS_Store": b"x"}
    if form == "archive":
        workshop.write_archives(zipped(members))
    else:
        workshop.write_images(members)
    outcome = workshop.build()
    assert outcome.rejects == []
    assert outcome.fingerprints == workshop.clean.fingerprints
    assert outcome.build.published.counts.slices_found == 50


@pytest.mark.slow
def test_four_digit_slice_numbers_are_kept(workshop: Workshop) -> None:
    slices = workshop.slices(PATIENT_2)
    for name, data in workshop.slices(PATIENT_1).items():
        series, index = name.removesuffix(".png").split("/")
        slices[f"{series}/{int(index) + 890}.png"] = data
    rows = workshop.rows
    for row in rows[:3]:
        key = int(row["Key_slice_index"]) + 890
        row |= {
            "File_name": f"000001_01_01_{key}.png",
            "Key_slice_index": str(key),
            "Slice_range": "993, 1005",
        }
    workshop.write_csv(rows)
    workshop.write_archives(zipped(slices))
    outcome = workshop.build()
    assert outcome.rejects == []
    assert next(iter(outcome.fingerprints)) == "000001_01_01_993-1005"
    assert outcome.lesion_ids == workshop.clean.lesion_ids
    lesions = outcome.store.lesions().set_index("lesion_id")
    clean = workshop.clean.store.lesions().set_index("lesion_id")
    assert lesions["z_mm"].to_dict() == clean["z_mm"].to_dict()


@pytest.mark.slow
def test_slices_over_archives_and_folders_give_the_same_volumes(workshop: Workshop) -> None:
    slices = workshop.slices()
    names = sorted(slices)
    workshop.write_archives(
        *(zipped({name: slices[name] for name in part}) for part in (names[40:], names[:7], names[7:40]))
    )
    spread = workshop.build()
    assert spread.fingerprints == workshop.clean.fingerprints
    archives = spread.store.volumes().set_index("volume_id")["source_archives"]
    assert archives["000001_01_01_103-115"].tolist() == ["1.zip", "2.zip"]
    workshop.write_images(slices)
    extracted = workshop.build()
    assert extracted.fingerprints == workshop.clean.fingerprints
    assert (spread.rejects, extracted.rejects) == ([], [])


@pytest.mark.parametrize("second", ["equal", "different"])
def test_a_slice_in_two_archives(workshop: Workshop, second: str) -> None:
    name = "000001_01_01/112.png"
    copy = workshop.slices()[name] if second == "equal" else workshop.slices()["000001_01_01/111.png"]
    workshop.write_archives(zipped(workshop.slices()), zipped({name: copy}))
    outcome = workshop.build()
    assert outcome.build.published.counts.slices_found == 51
    if second == "equal":
        assert outcome.rejects == [("slice", "slice_duplicate", f"1.zip: {name}")]
        assert outcome.fingerprints == workshop.clean.fingerprints
    else:
        assert outcome.rejects == [("slice", "slice_conflict", f"{n}.zip: {name}") for n in (0, 1)]
        assert "000001_01_01_113-115" in outcome.fingerprints
