"""Published locations checked against key slices, and z along a series: tables worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl.imaging.location import PUBLISHED_LINES
from etl.publish.assemble import make_tables
from etl.tables.locations import Refit, agreement
from tests.support.tiny_release import csv_row, made_up_conversion, tiny_plan

SERIES = "000001_01_01"


def joined(present: dict[str, list[int]], *rows: dict[str, str]) -> tuple[list[dict[str, Any]], ...]:
    """Rows of lesions, volumes and slices of a made-up release: 2 mm interval, masks from 0 to 15."""
    plan = tiny_plan(present, *rows)
    tables = make_tables(plan, [made_up_conversion(volume) for volume in plan.volumes]).tables
    return tuple(tables[name].to_pylist() for name in ("lesions", "volumes", "slices"))


def location(x: float, y: float, z: float = 0.6) -> dict[str, str]:
    return {"Normalized_lesion_location": f"{x}, {y}, {z}"}


def test_locations_worked_by_hand() -> None:
    lesions, _, _ = joined(
        {SERIES: [3, 4]},
        csv_row(SERIES, 3, (3, 4)),
        csv_row(SERIES, 3, (3, 4), **location(0.522364 + 0.0021, 0.607906)),
        csv_row(SERIES, 4, (3, 4), **location(0.522364, 0.607906 - 0.0021)),
        csv_row(SERIES, 4, (3, 4), **location(0.522364 + 0.0019, 0.607906 - 0.0019)),
    )
    # the box's centre (8, 9) in a mask from 0 to 15
    x, y = 0.996425 * 8 / 15 - 0.009063, 0.813521 * 9 / 15 + 0.119793
    for lesion in lesions:
        assert (lesion["norm_x_recomputed"], lesion["norm_y_recomputed"]) == pytest.approx((x, y))
        assert lesion["norm_x_difference"] == pytest.approx(x - lesion["norm_x"])
        assert lesion["norm_y_difference"] == pytest.approx(y - lesion["norm_y"])
    assert [lesion["location_agrees"] for lesion in lesions] == [True, False, False, True]


def test_a_location_that_can_not_be_recomputed_neither_agrees_nor_not() -> None:
    plan = tiny_plan({SERIES: [3]}, csv_row(SERIES, 3, (3, 3)))
    conversion = made_up_conversion(plan.volumes[0])
    conversion.built[0][1].slice_masks["location"]["column_last"] = 0
    lesions = make_tables(plan, [conversion]).tables["lesions"]
    (lesion,) = lesions.to_pylist()
    assert lesion["norm_x_recomputed"] is lesion["norm_x_difference"] is lesion["location_agrees"] is None
    assert lesion["norm_y_recomputed"] is not None
    found = agreement(lesions.to_pandas(), whole_release=True)
    assert (found.compared, found.agreeing, found.share) == (0, 0, 1.0)
    assert found.refit == {"x": None, "y": None}


def test_masks_in_the_slices_table_worked_by_hand() -> None:
    """0.5 x 0.8 mm; a body of 100 pixels in columns 2 to 11, its centroid in column 4, then 5, and row 7."""
    cells = {"Spacing_mm_px_": "0.5, 0.8, 2"}
    _, _, slices = joined({SERIES: [3, 4]}, csv_row(SERIES, 3, (3, 4), **cells))
    second = {name: value for name, value in slices[1].items() if "_mask_" in name}
    assert second == {
        "location_mask_area_px": 256,
        "location_mask_area_mm2": pytest.approx(256 * 0.4),
        "location_mask_centroid_x_mm": pytest.approx(3.5),
        "location_mask_centroid_y_mm": pytest.approx(6.4),
        "location_mask_column_first": 0,
        "location_mask_column_last": 15,
        "location_mask_row_first": 0,
        "location_mask_row_last": 15,
        "body_mask_area_px": 100,
        "body_mask_area_mm2": pytest.approx(40),
        "body_mask_centroid_x_mm": pytest.approx(2.5),
        "body_mask_centroid_y_mm": pytest.approx(5.6),
        "body_mask_column_first": 2,
        "body_mask_column_last": 11,
        "body_mask_row_first": 3,
        "body_mask_row_last": 12,
    }
    assert slices[0]["body_mask_centroid_x_mm"] == pytest.approx(2.0)


def test_a_slice_without_body_has_no_box_and_no_centroid() -> None:
    plan = tiny_plan({SERIES: [3]}, csv_row(SERIES, 3, (3, 3)))
    conversion = made_up_conversion(plan.volumes[0])
    for mask, box in (("location", (0, 15, 0, 15)), ("body", (0, 0, 0, 0))):
        conversion.built[0][1].slice_masks[mask] = (*box, 0, 0, 0)
    (row,) = make_tables(plan, [conversion]).tables["slices"].to_pylist()
    empty = {name for name, value in row.items() if "_mask_" in name and value is None}
    assert empty == {
        *(f"{mask}_mask_centroid_{axis}_mm" for mask in ("location", "body") for axis in "xy"),
        *(f"body_mask_{side}_{end}" for side in ("column", "row") for end in ("first", "last")),
    }
    assert (row["location_mask_column_last"], row["location_mask_area_px"]) == (15, 0)


def test_z_along_a_series_with_a_gap_worked_by_hand() -> None:
    """2 mm: key slices 10 and 40 are 60 mm apart; the second run starts at 30."""
    present = {SERIES: [*range(10, 13), *range(30, 42)], "000002_01_01": [1, 2]}
    lesions, volumes, slices = joined(
        present,
        csv_row(SERIES, 10, (10, 12), **location(0.5, 0.5, 0.3)),
        csv_row(SERIES, 40, (30, 41), **location(0.5, 0.5, 0.36)),
        csv_row(SERIES, 40, (30, 41), **location(0.6, 0.5, 0.36)),
        csv_row("000002_01_01", 1, (1, 2)),
    )
    assert [lesion["norm_z"] for lesion in lesions] == [0.3, 0.36, 0.36, 0.6]
    first, second, other = volumes
    for volume, at_zero in ((first, 0.3), (second, 0.34)):
        assert volume["norm_z_slope_per_mm"] == pytest.approx(0.001)
        assert volume["norm_z_intercept"] == pytest.approx(at_zero)
        assert (volume["norm_z_key_slices"], volume["norm_z_span_mm"]) == (2, 60.0)
        assert volume["norm_z_residual"] is None
    z = {"norm_z_slope_per_mm", "norm_z_intercept", "norm_z_residual", "norm_z_span_mm"}
    assert {name: other[name] for name in z} == dict.fromkeys(z)
    assert other["norm_z_key_slices"] == 0
    predicted = [row["norm_z_predicted"] for row in slices]
    assert predicted[-2:] == [None, None]
    indices = np.array([*range(10, 13), *range(30, 42)])
    assert predicted[:-2] == pytest.approx(0.3 + 0.002 * (indices - 10))


def test_z_is_not_predicted_from_key_slices_close_together() -> None:
    _, (volume,), slices = joined(
        {SERIES: list(range(1, 31))},
        csv_row(SERIES, 2, (1, 30), **location(0.5, 0.5, 0.30)),
        csv_row(SERIES, 14, (1, 30), **location(0.5, 0.5, 0.33)),
        csv_row(SERIES, 26, (1, 30), **location(0.5, 0.5, 0.33)),
    )
    assert (volume["norm_z_key_slices"], volume["norm_z_span_mm"]) == (3, 48.0)
    assert volume["norm_z_slope_per_mm"] == pytest.approx(0.03 / 48)
    # 0.005, -0.01, 0.005 from the line, with one degree of freedom
    assert volume["norm_z_residual"] == pytest.approx(np.sqrt(1.5) * 0.01)
    assert {row["norm_z_predicted"] for row in slices} == {None}


def test_runs_of_different_intervals_have_lines_of_their_own() -> None:
    other = {"Spacing_mm_px_": "0.5, 0.5, 5"}
    _, (fine, coarse), _ = joined(
        {SERIES: [*range(1, 5), *range(40, 60)]},
        csv_row(SERIES, 1, (1, 4), **location(0.5, 0.5, 0.3)),
        csv_row(SERIES, 40, (40, 59), **location(0.5, 0.5, 0.4), **other),
        csv_row(SERIES, 59, (40, 59), **location(0.5, 0.5, 0.495), **other),
    )
    assert fine["norm_z_slope_per_mm"] is None
    assert (coarse["norm_z_slope_per_mm"], coarse["norm_z_intercept"]) == pytest.approx((0.001, 0.4))
    assert coarse["norm_z_span_mm"] == 95.0


def moved(frame: pd.DataFrame, axis: str, slope: float, intercept: float) -> pd.DataFrame:
    """Published locations as another line than the one in use would give them."""
    used_slope, used_intercept = PUBLISHED_LINES[axis]
    relative = (frame[f"norm_{axis}_recomputed"] - used_intercept) / used_slope
    published = slope * relative + intercept
    difference = frame[f"norm_{axis}_recomputed"] - published
    return frame.assign(**{f"norm_{axis}": published, f"norm_{axis}_difference": difference})


def published() -> pd.DataFrame:
    """500 lesions whose locations are published as the lines in use give them."""
    places = np.random.default_rng(0).uniform(0, 1, (500, 2))
    frame = pd.DataFrame(places, columns=["norm_x_recomputed", "norm_y_recomputed"])
    frame["location_agrees"] = True
    for axis, line in PUBLISHED_LINES.items():
        frame = moved(frame, axis, *line)
    return frame


def refits(frame: pd.DataFrame) -> tuple[Refit, Refit]:
    """The lines along x and y that fit the locations."""
    found = agreement(frame, whole_release=True).refit
    assert found is not None
    x, y = found["x"], found["y"]
    assert x is not None
    assert y is not None
    return x, y


def test_a_refit_finds_the_constants_and_says_when_they_are_others() -> None:
    frame = published()
    for refit, line in zip(refits(frame), PUBLISHED_LINES.values(), strict=True):
        assert (refit.slope, refit.intercept) == pytest.approx(line)
        assert refit.largest_residual < 1e-9
        assert refit.constants_hold

    frame = moved(frame, "y", 0.82, 0.1173)
    x, y = refits(frame)
    assert (y.slope, y.intercept) == pytest.approx((0.82, 0.1173))
    assert (x.constants_hold, y.constants_hold) == (True, False)
    assert agreement(frame, whole_release=False).refit is None


def test_rows_of_wrong_slices_do_not_tilt_the_refit() -> None:
    """A tenth of the rows, all at one side of the body, say too much; they are left out and counted."""
    frame = published()
    wrong = frame.sort_values("norm_x_recomputed").index[:50]
    frame.loc[wrong, "norm_x"] += 0.3
    x, y = refits(frame)
    assert (x.slope, x.intercept) == pytest.approx(PUBLISHED_LINES["x"])
    assert x.largest_residual < 1e-9
    assert (x.constants_hold, x.fitted, x.left_out) == (True, 450, 50)
    assert (y.fitted, y.left_out) == (500, 0)
