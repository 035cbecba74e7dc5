"""Published locations checked against key slices, and z along a series: tables by hand, then whole builds."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl.errors import GuardError
from etl.imaging.location import PUBLISHED_LINES
from etl.join import make_tables
from etl.locations import agreement
from etl.release.phantom import PhantomTruth, write_phantom
from etl.report.text import build_text
from etl.run.executors import SerialExecutor
from etl.store.reader import open_store
from tests.stored import build_store, config_data, config_of, read_versions
from tests.tiny_release import csv_row, made_up_conversion, tiny_plan

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


def test_a_refit_finds_the_constants_and_says_when_they_are_others() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(0, 1, (500, 2)), columns=["norm_x_recomputed", "norm_y_recomputed"])
    frame["location_agrees"] = True
    for axis, line in PUBLISHED_LINES.items():
        frame = moved(frame, axis, *line)
    found = agreement(frame, whole_release=True)
    assert found.refit is not None
    for axis, line in PUBLISHED_LINES.items():
        refit = found.refit[axis]
        assert refit is not None
        assert (refit.slope, refit.intercept) == pytest.approx(line)
        assert refit.largest_residual < 1e-9
        assert refit.constants_hold

    frame = moved(frame, "y", 0.82, 0.1173)
    found = agreement(frame, whole_release=True)
    assert found.refit is not None
    x, y = found.refit["x"], found.refit["y"]
    assert x is not None
    assert y is not None
    assert (y.slope, y.intercept) == pytest.approx((0.82, 0.1173))
    assert (x.constants_hold, y.constants_hold) == (True, False)
    assert agreement(frame, whole_release=False).refit is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """A phantom of four patients in one archive."""
    out = tmp_path_factory.mktemp("small")
    return out, write_phantom(out, patients=4, archives=1)


def swapped(release: Path, out: Path, one: str, other: str) -> Path:
    """A copy of a release in which two slices have each other's pixels, with the CRCs that belong to them."""
    out.mkdir()
    (out / "DL_info.csv").write_bytes((release / "DL_info.csv").read_bytes())
    names = {one: other, other: one}
    with (
        zipfile.ZipFile(release / "Images_png_01.zip") as source,
        zipfile.ZipFile(out / "Images_png_01.zip", "w") as target,
    ):
        for info in source.infolist():
            name = info.filename.removeprefix("Images_png/")
            target.writestr(info.filename, source.read(f"Images_png/{names.get(name, name)}"))
        assert names.keys() <= {info.filename.removeprefix("Images_png/") for info in source.infolist()}
    return out


def test_every_location_of_the_phantom_agrees_and_is_reported(
    small: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    release, truth = small
    data = config_data(release, tmp_path / "store")
    data["source"] |= {"complete": True}
    build = build_store(data, SerialExecutor())
    store = open_store(str(tmp_path / "store"))
    lesions = store.lesions()
    assert lesions["location_agrees"].tolist() == [True] * len(truth.lesions)
    # published with six digits
    assert lesions[["norm_x_difference", "norm_y_difference"]].abs().to_numpy().max() < 1e-6
    (version,) = read_versions(tmp_path / "store")
    found = version["locations"]
    assert (found["compared"], found["agreeing"], found["share"]) == (len(lesions), len(lesions), 1.0)
    for axis, (slope, intercept) in PUBLISHED_LINES.items():
        assert found["refit"][axis]["constants_hold"]
        assert found["refit"][axis]["slope"] == pytest.approx(slope, abs=1e-5)
        assert found["refit"][axis]["intercept"] == pytest.approx(intercept, abs=1e-5)
        assert found["refit"][axis]["largest_residual"] < 1e-6
    text = build_text(config_of(data), build)
    assert re.search(rf"checked +{len(lesions)} of {len(lesions)} locations .*\(100\.00%\)", text)
    assert re.search(r"refit x +slope 0\.9964\d\d, .*: the constants hold", text)
    # The phantom's z grows by 0.00076 a mm; its key slices are too close together to predict from.
    slopes = store.volumes()["norm_z_slope_per_mm"].dropna()
    assert slopes.to_numpy() == pytest.approx(0.00076, abs=2e-6)
    assert len(slopes) >= 3
    assert store.slices()["norm_z_predicted"].isna().all()


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        ("000001_01_01_109", "000002_01_01_039", [2, 4]),
        ("000002_01_01_039", "000002_02_01_010", [4]),
    ],
    ids=["key slices of two patients", "a key slice and one of another study"],
)
def test_two_swapped_slices_are_caught(
    small: tuple[Path, PhantomTruth], tmp_path: Path, one: str, other: str, wrong: list[int]
) -> None:
    release, _ = small
    release = swapped(release, tmp_path / "release", *(f"{n[:12]}/{n[13:]}.png" for n in (one, other)))
    data = config_data(release, tmp_path / "store", limits={"rejects": 0.05, "location_disagreement": 1.0})
    data["select"] = {"patients": [1, 2]}
    build = build_store(data, SerialExecutor())
    assert build.published.counts.slices_rejected == 0  # nothing is wrong with the files as such
    lesions = open_store(str(tmp_path / "store")).lesions().set_index("lesion_id")
    assert lesions.index[lesions["location_agrees"].eq(False)].tolist() == wrong
    assert lesions["file_name"][wrong[0]] == f"{one}.png"
    found = build.published.version["locations"]
    agreeing = len(lesions) - len(wrong)
    assert (found["compared"], found["agreeing"], found["exact"]) == (len(lesions), agreeing, agreeing)
    assert f"{agreeing} of {len(lesions)} locations are as their key slices say" in build_text(
        config_of(data), build
    )

    # The default limit refuses, with numbers, the slice and the name of the override.
    data |= {"limits": {"rejects": 0.05}, "store": str(tmp_path / "other")}
    with pytest.raises(GuardError) as caught:
        build_store(data, SerialExecutor())
    share = len(wrong) / len(lesions)
    named = (f"{len(wrong)} of {len(lesions)} lesions ({share:.2%})", "5.00%", f"{one}.png")
    assert [text for text in named if text not in str(caught.value)] == []
    assert "--set limits.location_disagreement=" in str(caught.value)
    assert caught.value.exit_code == 3
    assert read_versions(tmp_path / "other") == []


def real_config(annotations: Path, images: Path, store: Path) -> dict[str, Any]:
    return config_data(
        annotations,
        store,
        source={"annotations": str(annotations / "DL_info_images.csv"), "images": str(images)},
        limits={"rejects": 1.0, "location_disagreement": 1.0},
        volume={"spacing_mm": 4.0},
    )


def test_real_key_slices_all_agree(real_release: Path, tmp_path: Path) -> None:
    data = real_config(real_release, real_release / "Images_png", tmp_path)
    data["limits"]["location_disagreement"] = 0.0
    found = build_store(data, SerialExecutor()).published.version["locations"]
    assert (found["compared"], found["agreeing"], found["exact"]) == (26, 26, 26)
    store = open_store(str(tmp_path))
    lesions = store.lesions()
    assert lesions["location_agrees"].tolist() == [True] * 26
    assert lesions[["norm_x_difference", "norm_y_difference"]].abs().to_numpy().max() < 2e-6
    # Two series have key slices far enough apart to predict from.
    keys = ["volume_id", "slice_index"]
    named = lesions.rename(columns={"key_slice_index": "slice_index"})[[*keys, "norm_z"]]
    predicted = store.slices().dropna(subset="norm_z_predicted").merge(named, on=keys)
    assert set(predicted["patient_index"]) == {3657, 3663}
    assert (predicted["norm_z_predicted"] - predicted["norm_z"]).abs().max() < 0.01
    lines = store.volumes().query("norm_z_span_mm >= 50")
    assert lines["norm_z_slope_per_mm"].between(0.0005, 0.0015).all()
    assert (lines["norm_z_residual"] < 0.01).all()
    assert set(lines["norm_z_key_slices"]) == {3, 5}


@pytest.mark.parametrize("other", [104, 108, 110, 114])
def test_the_real_key_slice_is_told_from_its_neighbours(
    real_release: Path, tmp_path: Path, other: int
) -> None:
    """Slices of one series are alike: `location_agrees` may not tell them apart, the difference does."""
    series = "000001_01_01"
    folder = tmp_path / "Images_png" / series
    folder.mkdir(parents=True)
    names = {109: other, other: 109}
    for number in range(103, 116):
        pixels = real_release / "Images_png" / series / f"{names.get(number, number)}.png"
        (folder / f"{number}.png").write_bytes(pixels.read_bytes())
    data = real_config(real_release, tmp_path / "Images_png", tmp_path / "store")
    found = build_store(data, SerialExecutor()).published.version["locations"]
    assert (found["compared"], found["exact"]) == (1, 0)
