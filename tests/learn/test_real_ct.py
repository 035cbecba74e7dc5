"""A training on the seven public CT series orders real slices that others scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from etl.core.config_file import load_as
from etl.derive.position_measures import order_accuracy, score_of_file
from etl.imaging.body_view import BodyView
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import folder_series
from etl.learn.training import Training
from tests.support.processes import ROOT

SHARED = ROOT.parent / "shared"


@pytest.mark.campaign
def test_slices_are_ordered_after_a_minute_of_training(tmp_path: Path) -> None:
    files = sorted((SHARED / "body_part" / "scored_slices").glob("*.png"))
    if not files or not (SHARED / "ct").is_dir():
        pytest.skip("needs ../shared/ct and ../shared/body_part, which are not there")
    # Two thirds of the config's steps reach the goal, too.
    config = load_as(RegressorConfig, "regressor-ct", (f"work={tmp_path}", "steps=1000"))
    view = BodyView(config.input.pixels, config.input.pixel_mm)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        training = Training(config, folder_series(str(SHARED / "ct"), view))
        training.run(config.steps)
    finally:
        torch.set_num_threads(threads)
    grey = np.stack([np.asarray(Image.open(file).convert("L"), np.float32) for file in files])
    scores = training.score(view.of(-175 + grey / 255 * 450, (0.8, 0.8)))
    true = [score for file in files if (score := score_of_file(file.name)) is not None]
    assert order_accuracy(true, scores) >= 0.78
