"""Slices of a folder, scored by a net that gives 4 x the mean brightness - 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etl.core.errors import ConfigError
from etl.derive.scored_folder import PublishedSlice, evaluate_folder, evaluate_published, open_model
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
    assert (found["slices"], found["spearman"], found["order_accuracy"]) == (3, 0.5, 0.6667)
    (slices / "000_score_-2.5_a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="a slice can't be read"):
        evaluate_folder(open_model(model), slices, 1.0, (-175.0, 275.0))
    with pytest.raises(ConfigError, match="no scored slices"):
        evaluate_folder(open_model(model), model, 1.0, (-175.0, 275.0))
    with pytest.raises(ConfigError, match="no model in this folder"):
        open_model(slices)


def test_key_slices_with_a_published_z(model: Path) -> None:
    keys = [
        PublishedSlice(name, name[0], z, np.full((PIXELS, PIXELS), hu, np.int16), (1.0, 1.0))
        for name, z, hu in (("b/1", 0.6, 50), ("a/1", 0.5, -175), ("a/2", 0.9, 275))
    ]
    found = evaluate_published(open_model(model), keys)
    assert [row["slice"] for row in found["table"]] == ["a/1", "b/1", "a/2"]
    assert [row["predicted_z"] for row in found["table"]] == pytest.approx([0, 0.5, 1], abs=1e-5)
    assert (found["patients"], found["key_slices"], found["spearman"]) == (2, 3, 1.0)
    assert found["mean_absolute_error"] == pytest.approx((0.5 + 0.1 + 0.1) / 3, abs=1e-5)
    assert found["release_check"]["reached"] is False
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
    assert [row["slice"] for row in found["table"]] == [f"{series}/003.png"]
    (folder / "004.png").write_bytes(encode_png(np.full((8, 8), 32768, np.uint16)))
    damaged = call_job("evaluate_regressor", str(model), str(folder.parent), *options, code=2).output
    assert "a slice can't be read" in damaged
    assert "004.png" in damaged
    nothing = call_job("evaluate_regressor", str(model), str(model), *options, code=2).output
    assert "there are no key slices in this folder" in nothing
