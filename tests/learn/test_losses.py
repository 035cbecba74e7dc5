from __future__ import annotations

from math import exp, log

import pytest
import torch

from etl.learn.losses import anchor_loss, distance_loss, order_loss


def table(*series: list[float]) -> torch.Tensor:
    return torch.tensor(series, dtype=torch.float64)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0, 0, 0], log(2)),
        ([0, 1, 2], log(1 + exp(-2))),
        ([0, 1, 1.5], (log(1 + exp(-2)) + log(1 + exp(-1))) / 2 + 0.125),
        ([0, 3, 1], (log(1 + exp(-6)) + log(1 + exp(4))) / 2 + 4.5),
        ([0, 1000, 2000], 0),
    ],
)
def test_order_loss_exactly(scores: list[float], expected: float) -> None:
    assert float(order_loss(table(scores))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "mm", "expected"),
    [
        ([0, 0.5, 1.5], [0, 50, 150], 0),
        ([0, 0], [0, 100], (1 / (1 + exp(-1)) - 0.5) ** 2),
        ([0, 1, 0], [0, 100, 200], (1 / (1 + exp(-1)) - 1 / (1 + exp(1))) ** 2 / 2),
        ([0, 5000], [0, 5], (1 / (1 + exp(-0.05)) - 1) ** 2),
    ],
)
def test_distance_loss_exactly(scores: list[float], mm: list[float], expected: float) -> None:
    assert float(distance_loss(table(scores), table(mm))) == pytest.approx(expected, abs=1e-15)


def test_of_several_series_it_is_the_mean() -> None:
    scores, mm = table([0, 1, 1.5], [0, 3, 1]), table([0, 10, 90], [0, 5, 10])
    one, other = order_loss(scores[:1]), order_loss(scores[1:])
    assert float(order_loss(scores)) == pytest.approx(float(one + other) / 2)
    one, other = distance_loss(scores[:1], mm[:1]), distance_loss(scores[1:], mm[1:])
    assert float(distance_loss(scores, mm)) == pytest.approx(float(one + other) / 2)


def test_the_anchor_exactly() -> None:
    scores, z = torch.tensor([1.0, 2.0, 7.0]), torch.tensor([0.55, 0.62, float("nan")])
    scale, shift = torch.tensor(0.05), torch.tensor(0.5)
    # 0.55 is hit; 0.60 is off by 0.02, which is one unit: a half by the smooth L1.
    assert float(anchor_loss(scores, z, scale, shift)) == pytest.approx(0.25, abs=1e-5)
    assert float(anchor_loss(scores, torch.full((3,), torch.nan), scale, shift)) == 0
