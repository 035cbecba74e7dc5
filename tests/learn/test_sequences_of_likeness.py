"""Sequences A to E: their loss, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etl.derive.lesion_arrays import LesionArrays
from etl.learn.losses import sequence_loss
from etl.learn.sequence_sampler import Rules, Sampler

RULES = Rules(0.05, 0.1, 5.0, 10.0)


def lesions(place: list[float], size_mm: list[float], patient: list[int] | None = None) -> LesionArrays:
    """Lesions along one axis, each of a patient of its own unless patients are given."""
    n = len(place)
    zeros = np.zeros(n)
    return LesionArrays(
        lesion_id=np.arange(n),
        patient=np.arange(n) if patient is None else np.array(patient),
        study=np.ones(n, np.int64),
        series=np.ones(n, np.int64),
        place=np.stack([place, zeros, zeros], axis=1),
        log_diameters=np.log(np.stack([size_mm, size_mm], axis=1)),
        centre_mm=np.zeros((n, 3)),
        long_angle_rad=zeros,
    )


@pytest.mark.parametrize(
    ("squared", "loss"),
    [
        ([0.1, 0.2, 0.4, 0.8], 0.0),  # each margin is met exactly
        ([0.0, 1.0, 2.0, 3.0], 0.0),
        ([0.5, 0.5, 0.5, 0.5], (0.1 + 0.2 + 0.4) / 2),
        ([0.3, 0.2, 0.4, 0.8], 0.2 / 2),
        ([0.0, 0.1, 0.3, 0.3], 0.4 / 2),
    ],
)
def test_the_loss_exactly(squared: list[float], loss: float) -> None:
    a = torch.zeros(1, 1, 2)
    others = torch.tensor([[[value**0.5, 0.0] for value in squared]])
    one = torch.cat([a, others], 1)
    assert float(sequence_loss(one)) == pytest.approx(loss, abs=1e-6)
    assert float(sequence_loss(torch.cat([one, torch.zeros(1, 5, 2)]))) == pytest.approx((loss + 0.35) / 2)


def test_sequences_are_drawn_by_the_rules() -> None:
    #                B     C     D    E
    place = [0.5, 0.52, 0.48, 0.9, 0.5]
    size = [10.0, 12.0, 30.0, 10.0, 10.0]
    types = np.array([1, 1, 1, 1, 2])
    sampler = Sampler(lesions(place, size), types, RULES)
    # Lesion 1 has A as its B; 2 is of other size than both, 3 is far from all, 4 alone in its type.
    assert sampler.whole.tolist() == [True, True, False, False, False]
    drawn = sampler.choose(20, np.random.default_rng(1))
    assert set(map(tuple, drawn.tolist())) == {(0, 1, 2, 3, 4), (1, 0, 2, 3, 4)}


def test_all_others_are_of_other_patients() -> None:
    place, size, types = [0.5, 0.52, 0.48, 0.9, 0.5], [10.0, 12, 30, 10, 10], np.array([1, 1, 1, 1, 2])
    for same in (1, 2, 3, 4):
        patient = [0 if row == same else row for row in range(5)]
        assert not Sampler(lesions(place, size, patient), types, RULES).whole[0]
    with pytest.raises(ValueError, match="no lesion has a whole sequence"):
        Sampler(lesions(place, size), np.zeros(5, np.int64), RULES).choose(1, np.random.default_rng(1))


@given(st.integers(0, 10**6))
def test_each_drawn_sequence_obeys_the_rules(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = 60
    known = lesions(
        random.uniform(0.3, 0.7, n).tolist(),
        random.uniform(5, 40, n).tolist(),
        random.integers(0, 25, n).tolist(),
    )
    types = random.integers(0, 3, n)
    sampler = Sampler(known, types, RULES)
    size = np.exp(known.log_diameters[:, 0])
    for a in range(n):  # the definition, lesion by lesion
        other = known.patient != known.patient[a]
        same = (types == types[a]) & other
        off = np.abs(known.place[:, 0] - known.place[a, 0])
        apart = np.abs(size - size[a])
        groups = [
            same & (off < 0.05) & (apart < 5),
            same & (off < 0.05) & (apart > 10),
            same & (off > 0.1),
            (types != types[a]) & (types != 0) & other,
        ]
        assert sampler.whole[a] == (types[a] != 0 and all(group.any() for group in groups))
    if not sampler.whole.any():
        return
    for a, b, c, d, e in sampler.choose(5, random).tolist():
        assert types[a] == types[b] == types[c] == types[d] != types[e] != 0
        assert abs(size[a] - size[b]) < 5
        assert abs(size[a] - size[c]) > 10
        assert np.linalg.norm(known.place[a] - known.place[d]) > 0.1
        assert known.patient[a] not in known.patient[[b, c, d, e]]
