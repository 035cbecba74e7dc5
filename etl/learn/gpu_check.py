"""Regressors on a CUDA device: steps of each loss, and scores that must equal the CPU's.

Run by `make gpu-check`; prints one line of JSON, or says that there is no device.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from etl.derive.onnx_session import Device, new_session, run_session
from etl.learn.model_folder import onnx_bytes
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import TRAIN, Series
from etl.learn.training import Training

STEPS, SLICES, MOST_OFF = 200, 2048, 1e-3
_LOSSES: dict[str, dict[str, Any]] = {
    "distance": {"loss": "distance", "anchor": 0.0},
    "order": {"loss": "order", "anchor": 0.0},
    "anchor": {"loss": "distance", "anchor": 1.0},
}


def made_up(count: int = 8, slices: int = 48) -> list[Series]:
    """Return series of noise in which a bar moves down the image with its position."""
    found = []
    for number in range(count):
        views = np.random.default_rng(number).integers(-1000, -800, (slices, 128, 128)).astype(np.int16)
        z = np.linspace(0.1, 0.9, slices).astype(np.float32)
        for view, at in zip(views, z, strict=True):
            view[int(at * 110) : int(at * 110) + 12, 20:100] = 60
        mm = np.arange(slices, dtype=np.float64) * 5.0
        found.append(Series(f"s{number}", f"p{number}", TRAIN, mm, z, functools.partial(np.asarray, views)))
    return found


def measure(device: str, steps: int = STEPS) -> dict[str, Any]:
    """Return seconds of training by loss, slices scored a second, and how far scores are off the CPU's."""
    series, found = made_up(), {"device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu"}
    trained: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, values in _LOSSES.items():
            config = RegressorConfig.model_validate(values | {"steps": steps, "work": work, "seed": 1})
            training = Training(config, series, device)
            start = time.monotonic()
            training.run(steps)
            seconds = time.monotonic() - start
            trained[name] = {"steps_per_second": round(steps / seconds, 1), "loss": training.curve[-1].loss}
        mean = training.mean
    hu = np.concatenate([one.read() for one in series])[np.arange(SLICES) % (8 * 48)]
    shares = ((hu.astype(np.float32) + 175) / 450).clip(0, 1)
    on_device = training.score(hu)
    cpu = mean.cpu()
    training.device = "cpu"
    expected = training.score(hu)
    model = onnx_bytes(cpu, 128)
    off = {"torch": float(np.abs(on_device - expected).max())}
    rates = {}
    kinds: list[Device] = ["cpu"] if device == "cpu" else ["cpu", "cuda"]
    for kind in kinds:
        session = new_session(model, kind)
        run_session(session, shares[:64])
        start = time.monotonic()
        scores = run_session(session, shares)
        rates[f"onnxruntime_{kind}"] = round(len(scores) / (time.monotonic() - start), 1)
        off[f"onnxruntime_{kind}"] = float(np.abs(scores - expected).max())
    versions = {name: version(name) for name in ("torch", "onnxruntime")}
    return {**found, "training": trained, "slices_per_second": rates, "most_off": off, "versions": versions}


def main() -> int:
    """Print the measures; return 1 where a score is off by more than a thousandth, else 0."""
    if not torch.cuda.is_available():
        print("gpu-check skipped: PyTorch finds no CUDA device here")
        return 0
    found = measure("cuda")
    print(json.dumps(found))
    return int(max(found["most_off"].values()) > MOST_OFF)


if __name__ == "__main__":
    sys.exit(main())
