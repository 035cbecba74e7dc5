"""Nets that embed lesions: crops (n, slices, pixels, pixels) in 0..1 and boxes (n, 4) -> unit vectors (n, d).

Features of four depths are averaged over a grid of parts of the lesion's box, and projected; Yan et al., CVPR
2018, pool conv2_2, conv3_3, conv4_3 and conv5_3 of VGG-16 in this way, 256 numbers each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from etl.learn.embedding_config import TAPS, EmbeddingConfig
from etl.learn.nets import Lite0

LEAST = 1e-6
VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG_GRID, SMALL_GRID = 5, 3
SMALL_WIDTHS = (32, 64, 96, 128)


def pooled(features: torch.Tensor, boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """Return the means of features over the grid x grid equal parts of boxes, cells counted by their overlap.

    Args:
        features: (n, c, h, w).
        boxes: (n, 4): x1, y1, x2, y2 in 0..1 of the image.

    Returns:
        (n, c, grid, grid).
    """
    down = _overlaps(boxes[:, 1:2], boxes[:, 3:4], features.shape[2], grid)
    across = _overlaps(boxes[:, 0:1], boxes[:, 2:3], features.shape[3], grid)
    return torch.matmul(torch.matmul(down[:, None], features), across.transpose(1, 2)[:, None])


def _overlaps(low: torch.Tensor, high: torch.Tensor, cells: int, grid: int) -> torch.Tensor:
    """Return (n, grid, cells): the share of each part of a range that lies in each cell; rows sum to 1."""
    part = (high - low).clamp(min=LEAST) / grid
    start = (low + part * torch.arange(grid, dtype=low.dtype, device=low.device))[:, :, None]
    cell = torch.arange(cells, dtype=low.dtype, device=low.device) / cells
    shared = torch.minimum(start + part[:, :, None], cell + 1 / cells) - torch.maximum(start, cell)
    return shared.clamp(min=0) / part[:, :, None]


class Tapped(nn.Module):
    """Stages one after the other; the box is pooled from the output of each."""

    def __init__(
        self, stages: Sequence[nn.Module], widths: Sequence[int], grid: int, dimensions: int
    ) -> None:
        super().__init__()
        self.grid = grid
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(nn.Linear(width * grid * grid, dimensions) for width in widths)

    def forward(self, crops: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the unit vector of each lesion."""
        values, found = crops * 2 - 1, []
        for stage, head in zip(self.stages, self.heads, strict=True):
            values = stage(values)
            found.append(head(pooled(values, boxes, self.grid).flatten(1)))
        return functional.normalize(torch.cat(found, 1), dim=1)


def small_net(slices: int, dimensions: int) -> Tapped:
    """Return a net of nine convolutions with group norm, small enough for a CPU."""
    stages, before = [], slices
    for number, width in enumerate(SMALL_WIDTHS):
        first = [nn.Conv2d(before, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU()] if number == 0 else []
        before = 16 if number == 0 else before
        stages.append(
            nn.Sequential(
                *first,
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.GroupNorm(8, width),
                nn.ReLU(),
            )
        )
        before = width
    return Tapped(stages, SMALL_WIDTHS, SMALL_GRID, dimensions)


def vgg_net(slices: int, dimensions: int) -> Tapped:
    """Return VGG-16's convolutions with batch norm, tapped at conv2_2, conv3_3, conv4_3 and conv5_3."""
    blocks: list[nn.Sequential] = []
    before = slices
    for width, count in VGG_BLOCKS:
        layers: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if blocks else []
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        blocks.append(nn.Sequential(*layers))
    for module in (m for block in blocks for m in block):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    stages = [nn.Sequential(blocks[0], blocks[1]), *blocks[2:]]
    return Tapped(stages, [width for width, _ in VGG_BLOCKS[1:]], VGG_GRID, dimensions)


class ImageNetFeatures(nn.Module):
    """EfficientNet-lite0 with frozen ImageNet weights; three planes are its colours, the box is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.lite = Lite0()
        self.lite.head = nn.Identity()

    def forward(self, crops: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the unit vector of each lesion."""
        return functional.normalize(self.lite.features(crops), dim=1)


def make_net(config: EmbeddingConfig) -> nn.Module:
    """Return the net of a config, its weights by torch's generator."""
    if config.net == "lite0":
        return ImageNetFeatures()
    make = vgg_net if config.net == "vgg16" else small_net
    return make(config.input.slices, config.dimensions)


def dimensions_of(config: EmbeddingConfig) -> int:
    """Return the numbers of a vector."""
    return Lite0.FEATURES if config.net == "lite0" else TAPS * config.dimensions
