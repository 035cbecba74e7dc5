"""From a training to positions in a store, by the commands."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from etl.core.config import Config
from etl.io.places import PARTIAL
from etl.store import open_store
from tests.support.jobs import call_job
from tests.support.made_up_ct import write_ct_folder
from tests.support.require import wanting
from tests.support.three_volumes import built

SMALL = ("input.pixels=32", "input.pixel_mm=14", "series=2", "validate_steps=4", "checkpoint_steps=3")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return built(tmp_path)


def settings(**values: Any) -> list[str]:
    found = [*SMALL, *(f"{key.replace('__', '.')}={value}" for key, value in values.items())]
    return [word for value in found for word in ("--set", value)]


def test_a_wrong_config_is_refused(config: Config, tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        done = call_job("train_regressor", config.store, "regressor", code=2)
        assert "training needs packages that are missing" in done.output
        return
    for values, message in (
        ({"losss": "order"}, "losss"),
        ({"loss": "other"}, "loss"),
        ({"net": "lite0"}, "weights is given for the net lite0"),
        ({"input__window_hu": "[5, 5]"}, "window_hu"),
        ({"data__folder": str(tmp_path)}, "no series in this folder"),
        (
            {"data__folder": "none", "data__val_patients": "[a, b]", "data__test_patients": "[c, b]"},
            "`data`: val_patients and test_patients both have b; allowed: a patient in one",
        ),
        ({"data__val_patients": "[a]"}, "val_patients and test_patients are of a folder"),
        ({"data__test_patients": "[a]"}, "val_patients and test_patients are of a folder"),
        ({"data__folder": "none", "data__limit": "1"}, "limit is of volumes of the store"),
    ):
        done = call_job("train_regressor", config.store, "regressor", *settings(**values), code=2)
        assert message in " ".join(done.output.split())


def test_many_trainings_are_made_by_one_process() -> None:
    """It is said before anything is read: there is no such store and no such config."""
    for option in ("--leave-one-out", "--ablation"):
        done = call_job("train_regressor", "no-store", "no-config", option, code=2, WORLD_SIZE="2")
        assert "trainings one after the other are made by one process" in done.output


@pytest.mark.parametrize("other", [("--ablation",), ("--steps-now", "3")])
def test_leaving_one_out_is_done_alone(other: tuple[str, ...]) -> None:
    done = call_job("train_regressor", "no-store", "no-config", "--leave-one-out", *other, code=2)
    assert "makes trainings of its own" in done.output


def test_an_ablation_is_not_cut_short() -> None:
    """It would make the steps of all its trainings, whatever the number."""
    words = ("no-store", "no-config", "--ablation", "--steps-now", "3")
    assert "--ablation makes all steps" in call_job("train_regressor", *words, code=2).output


def test_a_store_that_can_not_be_written_is_refused_before_the_training(
    config: Config, tmp_path: Path
) -> None:
    if importlib.util.find_spec("torch") is None:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    shutil.rmtree(Path(config.store, PARTIAL), ignore_errors=True)
    Path(config.store, PARTIAL).write_text("no folder")
    values = settings(data__folder=write_ct_folder(tmp_path / "ct"), steps=1, work=tmp_path / "work")
    done = call_job("train_regressor", config.store, "regressor", *values, code=2)
    assert "the store can't be written" in done.output
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_model_is_trained_in_parts_added_and_used(config: Config, tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    folder = write_ct_folder(tmp_path / "ct")
    values = {"data__folder": folder, "data__val_patients": "[two]", "steps": 8, "work": tmp_path / "work"}
    arguments = ("train_regressor", config.store, "regressor", *settings(**values))
    assert "step 4 of 8" in call_job(*arguments, "--steps-now", "4").output
    assert open_store(config.store).version.get("models", []) == []
    assert "has now the model" in call_job(*arguments).output
    again = call_job(*arguments).output
    assert "had already the model" in again
    assert "never change" not in again
    store = open_store(config.store)
    model = store.model("body-part-regressor")
    described = store.model_config("body-part-regressor")
    assert described["patients"] == {"train": 2, "val": 1, "test": 0}
    assert described["scale"]["scores"] == []
    (curves,) = (tmp_path / "work").glob("*/curves.csv")
    assert [line.split(",")[0] for line in curves.read_text().splitlines()] == ["step", "4", "8"]

    slices = tmp_path / "slices"
    slices.mkdir()
    for number in range(3):
        grey = Image.fromarray(np.full((40, 40), 80 * number, np.uint8))
        grey.save(slices / f"{number:03}_score_{number * 2}.5_a.png")
    place = str(Path(config.store, model["path"]))
    found = json.loads(call_job("evaluate_regressor", place, str(slices)).output)
    assert found["slices"] == 3
    assert -1 <= found["spearman"] <= 1
    assert "no scored slices" in call_job("evaluate_regressor", place, str(folder), code=2).output
    assert (
        "no model in this folder" in call_job("evaluate_regressor", str(folder), str(slices), code=2).output
    )
    compared = call_job(*arguments, "--ablation").output
    assert "this run's README.md, metrics.json are not in the store" in " ".join(compared.split())
