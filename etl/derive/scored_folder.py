"""Slices of a folder, scored by a model of a folder: 8-bit ones with scores in their names, or key slices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from etl.core.errors import ConfigError
from etl.derive.onnx_session import new_session, run_session
from etl.derive.position_checks import key_slice_measures, number, release_check
from etl.derive.position_measures import order_accuracy, score_of_file, spearman
from etl.derive.slice_positions import Scale, norm_z_of
from etl.derive.slice_scorer import ScorerInput

CONFIG, ONNX = "config.json", "model.onnx"
EIGHT_BIT = ("L", "LA", "P", "RGB", "RGBA")
"""Pillow's modes of pictures whose values are 0 to 255."""


@dataclass(frozen=True, eq=False)
class PublishedSlice:
    """A key slice with its published z: hu (rows, columns), and the spacing of both in mm."""

    name: str
    patient: str
    split: str
    norm_z: float
    hu: npt.NDArray[np.generic]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class FolderModel:
    """A model of a folder, opened: its session, the part of a slice that it sees, and its scale."""

    session: Any
    seen: ScorerInput
    scale: Scale

    def score(self, hu: npt.NDArray[np.generic], spacing_mm: tuple[float, float]) -> npt.NDArray[np.float32]:
        """Return the scores (n,) of slices (n, rows, columns) in HU."""
        return run_session(self.session, self.seen.of(hu, spacing_mm))


def open_model(model: str | Path) -> FolderModel:
    """Open the model of a folder with model.onnx and config.json.

    Raises:
        ConfigError: there is no such model.
    """
    try:
        data = (Path(model) / ONNX).read_bytes()
        config = json.loads((Path(model) / CONFIG).read_text())
        seen, scale = ScorerInput.from_json(config["input"]), Scale.from_json(config["scale"])
        return FolderModel(new_session(data), seen, scale)
    except (ModuleNotFoundError, ConfigError):
        raise
    except Exception as error:  # onnxruntime raises its own kinds
        raise ConfigError(
            "there is no model in this folder",
            where=str(model),
            value=f"{type(error).__name__}: {error}"[:200],
            allowed="a folder with model.onnx and config.json",
        ) from error


def evaluate_folder(
    model: FolderModel, folder: str | Path, pixel_mm: float, window_hu: tuple[float, float]
) -> dict[str, Any]:
    """Return how well a model orders the slices of a folder.

    Args:
        folder: of NNN_score_S_NAME.png, 8 bit.
        pixel_mm: edge of a pixel of the slices, which the files do not say.
        window_hu: HU of the values 0 and 255.

    Raises:
        ConfigError: there is no slice with a score in its name.
    """
    files = scored_files(folder)
    true = [score for _, score in files]
    found = [float(model.score(grey_hu(path, window_hu), (pixel_mm, pixel_mm))[0]) for path, _ in files]
    return {
        **file_counts(folder, len(files)),
        "spearman": number(spearman(true, found)),
        "order_accuracy": number(order_accuracy(true, found)),
        "pixel_mm": pixel_mm,
        "window_hu": list(window_hu),
    }


def file_counts(folder: str | Path, slices: int) -> dict[str, int]:
    """Return the counts of a folder's slices with a score, and of its other files, by their names in JSON."""
    return {"slices": slices, "files_without_a_score": len(list(Path(folder).iterdir())) - slices}


def scored_files(folder: str | Path) -> list[tuple[Path, float]]:
    """Return the slices of a folder with the scores in their names.

    Raises:
        ConfigError: there is none.
    """
    named = [(path, score_of_file(path.name)) for path in sorted(Path(folder).glob("*.png"))]
    files = [(path, score) for path, score in named if score is not None]
    if not files:
        raise ConfigError(
            "there are no scored slices in this folder",
            where=str(folder),
            value=f"{len(named)} .png",
            allowed="NNN_score_S_NAME.png",
        )
    return files


def evaluate_published(model: FolderModel, keys: Iterable[PublishedSlice]) -> dict[str, Any]:
    """Return published and predicted z of each key slice, and how near they are.

    A model that was trained without published z gives scores alone. `spearman_of_scores` holds for all.
    `release_check` is of the test patients alone, of whom no model has learned.
    """
    rows = []
    for key in keys:
        score = model.score(key.hu[None], key.spacing_mm)
        rows.append((key, float(score[0]), float(norm_z_of(score, model.scale)[0])))
    found = _measures(rows)
    if len(rows) > 1:
        published = [key.norm_z for key, _, _ in rows]
        found |= {"spearman_of_scores": number(spearman(published, [score for _, score, _ in rows]))}
    checked = release_check(_measures([row for row in rows if row[0].split == "test"]))
    table = [
        {
            "slice": key.name,
            "split": key.split,
            "published_z": key.norm_z,
            "predicted_z": number(z),
            "score": number(score),
        }
        for key, score, z in sorted(rows, key=lambda row: row[0].norm_z)
    ]
    patients = {key.patient for key, _, _ in rows}
    return {"patients": len(patients), **found, "release_check": checked, "table": table}


def _measures(rows: Sequence[tuple[PublishedSlice, float, float]]) -> dict[str, Any]:
    published, predicted = [key.norm_z for key, _, _ in rows], [z for _, _, z in rows]
    return key_slice_measures(published, predicted, [key.patient for key, _, _ in rows])


def grey_hu(path: Path, window_hu: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Return an 8-bit slice in HU, (1, rows, columns).

    Raises:
        ConfigError: it can't be read, or its values are others than 0 to 255.
    """
    low, high = window_hu
    try:
        with Image.open(path) as image:
            if image.mode not in EIGHT_BIT:
                raise ConfigError(
                    "a slice is not of 8 bits",
                    where=str(path),
                    value=f"mode {image.mode}",
                    allowed=f"mode {', '.join(EIGHT_BIT)}",
                    remedy="16-bit slices of the release are scored with --annotations DL_info.csv",
                )
            grey = np.asarray(image.convert("L"), np.float32)
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise ConfigError("a slice can't be read", where=str(path), value=str(error)) from error
    return (low + grey / 255 * (high - low)).astype(np.float32)[None]
