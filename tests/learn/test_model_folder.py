"""The files of a model: the same bytes anywhere, and the same scores by onnxruntime."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load

from etl.derive.onnx_session import new_session, run_session
from etl.learn.finish import finished
from etl.learn.model_folder import OPSET, arrays_of, digest_of_model, onnx_bytes, weights_bytes
from etl.learn.nets import SmallNet
from etl.learn.processes import Processes
from etl.learn.series import VAL
from etl.learn.training import Training
from tests.learn.test_training import config_of
from tests.support.made_up_series import PIXELS, bar_series, bars
from tests.support.tiny_model import MEAN_BRIGHTNESS_ONNX

ROOT = Path(__file__).parents[2]


class MeanBrightness(torch.nn.Module):
    """The net of `tests.support.tiny_model`."""

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return slices.mean((1, 2, 3)) * 4 - 1


@pytest.fixture(scope="module")
def net() -> SmallNet:
    torch.manual_seed(3)
    return SmallNet().eval()


@pytest.fixture(scope="module")
def exported(net: SmallNet) -> bytes:
    return onnx_bytes(net, PIXELS)


def test_onnxruntime_gives_the_scores_of_torch(net: SmallNet, exported: bytes) -> None:
    slices = np.random.default_rng(1).random((40, PIXELS, PIXELS), np.float32)
    with torch.inference_mode():
        expected = net(torch.from_numpy(slices)[:, None]).numpy()
    assert run_session(new_session(exported), slices) == pytest.approx(expected, abs=1e-4)
    assert run_session(new_session(exported), slices[:0]).shape == (0,)


def test_the_exporter_gives_the_committed_bytes() -> None:
    """If they differ, this version of PyTorch exports otherwise, which changes new models only."""
    assert onnx_bytes(MeanBrightness(), PIXELS) == MEAN_BRIGHTNESS_ONNX


def test_the_file_says_nothing_of_this_machine(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert not any(
        part in exported for part in (b".py", b"/site-packages", str(ROOT).encode(), b"stack_trace")
    )
    assert not any(tensor.external_data for tensor in model.graph.initializer)


@pytest.mark.campaign
def test_two_folders_give_the_same_bytes(net: SmallNet, exported: bytes, tmp_path: Path) -> None:
    elsewhere = tmp_path / "quite" / "another place"
    shutil.copytree(
        ROOT / "etl", elsewhere / "etl", ignore=shutil.ignore_patterns("node_modules", "__pycache__")
    )
    torch.save(net.state_dict(), elsewhere / "net.pt")
    code = (
        "import sys, torch; sys.path.insert(0, '.')\n"
        "from etl.learn.nets import SmallNet; from etl.learn.model_folder import onnx_bytes\n"
        "net = SmallNet(); net.load_state_dict(torch.load('net.pt', weights_only=True))\n"
        f"open('net.onnx', 'wb').write(onnx_bytes(net, {PIXELS}))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=elsewhere, check=True)
    assert (elsewhere / "net.onnx").read_bytes() == exported


def test_weights_that_are_no_contiguous_arrays_keep_their_places() -> None:
    """safetensors writes the memory of an array as it lies there."""
    turned = np.arange(12, dtype=np.float32).reshape(3, 4).T
    strided = np.arange(20, dtype=np.float32)[::2]
    data = weights_bytes({"turned": turned, "strided": strided}, "model-1")
    found = load(data)
    assert np.array_equal(found["turned"], turned)
    assert np.array_equal(found["strided"], strided)
    assert data == weights_bytes({"strided": strided.copy(), "turned": turned.copy()}, "model-1")


def test_an_id_is_of_weights_and_what_decides_scores(net: SmallNet) -> None:
    weights = arrays_of(net)
    first = digest_of_model(weights, {"window": 1})
    assert first == digest_of_model(dict(reversed(weights.items())), {"window": 1})
    assert first != digest_of_model(weights, {"window": 2})
    assert first != digest_of_model(weights | {"head.1.bias": weights["head.1.bias"] + 1}, {"window": 1})


def test_a_finished_training_is_a_model(tmp_path: Path) -> None:
    air = bar_series(200, split=VAL)
    air = replace(air, read=lambda: np.full((24, PIXELS, PIXELS), -1024, np.int16))
    training = Training(config_of(tmp_path, steps=10), [*bars(), air])
    training.run(10)
    assert not np.isnan(training.curve[-1].spearman)
    landmarks = ((("chest", 0.0), ("abdomen", 0.4), ("pelvis", 0.7)), "made up")
    training.config = training.config.model_copy(update={"weights": "lite0.whl"})
    training.processes = Processes(0, 3)
    model_id, files = finished(training, {"kind": "test"}, landmarks)
    assert sorted(files) == [
        *("README.md", "config.json", "curves.csv", "curves.svg", "metrics.json"),
        *("model.onnx", "model.safetensors"),
    ]
    config, metrics = (json.loads(files[name]) for name in ("config.json", "metrics.json"))
    assert config["model_id"] == model_id
    assert "weights" not in config["training"], "a path of one machine"
    assert "10 steps of 6 series" in files["README.md"].decode()
    assert re.fullmatch(r"body-part-regressor-[0-9a-f]{16}", model_id)
    assert config["scale"]["landmarks_from"] == "made up"
    assert len(config["scale"]["scores"]) == len(config["scale"]["norm_z"]) > 1
    assert metrics["train"]["key_slices"] == 18
    assert metrics["test"]["spearman_within_series"] is None
    assert metrics["val"]["spearman_within_series"] is not None
    assert [metrics[split]["series_of_equal_scores"] for split in ("train", "val", "test")] == [0, 1, 0]
    weights = load(files["model.safetensors"])
    assert all(np.array_equal(values, weights[name]) for name, values in arrays_of(training.mean).items())
    card = files["README.md"].decode()
    assert model_id in card
    assert "could not be measured" in card
    assert "all have one score count as 0 in their Spearman: 1 of val.\n" in card
