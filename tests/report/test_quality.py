from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etl.report import quality
from tests.support.report_rows import lesions, slices, volumes


def test_the_largest_difference_of_location_comes_first() -> None:
    agreeing = {"location_agrees": True, "norm_x_difference": 0.0, "norm_y_difference": 0.0}
    rows = lesions(
        agreeing,
        {"location_agrees": False, "norm_x_difference": 0.01, "norm_y_difference": 0.0},
        {"location_agrees": False, "norm_x_difference": 0.0, "norm_y_difference": -0.2},
        {"location_agrees": None, "norm_x_difference": None, "norm_y_difference": None},
    )
    assert quality.disagreeing_locations(rows)["lesion_id"].tolist() == [2, 1]
    first = quality.checks(rows, volumes({}), slices({}))[0]
    assert (first.checked, len(first.found)) == (3, 2)


def test_a_location_that_agrees_but_not_exactly_is_found() -> None:
    """Such a difference remains if a row was joined to a neighbouring slice."""
    rows = lesions(
        {"location_agrees": True, "norm_x_difference": 2e-6, "norm_y_difference": 0.0},
        {"location_agrees": True, "norm_x_difference": 0.0, "norm_y_difference": -2e-4},
        {"location_agrees": True, "norm_x_difference": 1.9e-3, "norm_y_difference": 0.0},
        {"location_agrees": False, "norm_x_difference": 0.01, "norm_y_difference": 0.0},
        {"location_agrees": None, "norm_x_difference": None, "norm_y_difference": None},
    ).astype({"location_agrees": "boolean"})
    check = quality.checks(rows, volumes({}), slices({}))[1]
    assert check.name == "inexact_locations"
    assert (check.checked, check.found["lesion_id"].tolist()) == (4, [2, 1])


def test_a_version_without_recomputed_locations_has_none_that_disagree() -> None:
    for check in quality.checks(lesions({}), volumes({}), slices({}))[:2]:
        assert (check.checked, len(check.found)) == (0, 0)


def test_a_volume_far_from_the_others_is_unusual() -> None:
    usual = [{"hu_mean": -500.0 + n, "volume_id": f"v{n}"} for n in range(-10, 11)]
    found = quality.unusual_volumes(
        volumes(
            *usual,
            {"hu_mean": 700.0, "hu_standard_deviation": 450.0, "volume_id": "odd"},
            {"hu_mean": -900.0, "volume_id": "less"},
        )
    )
    assert found[["volume_id", "statistic", "value"]].to_numpy().tolist() == [
        ["odd", "hu_mean", 700.0],
        ["less", "hu_mean", -900.0],
    ]


def test_volumes_that_are_all_alike_are_not_unusual() -> None:
    assert quality.unusual_volumes(volumes({}, {"hu_mean": -500.001}, {}, {})).empty
    assert quality.unusual_volumes(volumes({})[:0]).empty


def test_blank_slices_come_before_those_with_an_odd_mean() -> None:
    usual = [{"hu_mean": -500.0 + n} for n in range(-10, 11)]
    found = quality.outlying_slices(
        slices(
            *usual,
            {"hu_mean": 300.0},
            {"hu_mean": -1000.0, "hu_maximum": -900},
            {"hu_minimum": 0, "hu_maximum": 0, "hu_mean": 0.0},
        )
    )
    assert found[["slice_index", "what"]].to_numpy().tolist() == [[22, "blank"], [23, "blank"], [21, "mean"]]
    assert quality.outlying_slices(slices(*usual)).empty


def test_a_series_of_several_runs_has_gaps() -> None:
    rows = volumes(
        {"volume_id": "000001_01_01_001-009"},
        {"volume_id": "000002_01_01_020-029", "patient_index": 2, "slice_first": 20, "slice_last": 29},
        {"volume_id": "000002_01_01_001-005", "patient_index": 2, "slice_first": 1, "slice_last": 5},
        {"volume_id": "000002_01_01_007-018", "patient_index": 2, "slice_first": 7, "slice_last": 18},
    )
    assert quality.gaps(rows).to_dict("records") == [
        {
            "series_id": "000002_01_01",
            "volume_id": "000002_01_01_001-005",
            "runs": 3,
            "slices": 27,
            "slices_between": 2,
            "slice_ranges": "001-005 007-018 020-029",
        }
    ]


def test_lesions_are_flagged_with_each_reason() -> None:
    rows = lesions(
        {},
        {"possibly_noisy": True, "age_years": 157},
        {"bbox_past_edge": True},
        {"age_years": 0},
        {"age_years": None},
    )
    found = quality.flagged_lesions(rows)
    assert found[["lesion_id", "what"]].to_numpy().tolist() == [
        [1, "possibly noisy, age"],
        [2, "box past the edge"],
        [3, "age"],
    ]


def test_what_a_lesion_can_not_be_is_flagged() -> None:
    usual = {"image_width_px": 512, "image_height_px": 256, "long_diameter_px": 10.0}
    usual |= {"short_diameter_px": 5.0}
    rows = lesions(
        usual | {"short_diameter_px": 10.0014, "recist_long_x1_px": -511.0, "recist_short_y2_px": 511.0},
        usual | {"short_diameter_px": 10.0021},
        usual | {"recist_long_x2_px": 1024.5},
        usual | {"recist_short_y1_px": -256.5},
        usual | {"patient_index": 7, "split": "train"},
        usual | {"patient_index": 7, "split": "test"},
    )
    found = quality.flagged_lesions(rows)
    assert found[["lesion_id", "what"]].to_numpy().tolist() == [
        [1, "short diameter longer"],
        [2, "RECIST far outside the image"],
        [3, "RECIST far outside the image"],
        [4, "patient in several splits"],
        [5, "patient in several splits"],
    ]


ENDS = [f"recist_{which}_{axis}{end}_px" for which in ("long", "short") for axis in "xy" for end in "12"]
SIZES = st.integers(1, 4096)


@given(st.sampled_from(ENDS), SIZES, SIZES, st.integers(-3, 4), st.sampled_from([-0.5, 0.0, 0.5]))
def test_an_end_is_far_outside_beyond_one_image_on_either_side(
    end: str, width: int, height: int, images: int, more_px: float
) -> None:
    size = width if end[-5] == "x" else height
    value = images * size + more_px
    inside = dict.fromkeys(ENDS, 0.0) | {"image_width_px": width, "image_height_px": height}
    rows = lesions(inside | {end: value})
    expected = ["RECIST far outside the image"] if not -size <= value <= 2 * size else []
    assert quality.flagged_lesions(rows)["what"].tolist() == expected


@given(st.floats(0.1, 500), st.floats(0.1, 500), st.sampled_from([0.0019, 0.0021, None]))
def test_a_short_diameter_is_longer_by_more_than_rounding(
    long_px: float, short_px: float, more_px: float | None
) -> None:
    short_px = short_px if more_px is None else long_px + more_px
    expected = ["short diameter longer"] if short_px > long_px + quality.ROUNDING_PX else []
    rows = lesions({"long_diameter_px": long_px, "short_diameter_px": short_px})
    assert quality.flagged_lesions(rows)["what"].tolist() == expected


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["train", "val", "test"])), min_size=1))
def test_patients_in_several_splits_are_those_with_more_than_one(drawn: list[tuple[int, str]]) -> None:
    rows = lesions(*({"patient_index": patient, "split": split} for patient, split in drawn))
    several = {patient for patient, _ in drawn if len({s for p, s in drawn if p == patient}) > 1}
    expected = [number for number, (patient, _) in enumerate(drawn) if patient in several]
    assert quality.flagged_lesions(rows)["lesion_id"].tolist() == expected
