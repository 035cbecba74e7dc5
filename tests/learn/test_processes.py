"""Trainings of two processes, as torchrun starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load

from etl.learn.loop import CHECKPOINT
from etl.store import open_store
from tests.support.jobs import call_job
from tests.support.made_up_ct import write_ct_folder
from tests.support.processes import ROOT, environment
from tests.support.three_volumes import built

pytestmark = pytest.mark.campaign


def settings(work: Path, folder: Path) -> list[str]:
    """Return the options of a training of six steps."""
    values = {
        "data.folder": folder,
        "work": work,
        "steps": 6,
        "anchor": 0,
        "series": 2,
        "input.pixels": 32,
        "input.pixel_mm": 14,
        "validate_steps": 3,
    }
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def train(store: str, work: Path, folder: Path, *more: str) -> str:
    """Train in two processes; return what was printed."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    job = ["jobs/train_regressor.py", store, "conf/regressor.yaml", *settings(work, folder), *more]
    command = [*torchrun, *job]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_train_one_model_in_parts_or_at_once(tmp_path: Path) -> None:
    ct_folder = write_ct_folder(tmp_path / "ct")
    stores = [built(tmp_path / name).store for name in ("whole", "parts")]
    output = train(stores[0], tmp_path / "work-1", ct_folder)
    assert output.count("has now the model") == 1, "the first process alone adds it"
    assert output.count("step 6 of 6") == 1
    assert "step 2 of 6" in train(stores[1], tmp_path / "work-2", ct_folder, "--steps-now", "2")
    train(stores[1], tmp_path / "work-2", ct_folder)
    whole, parts = (open_store(place) for place in stores)
    names = [store.model("body-part-regressor")["model_id"] for store in (whole, parts)]
    assert names[0] == names[1]
    for file in ("model.safetensors", "model.onnx", "metrics.json", "curves.csv"):
        assert whole.model_file(names[0], file) == parts.model_file(names[0], file)
    assert whole.model_config(names[0])["training"]["processes"] == 2
    first, second = (next(Path(tmp_path, name).glob(f"*/{CHECKPOINT}")) for name in ("work-1", "work-2"))
    assert first.read_bytes() == second.read_bytes()

    alone = built(tmp_path / "alone").store
    call_job("train_regressor", alone, "regressor", *settings(tmp_path / "work-3", ct_folder))
    one = open_store(alone).model("body-part-regressor")
    assert one["model_id"] != names[0], "two processes draw two batches for each step"
    files = [sorted(file["path"] for file in model["files"]) for model in (one, whole.model(names[0]))]
    assert files[0] == files[1]
    weights = [
        load(store.model_file("body-part-regressor", "model.safetensors"))
        for store in (open_store(alone), whole)
    ]
    assert {name: values.shape for name, values in weights[0].items()} == {
        name: values.shape for name, values in weights[1].items()
    }
    assert json.loads(whole.model_file(names[0], "metrics.json"))["train"]["series"] == 4
