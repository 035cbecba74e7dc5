from __future__ import annotations

import json
from pathlib import Path

from etl.learn.ablation import ablation
from etl.learn.finish import finished
from etl.learn.loop import CHECKPOINT
from etl.learn.training import Training
from tests.learn.test_training import config_of
from tests.support.made_up_series import bars


def test_each_loss_is_trained_once_and_is_in_the_card(tmp_path: Path) -> None:
    config = config_of(tmp_path, steps=4, anchor=0.5)
    rows = list(ablation(config, bars()))
    assert [(row["loss"], row["anchor"]) for row in rows] == [
        ("order", 0.0),
        ("distance", 0.0),
        ("order", 0.5),
        ("distance", 0.5),
    ]
    assert all(-1 <= row["spearman_within_series"] <= 1 for row in rows)
    assert len(list(tmp_path.glob(f"*/{CHECKPOINT}"))) == 4
    training = Training(config, bars())
    assert training.resume()
    assert training.step == 4, "one of the four is the training of the config"
    _, files = finished(training, {}, ((), ""), ablation=rows)
    assert json.loads(files["metrics.json"])["ablation"] == rows
    card = files["README.md"].decode()
    assert card.count("\n| order |") == card.count("\n| distance |") == 2


def test_there_is_no_anchor_without_a_published_z(tmp_path: Path) -> None:
    series = list(bars())
    for one in series:
        one.norm_z[:] = float("nan")
    rows = list(ablation(config_of(tmp_path, steps=1), series))
    assert [(row["loss"], row["anchor"]) for row in rows] == [("order", 0.0), ("distance", 0.0)]
    assert {row["mean_absolute_error"] for row in rows} == {None}
