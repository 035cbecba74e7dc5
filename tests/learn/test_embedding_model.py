"""The files of an embedding model, and the same vectors by onnxruntime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from etl.core.errors import ConfigError
from etl.derive.onnx_session import new_session, run_inputs
from etl.derive.retrieval_leaks import HIDDEN, leaks, permuted_windows
from etl.learn.embedding_batches import plain_crops
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.embedding_examples import Examples
from etl.learn.embedding_finish import finished
from etl.learn.embedding_nets import make_net
from etl.learn.embedding_training import EmbeddingTraining
from etl.learn.model_folder import exported
from tests.learn.test_embedding_training import config_of
from tests.support.made_up_lesions import made_up
from tests.support.tiny_embedding import PIXELS, PLANE_MEANS_ONNX


class PlaneMeans(torch.nn.Module):
    """The net of `tests.support.tiny_embedding`."""

    def forward(self, crops: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        means = crops.mean((2, 3))
        width = boxes[:, 2:3] - boxes[:, 0:1]
        return torch.cat([means, means[:, 1:2] * width], 1)


def test_the_exporter_gives_the_committed_bytes() -> None:
    """If they differ, this version of PyTorch exports otherwise, which changes new models only."""
    inputs = {"crops": torch.zeros(2, 3, PIXELS, PIXELS), "boxes": torch.zeros(2, 4)}
    assert exported(PlaneMeans(), inputs, "vectors", "embedding") == PLANE_MEANS_ONNX


@pytest.mark.campaign
def test_onnxruntime_gives_the_vectors_of_the_published_net() -> None:
    config = EmbeddingConfig.model_validate({"net": "vgg16", "dimensions": 16, "input": {"pixels": 32}})
    torch.manual_seed(2)
    made = make_net(config).eval()
    crops = torch.rand(35, 3, 32, 32)
    low = torch.rand(35, 2) * 0.4
    boxes = torch.cat([low, low + 0.1 + torch.rand(35, 2) * 0.4], 1)
    with torch.inference_mode():
        expected = made(crops, boxes).numpy()
    model = exported(made, {"crops": crops[:2], "boxes": boxes[:2]}, "vectors", "embedding")
    found = run_inputs(new_session(model), {"crops": crops.numpy(), "boxes": boxes.numpy()})
    assert found.shape == (35, 64)
    assert (1 - (found * expected).sum(axis=1)).max() < 1e-3
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_finished_training_is_a_model(tmp_path: Path) -> None:
    config = config_of(tmp_path, steps=2)
    examples = made_up(config)
    frame = examples.frame.assign(**{name: 0 for name in HIDDEN if name not in examples.frame})
    examples = replace(examples, frame=frame)
    training = EmbeddingTraining(config, examples)
    training.run(2)

    def remade(rows: pd.DataFrame) -> Examples:
        at = [int(n) for n in rows["lesion_id"]]
        return replace(examples, crops=[examples.crops[n] for n in at], frame=rows, boxes=examples.boxes[at])

    model_id, files = finished(training, {"kind": "test", "version": 7}, remade)
    assert sorted(files) == ["README.md", "config.json", "metrics.json", "model.onnx", "model.safetensors"]
    described, metrics = (json.loads(files[name]) for name in ("config.json", "metrics.json"))
    assert (described["kind"], described["dimensions"], described["model_id"]) == ("embedding", 16, model_id)
    assert "weights" not in described["training"]
    for split, queries in (("val", 24), ("test", 24)):
        assert metrics[split]["model"]["queries"] == queries
        assert set(metrics[split]) == {"by", "model", "place", "xyz"}
    assert metrics["leak"]["largest_change_of_a_vector"] == 0
    assert metrics["data"]["without_a_whole_sequence"] == 48 - metrics["data"]["with_a_whole_sequence"]
    rows = np.arange(40)
    crops = plain_crops(examples, training.cache, rows, config.input).numpy()
    found = run_inputs(new_session(files["model.onnx"]), {"crops": crops, "boxes": examples.boxes[rows]})
    expected = training.embed(rows)
    assert (1 - (found * expected).sum(axis=1)).max() < 1e-3
    assert found == pytest.approx(expected, abs=1e-4)
    card = files["README.md"].decode()
    for said in (model_id, "version 7 of the store", "0.905", "86.2 %", "Leak test", "**this model** |"):
        assert said in card


@pytest.mark.parametrize("has_queries", [True, False])
def test_a_model_that_gives_no_numbers_is_not_published(tmp_path: Path, has_queries: bool) -> None:
    config = config_of(tmp_path, steps=1, rate=1e30, labels={"seeds": 1.0})
    examples = made_up(config)
    types = np.where(examples.split == "test", 0, examples.types)
    training = EmbeddingTraining(config, examples if has_queries else replace(examples, types=types))
    training.run(1)
    with pytest.raises(ConfigError, match="the training diverged: what its model gives"):
        finished(training, {"kind": "test", "version": 7}, lambda rows: examples)


def test_leaks_are_seen() -> None:
    random = np.random.default_rng(3)
    n = 200
    types, patient = random.integers(1, 4, n), np.arange(n)
    # Windows are the types', but for a fifth; the vectors hold the window, or the type.
    windows = np.where(random.random(n) < 0.8, types, random.integers(1, 4, n))[:, None] * np.ones((1, 2))
    knows = windows + random.normal(0, 1e-3, (n, 2))
    found = leaks(knows, knows[random.permutation(n)], types, patient, patient, windows)
    assert found["window_top1"] == 1
    assert found["window_top1_of_windows_permuted_within_types"] < 0.8
    assert found["type_top1_after_permuting_windows"] < found["type_top1"] - 0.2
    assert found["type_top1_of_windows_alone"] > 0.6
    honest = types[:, None] + random.normal(0, 1e-3, (n, 2))
    clean = leaks(honest, honest, types, patient, patient, windows)
    assert clean["type_top1"] == clean["type_top1_after_permuting_windows"] == 1
    assert abs(clean["window_top1"] - clean["window_top1_of_windows_permuted_within_types"]) < 0.1


def test_a_permutation_moves_what_no_model_may_see() -> None:
    lesions = pd.DataFrame({name: range(20) for name in (*HIDDEN, "lesion_id", "z_vox")})
    moved = permuted_windows(lesions)
    assert moved["lesion_id"].equals(lesions["lesion_id"])
    assert moved["z_vox"].equals(lesions["z_vox"])
    for name in HIDDEN:
        assert sorted(moved[name]) == list(range(20))
        assert not moved[name].equals(lesions[name])
