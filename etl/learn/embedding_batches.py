"""Crops of lesions for one step: cut and changed at random, by the seed and number of the step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from etl.imaging.body_view import AIR_HU
from etl.learn.batches import augmented, random_affines
from etl.learn.embedding_config import Augment, Input
from etl.learn.embedding_examples import Boxes, Examples, seen_by
from etl.learn.series import ViewCache

BLUR_REACH = 2
"""Pixels on each side that a blur takes in."""


@dataclass(frozen=True)
class _Whole:
    """A crop with its margin, as `augmented` takes it."""

    pixels: int
    pixel_mm: float
    window_hu: tuple[float, float]


def plain_crops(examples: Examples, cache: ViewCache, rows: npt.ArrayLike, config: Input) -> torch.Tensor:
    """Return (n, slices, pixels, pixels) in 0..1, unchanged, as embedding sees them."""
    hu = _stacked(examples, cache, rows)
    at = slice(examples.margin, examples.margin + config.pixels)
    return torch.from_numpy(seen_by(config).shares(hu[:, 1:-1, at, at]))


def changed_crops(
    examples: Examples,
    cache: ViewCache,
    rows: npt.ArrayLike,
    config: Input,
    augment: Augment,
    random: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return crops as `plain_crops`, each changed at random, and boxes (n, 4) that were moved with them."""
    hu = torch.from_numpy(_stacked(examples, cache, rows)).float()
    count, edge = len(hu), hu.shape[-1]
    share = random.uniform(0, 1 / 3, count) if augment.thickness else np.zeros(count)
    near = torch.from_numpy(share).float()[:, None, None, None]
    planes = near * (hu[:, :-2] + hu[:, 2:]) + (1 - 2 * near) * hu[:, 1:-1]
    planes = _blurred(planes, random.uniform(0, augment.blur_mm, count) / config.pixel_mm)
    whole = _Whole(edge, config.pixel_mm, config.window_hu)
    affines = random_affines(count, whole, augment, random)
    shares = augmented(planes, whole, augment, random, affines)
    at = slice(examples.margin, examples.margin + config.pixels)
    boxes = moved_boxes(examples.boxes[np.asarray(rows)], affines, edge / config.pixels)
    return shares[:, :, at, at].contiguous(), torch.from_numpy(boxes)


def moved_boxes(boxes: Boxes, affines: npt.NDArray[np.float64], larger: float) -> Boxes:
    """Return boxes after a change of their images, as upright boxes of scaled edges, within the image.

    Args:
        boxes: (n, 4) in 0..1.
        affines: (n, 2, 3) of `random_affines`, of an image that is `larger` times as large.
    """
    inverse = np.linalg.inv(affines[:, :, :2])
    middle = (boxes[:, :2] + boxes[:, 2:] - 1) / larger
    moved = np.einsum("nij,nj->ni", inverse, middle - affines[:, :, 2]) * larger
    half = (boxes[:, 2:] - boxes[:, :2]) * np.sqrt(np.abs(np.linalg.det(inverse)))[:, None]
    corners = np.concatenate([(1 + moved - half) / 2, (1 + moved + half) / 2], axis=1)
    return corners.clip(0, 1).astype(np.float32)


def _stacked(examples: Examples, cache: ViewCache, rows: npt.ArrayLike) -> npt.NDArray[np.int16]:
    return np.stack([cache.of(examples.crops[row]) for row in np.asarray(rows).tolist()])


def _blurred(planes: torch.Tensor, sigma: npt.NDArray[np.float64]) -> torch.Tensor:
    """Return planes blurred with Gaussians of `sigma` pixels; beyond the edge it is air."""
    at = np.arange(-BLUR_REACH, BLUR_REACH + 1)
    weights = np.exp(-(at**2) / (2 * np.maximum(sigma, 0.05)[:, None] ** 2))
    kernels = torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).float()
    count = len(planes)
    values = (planes - AIR_HU).transpose(0, 1)
    down = functional.conv2d(values, kernels[:, None, :, None], padding=(BLUR_REACH, 0), groups=count)
    both = functional.conv2d(down, kernels[:, None, None, :], padding=(0, BLUR_REACH), groups=count)
    return both.transpose(0, 1) + AIR_HU
