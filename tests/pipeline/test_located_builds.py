"""Published locations checked in whole builds: of the phantom, of swapped slices, of real key slices."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import GuardError
from etl.imaging.location import PUBLISHED_LINES
from etl.phantom import PhantomTruth, write_phantom
from etl.report.console.texts import build_text
from etl.report.quality import disagreeing_locations, inexact_locations
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.stored import build_store, config_data, config_of, read_versions


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


@pytest.mark.slow
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
    assert re.search(rf"checked +{len(lesions)} of {len(lesions)} published locations .*\(100\.00%\)", text)
    assert re.search(r"refit x +slope 0\.9964\d\d, .*: the constants hold", text)
    # The phantom's z grows by 0.00076 a mm; its key slices are too close together to predict from.
    slopes = store.volumes()["norm_z_slope_per_mm"].dropna()
    assert slopes.to_numpy() == pytest.approx(0.00076, abs=2e-6)
    assert len(slopes) >= 3
    assert store.slices()["norm_z_predicted"].isna().all()


@pytest.mark.slow
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
    said = f"{agreeing} of {len(lesions)} published locations agree with their key slice"
    assert said in build_text(config_of(data), build)

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


@pytest.mark.slow
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
    """Slices of one series are alike: `location_agrees` may not distinguish them, the difference does."""
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
    lesions = open_store(str(tmp_path / "store")).lesions()
    assert len(disagreeing_locations(lesions)) + len(inexact_locations(lesions)) == 1
