"""A regressor of synthetic patients with known z, from training on a store to positions that builds carry."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from etl.derive.position_measures import spearman
from etl.io.opening import open_objects
from etl.phantom import write_phantom
from etl.phantom.plan import TEST, plan_release
from etl.phantom.whole_bodies import whole_body_patients
from etl.run.serial import SerialExecutor
from etl.store import Store, open_store
from etl.verify.verify import verify
from tests.support.jobs import call_job
from tests.support.require import wanting
from tests.support.stored import build_store, config_data

pytestmark = [pytest.mark.campaign, pytest.mark.usefixtures("serial_jobs")]
WHOLE_BODIES = 6
MODEL = "body-part-regressor"


def known_z() -> pd.DataFrame:
    """Return the z of every slice of the synthetic patients of the test split, on the scale of its CSV."""
    rows = [
        (str(series.key), index, 0.30 + 0.00076 * run.z_mm(index))
        for series in plan_release(8, 0, further=whole_body_patients(WHOLE_BODIES))
        if series.patient.split == TEST
        for index, run in series.slices()
    ]
    return pd.DataFrame(rows, columns=["series_id", "slice_index", "z"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    if importlib.util.find_spec("torch") is None:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder / "release", whole_bodies=WHOLE_BODIES, archives=1, extracted=True)
    data = config_data(folder / "release", folder / "store")
    data["source"] = {
        "annotations": str(folder / "release" / "DL_info.csv"),
        "images": str(folder / "release" / "Images_png"),
    }
    build_store(data, SerialExecutor())
    call_job("match_lesions", data["store"])
    # Half of the config's steps reach the goal, too.
    half = ("--set", "steps=750", "--set", f"work={folder / 'work'}")
    call_job("train_regressor", data["store"], "regressor-demo", *half)
    return data, folder


def positions(store: Store) -> pd.DataFrame:
    found = store.body_positions()
    return found.assign(series_id=found["volume_id"].str[:12])


def test_the_card_says_that_the_goal_is_reached(trained: tuple[dict[str, Any], Path]) -> None:
    store = open_store(trained[0]["store"])
    metrics = json.loads(store.model_file(MODEL, "metrics.json"))
    assert metrics["test"]["patients"] == 4
    assert metrics["test"]["key_slices"] >= 20
    assert metrics["release_check"]["reached"] is True
    repeated = metrics["repeatability"]
    assert repeated["pairs"] >= 1
    assert repeated["of"] == "matched by a method"
    assert repeated["median_difference"] <= 0.02
    card = store.model_file(MODEL, "README.md").decode()
    assert "was reached by this model" in card
    assert "| test series | slice, from 0 | published z | predicted |" in card
    described = store.model_config(MODEL)
    assert [name for name, _ in described["scale"]["landmarks"]] == ["chest", "abdomen", "pelvis"]


def test_positions_of_slices_of_unseen_patients(trained: tuple[dict[str, Any], Path]) -> None:
    place = trained[0]["store"]
    call_job("score_slices", place, "--model", MODEL)
    store = open_store(place)
    found = positions(store).merge(known_z(), on=["series_id", "slice_index"])
    assert len(found) == len(known_z())
    span = found["z"].max() - found["z"].min()
    assert spearman(found["z"], found["norm_z"]) >= 0.99
    assert float(np.abs(found["norm_z"] - found["z"]).mean()) <= 0.02 * span
    assert set(found["region"]) == {"chest", "abdomen", "pelvis"}
    # The whole body is there, so each place of it is.
    for z in (0.4, 0.5, 0.6):
        near = store.volume_at(z)
        assert {"000011_01_01_001-105"} <= set(near["volume_id"])
        assert (near["norm_z"] - z).abs().max() <= 0.05


def test_positions_after_a_build_and_another_model(trained: tuple[dict[str, Any], Path]) -> None:
    data, folder = trained
    place = data["store"]
    if "body_positions" not in open_store(place).version["tables"]:
        call_job("score_slices", place, "--model", MODEL)
    before = positions(open_store(place))
    (folder / "release/Images_png/000001_01_01/115.png").unlink()
    build_store(data, SerialExecutor())
    carried = positions(open_store(place))
    kept = before[before["series_id"] != "000001_01_01"].reset_index(drop=True)
    pd.testing.assert_frame_equal(carried, kept)
    assert "1 scored now" in call_job("score_slices", place, "--model", MODEL).output
    again = positions(open_store(place))
    assert len(again) == len(before) - 1

    other = ("--set", "loss=order", "--set", "name=other", "--set", "steps=2", "--set", "validate_steps=2")
    call_job("train_regressor", place, "regressor-demo", *other, "--set", f"work={folder / 'work'}")
    assert "19 scored now" in call_job("score_slices", place, "--model", "other").output
    swapped = positions(open_store(place))
    assert swapped[["volume_id", "slice_index"]].equals(again[["volume_id", "slice_index"]])
    assert not swapped["score"].equals(again["score"])
    # The rows by the first model are still files of the store.
    assert "0 scored now" in call_job("score_slices", place, "--model", MODEL).output
    pd.testing.assert_frame_equal(positions(open_store(place)), again)
    number = open_store(place).version["version"]
    assert list(verify(open_objects(place), number).problems) == []


def test_repeatability_is_over_the_known_sequences(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    truth = write_phantom(tmp_path / "release", patients=2, archives=1, followups=2)
    data = config_data(tmp_path / "release", tmp_path / "store")
    build_store(data, SerialExecutor())
    call_job("match_lesions", data["store"])
    few = ("steps=20", "validate_steps=10", "input.pixels=32", "input.pixel_mm=14", f"work={tmp_path}")
    call_job("train_regressor", data["store"], "regressor-demo", *(w for v in few for w in ("--set", v)))
    metrics = json.loads(open_store(data["store"]).model_file(MODEL, "metrics.json"))
    repeated = metrics["repeatability"]
    assert repeated["pairs"] == sum(len(lesions) - 1 for lesions in truth.sequences) == 13
    # A lesion stays on its key slice in the follow-ups, which have the series' own z.
    assert repeated["median_difference_of_published"] == pytest.approx(0, abs=0.002)
    assert 0 <= repeated["median_difference"] <= 0.4
