"""Batches of a training: chosen, cut and changed at random, by the seed and number of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from etl.imaging.body_view import AIR_HU
from etl.imaging.window import to_share
from etl.learn.regressor_config import Augment, Input
from etl.learn.series import Series, ViewCache

Loss = Literal["distance", "order"]
Floats = npt.NDArray[np.float64]

ORDER_SLICES = 8
DISTANCE_SLICES = 4
LEAST_MM, MOST_MM = 5.0, 100.0
"""Distance of neighbouring slices of a step."""
ANCHORS = 16
"""Key slices with a published z in a step."""


class Seen(Protocol):
    """The part of an image that a net sees: square, its pixels, and the window."""

    @property
    def pixels(self) -> int: ...
    @property
    def pixel_mm(self) -> float: ...
    @property
    def window_hu(self) -> tuple[float, float]: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices of several series.

    Attributes:
        slices: (series, n, pixels, pixels) in 0..1.
        mm: (series, n) positions.
        anchors: (m, pixels, pixels) key slices in 0..1; m may be 0.
        norm_z: (m,) their published z.
    """

    slices: torch.Tensor
    mm: torch.Tensor
    anchors: torch.Tensor
    norm_z: torch.Tensor


def choose_slices(mm: Floats, loss: Loss, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the indices of the slices of a series for one step, ascending.

    For `order` 8 at an equal gap of uniform size, for `distance` 4 at an equal distance of 5 to 100 mm as far
    as the series reaches, rounded to slices.

    Raises:
        ValueError: the series is too short, see `is_long_enough`.
    """
    if not is_long_enough(mm, loss):
        raise ValueError(f"{len(mm)} slices over {mm[-1] if len(mm) else 0} mm are too few for {loss}")
    if loss == "order":
        gap = int(random.integers(1, (len(mm) - 1) // (ORDER_SLICES - 1) + 1))
        first = int(random.integers(0, len(mm) - gap * (ORDER_SLICES - 1)))
        return first + gap * np.arange(ORDER_SLICES)
    gaps = DISTANCE_SLICES - 1
    length = mm[-1] - mm[0]
    apart = random.uniform(LEAST_MM, min(MOST_MM, length / gaps))
    start = mm[0] + random.uniform(0, max(length - gaps * apart, 0))
    wanted = start + apart * np.arange(DISTANCE_SLICES)
    nearest = np.abs(mm[None, :] - wanted[:, None]).argmin(axis=1)
    # Slices that are farther apart than the wanted distance: neighbours are taken, none twice.
    nearest = np.maximum.accumulate(nearest - np.arange(DISTANCE_SLICES)) + np.arange(DISTANCE_SLICES)
    over = max(int(nearest[-1]) - (len(mm) - 1), 0)
    result: npt.NDArray[np.intp] = np.maximum(nearest - over, np.arange(DISTANCE_SLICES))
    return result


def is_long_enough(mm: Floats, loss: Loss) -> bool:
    """Return if a series has slices enough for a step of this loss."""
    if loss == "order":
        return len(mm) >= ORDER_SLICES
    return len(mm) >= DISTANCE_SLICES and mm[-1] - mm[0] >= LEAST_MM * (DISTANCE_SLICES - 1)


def make_batch(
    series: Sequence[Series],
    cache: ViewCache,
    loss: Loss,
    count: int,
    view: Input,
    augment: Augment,
    random: np.random.Generator,
    *,
    with_anchors: bool = False,
) -> Batch:
    """Return the batch of one step.

    Args:
        series: of the training split, each long enough; some may have published z.
        count: series in the batch; one may occur twice.
        with_anchors: key slices with a published z are added.
    """
    chosen = [series[int(n)] for n in random.integers(0, len(series), count)]
    picks = [choose_slices(one.mm, loss, random) for one in chosen]
    hu = torch.from_numpy(np.stack([cache.of(one)[at] for one, at in zip(chosen, picks, strict=True)]))
    mm = torch.from_numpy(np.stack([one.mm[at] for one, at in zip(chosen, picks, strict=True)])).float()
    slices = augmented(hu.float(), view, augment, random)
    size = (0, view.pixels, view.pixels)
    anchors, norm_z = torch.zeros(size), torch.zeros(0)
    published = [one for one in series if not np.isnan(one.norm_z).all()] if with_anchors else []
    if published:
        keys = [published[int(n)] for n in random.integers(0, len(published), ANCHORS)]
        at = [int(random.choice(np.flatnonzero(~np.isnan(one.norm_z)))) for one in keys]
        planes = np.stack([cache.of(one)[n] for one, n in zip(keys, at, strict=True)])[:, None]
        anchors = augmented(torch.from_numpy(planes).float(), view, augment, random)[:, 0]
        norm_z = torch.tensor([one.norm_z[n] for one, n in zip(keys, at, strict=True)])
    return Batch(slices, mm, anchors, norm_z)


def augmented(
    hu: torch.Tensor,
    view: Seen,
    augment: Augment,
    random: np.random.Generator,
    affines: npt.NDArray[np.float64] | None = None,
) -> torch.Tensor:
    """Return slices scaled, shifted, rotated, mirrored and windowed at random, alike within a series.

    Args:
        hu: float32 (series, n, pixels, pixels).
        affines: of `random_affines`; made here where there are none.

    Returns:
        (series, n, pixels, pixels) in 0..1.
    """
    count = len(hu)
    affine = random_affines(count, view, augment, random) if affines is None else affines
    grid = functional.affine_grid(torch.from_numpy(affine).float(), [count, 1, *hu.shape[2:]], False)
    moved = functional.grid_sample(hu - AIR_HU, grid, align_corners=False) + AIR_HU
    ends = np.asarray(view.window_hu) + random.uniform(-1, 1, (count, 2)) * augment.window_hu
    low, high = (torch.from_numpy(end).float()[:, None, None, None] for end in ends.T)
    shares = (moved - low) / (high - low)
    noise = random.uniform(0, augment.noise, (count, 1, 1, 1))
    shares = shares + torch.from_numpy(random.standard_normal(tuple(hu.shape), np.float32) * noise).float()
    return shares.clamp(0, 1)


def random_affines(
    count: int, view: Seen, augment: Augment, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return (count, 2, 3): for a point of the changed image, in -1..1, the point of the image it shows."""
    scale = np.exp(random.uniform(-1, 1, count) * np.log(augment.scale))
    angle = np.deg2rad(random.uniform(-1, 1, count) * augment.rotate_degrees)
    # In affine_grid's units an image is 2 wide.
    shift = random.uniform(-1, 1, (count, 2)) * augment.shift_mm * 2 / (view.pixels * view.pixel_mm)
    mirror = np.where(random.random(count) < 0.5, -1, 1) if augment.mirror else np.ones(count)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    affines: npt.NDArray[np.float64] = np.stack(
        [np.stack([cos * mirror, -sin, shift[:, 0]], 1), np.stack([sin * mirror, cos, shift[:, 1]], 1)], 1
    )
    return affines


def plain(hu: npt.NDArray[np.generic], view: Input) -> torch.Tensor:
    """Return slices (n, pixels, pixels) windowed to 0..1, unchanged otherwise, as scoring sees them."""
    return torch.from_numpy(to_share(hu, view.window_hu))
