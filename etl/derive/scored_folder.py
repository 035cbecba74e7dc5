"""A folder of 8-bit slices whose body-part scores are in their names, scored by a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from etl.core.errors import ConfigError
from etl.derive.onnx_session import new_session, run_session
from etl.derive.position_measures import order_accuracy, score_of_file, spearman
from etl.derive.slice_scorer import ScorerInput


def evaluate_folder(
    model: str | Path, folder: str | Path, pixel_mm: float, window_hu: tuple[float, float]
) -> dict[str, Any]:
    """Return how well a model orders the slices of a folder.

    Args:
        model: folder with model.onnx and config.json.
        folder: of NNN_score_S_NAME.png, 8 bit.
        pixel_mm: edge of a pixel of the slices, which the files do not say.
        window_hu: HU of the values 0 and 255.

    Raises:
        ConfigError: there is no such model, or no slice with a score in its name.
    """
    try:
        data = (Path(model) / "model.onnx").read_bytes()
        seen = ScorerInput.from_json(json.loads((Path(model) / "config.json").read_text())["input"])
        session = new_session(data)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # onnxruntime raises its own kinds
        raise ConfigError(
            "there is no model in this folder",
            where=str(model),
            value=f"{type(error).__name__}: {error}"[:200],
            allowed="a folder with model.onnx and config.json",
        ) from error
    named = [(path, score_of_file(path.name)) for path in sorted(Path(folder).glob("*.png"))]
    files = [(path, score) for path, score in named if score is not None]
    if not files:
        raise ConfigError(
            "there are no scored slices in this folder",
            where=str(folder),
            value=f"{len(named)} .png",
            allowed="NNN_score_S_NAME.png",
        )
    true = [score for _, score in files]
    slices = np.concatenate([seen.of(_hu(path, window_hu), (pixel_mm, pixel_mm)) for path, _ in files])
    found = run_session(session, slices).tolist()
    return {
        "slices": len(files),
        "spearman": round(spearman(true, found), 4),
        "order_accuracy": round(order_accuracy(true, found), 4),
        "pixel_mm": pixel_mm,
        "window_hu": list(window_hu),
    }


def _hu(path: Path, window_hu: tuple[float, float]) -> npt.NDArray[np.float32]:
    low, high = window_hu
    try:
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError("a slice can't be read", where=str(path), value=str(error)) from error
    return (low + grey / 255 * (high - low)).astype(np.float32)[None]
