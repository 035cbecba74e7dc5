"""Time to embed a lesion on one core: reading and resampling of its surroundings, and nets by onnxruntime."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sample import convert, make_sample, stored_level
from benchmarks.timing import peak_mib, rounds
from etl.core.config import Volume
from etl.derive.embedding_input import EmbeddingInput, Spot
from etl.derive.onnx_session import new_session, run_inputs
from etl.imaging.lesion_view import LesionView

LESIONS = 16
SPACING_MM = (1.0, 1.0, 1.0)
WINDOW_HU = (-1024.0, 3071.0)
NETS: dict[str, dict[str, Any]] = {
    "small": {},
    "vgg16": {"net": "vgg16", "dimensions": 256},
    "lite0": {"net": "lite0", "weights": "", "input": {"pixels": 224}},
}


def measure(
    folder: Path, slices: int = 47, repeats: int = 5, nets: tuple[str, ...] = tuple(NETS)
) -> dict[str, Any]:
    """Measure milliseconds a lesion for each net, with random weights; without PyTorch for reading alone.

    A volume is opened for each lesion, as most have one.
    """
    volume = Volume()
    sample = make_sample(folder, volume, slices)
    receipt = convert(sample, volume, folder / "store")
    random = np.random.default_rng(1)
    shape = stored_level(folder / "store", receipt).shape
    places = random.uniform(0.25, 0.75, (LESIONS, 3)) * shape
    spots = [Spot((z, y, x), (15.0, 12.0)) for z, y, x in places.tolist()]
    found: dict[str, Any] = {}
    for pixels in (50, 224):
        seen = EmbeddingInput(LesionView(pixels, 50.0), WINDOW_HU, 4.0)

        def read(seen: EmbeddingInput = seen) -> np.ndarray:
            levels = (stored_level(folder / "store", receipt) for _ in spots)
            return np.stack([seen.crop(hu, spot, SPACING_MM) for hu, spot in zip(levels, spots, strict=True)])

        timing = rounds({"read": read}, repeats)["read"]
        found[f"embedding_read_ms_{pixels}"] = timing.median * 1000 / LESIONS
    if importlib.util.find_spec("torch") is None:
        return found | {"embedding_nets": "PyTorch is not installed"}
    boxes = np.stack([seen.box(spot) for spot in spots])
    for name in nets:
        model, pixels = _exported(NETS[name])
        session, crops = new_session(model), random.random((LESIONS, 3, pixels, pixels), np.float32)
        run_inputs(session, {"crops": crops[:1], "boxes": boxes[:1]})

        def embed(session: Any = session, crops: np.ndarray = crops) -> None:
            for number in range(LESIONS):
                some = slice(number, number + 1)
                run_inputs(session, {"crops": crops[some], "boxes": boxes[some]})

        timing = rounds({"embed": embed}, repeats)["embed"]
        found[f"embedding_{name}_ms"] = timing.median * 1000 / LESIONS
    return found | {"embedding_peak_mib": peak_mib()}


def _exported(values: dict[str, Any]) -> tuple[bytes, int]:
    """Return a net with random weights as ONNX, and the pixels of its crops."""
    import torch

    from etl.learn.embedding_config import EmbeddingConfig
    from etl.learn.embedding_nets import make_net
    from etl.learn.model_folder import exported

    config = EmbeddingConfig.model_validate(values)
    pixels = config.input.pixels
    inputs = {"crops": torch.zeros(2, 3, pixels, pixels), "boxes": torch.tensor([[0.2, 0.2, 0.8, 0.8]] * 2)}
    return exported(make_net(config).eval(), inputs, "vectors", "embedding"), pixels
