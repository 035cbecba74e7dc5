"""Nets that give a slice one score: float32 (n, 1, pixels, pixels) in 0..1 -> (n,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class SmallNet(nn.Module):
    """Six convolutions with group norm, 1.0 million parameters; mean over the image.

    Group norm, because the statistics of a batch, of slices of few patients, would leak from training.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in (16, 32, 64, 128, 256):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.ReLU()]
            before = width
        layers += [nn.Conv2d(before, before, 3, padding=1), nn.GroupNorm(8, before), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(before, 1))

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Return the score of each slice."""
        score: torch.Tensor = self.head(self.features(slices * 2 - 1).mean((2, 3))).squeeze(1)
        return score


class Vgg16(nn.Module):
    """The net of SSBR as published: VGG-16's convolutions, 1x1 to 512, mean over the image, 1x1 to one."""

    BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width, count in self.BLOCKS:
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Conv2d(before, 512, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(512, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Return the score of each slice."""
        features = self.features(slices * 2 - 1).mean((2, 3), keepdim=True)
        score: torch.Tensor = self.head(features).flatten()
        return score


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow does it, from which the weights of the lite nets were converted."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            values.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        padded = nn.functional.pad(values, pads)
        return nn.functional.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


class _Block(nn.Module):
    """An inverted bottleneck; names are those of the published weights."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = before * expand
        self.expands, self.adds = expand != 1, stride == 1 and before == after
        if self.expands:
            self._expand_conv = _Same(before, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = _Same(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = _Same(inner, after, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        relu6 = nn.functional.relu6
        inner = relu6(self._bn0(self._expand_conv(values))) if self.expands else values
        inner = relu6(self._bn1(self._depthwise_conv(inner)))
        result: torch.Tensor = self._bn2(self._project_conv(inner))
        return values + result if self.adds else result


class Lite0(nn.Module):
    """EfficientNet-lite0 with frozen ImageNet weights, of which only a linear score is trained."""

    # width, kernel, stride, expansion, repeats
    STAGES = (
        (16, 3, 1, 1, 1),
        (24, 3, 2, 6, 2),
        (40, 5, 2, 6, 2),
        (80, 3, 2, 6, 3),
        (112, 5, 1, 6, 3),
        (192, 5, 2, 6, 4),
        (320, 3, 1, 6, 1),
    )
    FEATURES = 1280

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Same(3, 32, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, before = [], 32
        for width, kernel, stride, expand, repeats in self.STAGES:
            for number in range(repeats):
                blocks.append(_Block(before, width, kernel, stride if number == 0 else 1, expand))
                before = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Same(before, self.FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(self.FEATURES, eps=1e-3)
        self.head = nn.Linear(self.FEATURES, 1)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith("head"))

    def train(self, mode: bool = True) -> Lite0:
        """Leave the frozen part in evaluation mode."""
        super().train(False)
        self.head.train(mode)
        return self

    def features(self, slices: torch.Tensor) -> torch.Tensor:
        """Return (n, 1280) features of each slice."""
        return self.last((slices * 2 - 1).expand(-1, 3, -1, -1))

    def last(self, colours: torch.Tensor) -> torch.Tensor:
        """Return the (n, 1280) features before the classes, of images as `stages` takes them."""
        channels = self._bn1(self._conv_head(self.stages(colours)[-1]))
        features: torch.Tensor = nn.functional.relu6(channels).mean((2, 3))
        return features

    def stages(self, colours: torch.Tensor) -> list[torch.Tensor]:
        """Return the channels (n, width, rows, columns) of each stage, of normalised images (n, 3, ...)."""
        values = nn.functional.relu6(self._bn0(self._conv_stem(colours)))
        blocks, found = iter(self._blocks), []
        for _, _, _, _, repeats in self.STAGES:
            for _ in range(repeats):
                values = next(blocks)(values)
            found.append(values)
        return found

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """Return the score of each slice."""
        score: torch.Tensor = self.head(self.features(slices)).squeeze(1)
        return score


NETS: dict[str, Callable[[], nn.Module]] = {"small": SmallNet, "vgg16": Vgg16, "lite0": Lite0}
"""The nets by the name in the config."""
