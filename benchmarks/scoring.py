"""Time to score a slice on one core: reading, the view that a model sees, and nets by onnxruntime."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.release_size import FULL
from benchmarks.sample import convert, make_sample, stored_level
from benchmarks.timing import rounds
from etl.core.config import Volume
from etl.derive.onnx_session import new_session, run_session
from etl.imaging.body_view import BodyView

NETS = ("small", "vgg16", "lite0")
CORES = (2, 16, 64)


def measure(
    folder: Path, slices: int = 47, repeats: int = 5, nets: tuple[str, ...] = NETS, pixels: int = 128
) -> dict[str, Any]:
    """Measure milliseconds a slice, and the hours that they make for the release.

    Nets have random weights; without PyTorch reading and view are measured alone.

    Args:
        pixels: of the view, as wide as 448 mm.
    """
    volume = Volume()
    sample = make_sample(folder, volume, slices)
    receipt = convert(sample, volume, folder / "store")
    planes = np.asarray(stored_level(folder / "store", receipt)[:])
    seen = BodyView(pixels, 448 / pixels)
    # A slice's nearest plane is scored; planes lie closer than slices.
    chosen = planes[np.linspace(0, len(planes) - 1, slices).round().astype(int)]
    contestants: dict[str, Any] = {
        "read": lambda: np.asarray(stored_level(folder / "store", receipt)[:]),
        "view": partial(seen.of, chosen, (1.0, 1.0)),
    }
    if importlib.util.find_spec("torch") is not None:
        shares = np.random.default_rng(0).random((slices, pixels, pixels), np.float32)
        for name in nets:
            session = new_session(_exported(name, pixels))
            contestants[name] = partial(run_session, session, shares)
    timings = rounds(contestants, repeats)
    found: dict[str, Any] = {
        "scoring_ms_per_slice": {name: 1000 * t.median / slices for name, t in timings.items()}
    }
    if "small" in timings:
        per_slice_s = sum(timings[name].median for name in ("read", "view", "small")) / slices
        hours = per_slice_s * FULL.slices / 3600
        found["scoring_hours_by_cores"] = {str(cores): hours / cores for cores in (1, *CORES)}
    return found


def _exported(name: str, pixels: int) -> bytes:
    """Return a net with random weights as ONNX."""
    from etl.learn.model_folder import onnx_bytes
    from etl.learn.nets import NETS as MAKERS

    return onnx_bytes(MAKERS[name]().eval(), pixels)
