from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etl.derive import position_losses as oracle
from etl.learn.losses import anchor_loss, distance_loss, order_loss

SCORES = st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=3)


@given(SCORES)
def test_losses_are_those_of_numpy(scores: list[list[float]]) -> None:
    mm = [[0.0, 10.0, 25.0, 90.0]] * len(scores)
    table, at = (torch.tensor(values, dtype=torch.float64) for values in (scores, mm))
    assert float(order_loss(table)) == pytest.approx(np.mean([oracle.order_loss(s) for s in scores]))
    expected = np.mean([oracle.distance_loss(s, m) for s, m in zip(scores, mm, strict=True)])
    assert float(distance_loss(table, at)) == pytest.approx(expected, abs=1e-12)


def test_the_anchor_exactly() -> None:
    scores, z = torch.tensor([1.0, 2.0, 7.0]), torch.tensor([0.55, 0.62, float("nan")])
    scale, shift = torch.tensor(0.05), torch.tensor(0.5)
    # 0.55 is hit; 0.60 is off by 0.02, which is one unit: a half by the smooth L1.
    assert float(anchor_loss(scores, z, scale, shift)) == pytest.approx(0.25, abs=1e-5)
    assert float(anchor_loss(scores, torch.full((3,), torch.nan), scale, shift)) == 0
