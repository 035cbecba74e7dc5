"""Other settings of a fit of frozen features, and fewer patients: the order accuracy that each gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from etl.derive.position_checks import number
from etl.derive.position_measures import order_accuracy
from etl.learn.frozen_fit import (
    KINDS,
    SEEDS,
    STAGES,
    Bools,
    Floats,
    Scored,
    fitted,
    folds_of,
    frozen_features,
    frozen_net,
    measured,
    normalised,
    predicted,
    read_scored,
    standardised,
)

STAGE_SETS: tuple[tuple[int, ...], ...] = ((5,), (6,), (5, 6), (4, 5, 6), (5, 6, 7), (6, 7))
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
DRAWS, HELD_OUT = 20, 5
"""Draws of training patients of a number, and the most patients that are held out together."""

Setting = tuple[tuple[int, ...], float]


def study(weights: str, folder: str) -> dict[str, Any]:
    """Return the order accuracy of the net's last features, of its stages, and by number of patients.

    Args:
        weights, folder: see `etl.learn.frozen_fit.evaluate_frozen`.
    """
    scored, net = read_scored(folder), frozen_net(weights)
    all_stages = tuple(sorted({stage for stages in STAGE_SETS for stage in stages}))
    blocks = frozen_features(net, scored.images, all_stages)
    of_stage = {stage: blocks[KINDS * at : KINDS * at + KINDS] for at, stage in enumerate(all_stages)}
    sets = {stages: [block for stage in stages for block in of_stage[stage]] for stages in STAGE_SETS}
    ends = [net.last(normalised(part)).detach().double().numpy() for part in scored.images.split(HELD_OUT)]
    of_sets = {stages: _draws(scored, sets[stages]) for stages in STAGE_SETS}
    return {
        "last_features_of_one_view": measured(scored, _draws(scored, [np.concatenate(ends)])),
        "stages": [{"stages": stages, **measured(scored, found)} for stages, found in of_sets.items()],
        "mean_of_all_stages": measured(
            scored, [np.mean(found, axis=0) for found in zip(*of_sets.values(), strict=True)]
        ),
        "chosen_without_the_fold": measured(scored, [nested(sets, scored, seed) for seed in range(SEEDS)]),
        "training_patients": [
            by_patients(sets[STAGES], scored, count) for count in training_counts(len(set(scored.patients)))
        ],
    }


def _draws(scored: Scored, blocks: Sequence[Floats]) -> list[Floats]:
    return [fitted(blocks, scored.scores, scored.patients, seed) for seed in range(SEEDS)]


def nested(sets: dict[tuple[int, ...], list[Floats]], scored: Scored, seed: int) -> Floats:
    """Return the score of each slice by stages and a penalty that were chosen without its fold."""
    folds, found = folds_of(scored.patients, seed), np.zeros(len(scored.scores))
    for fold in np.unique(folds):
        held = folds == fold
        stages, penalty = chosen(sets, scored.scores, ~held)
        found[held] = predicted(sets[stages], scored.scores, ~held, penalty=penalty)[held]
    return found


def chosen(sets: dict[tuple[int, ...], list[Floats]], scores: Floats, seen: Bools) -> Setting:
    """Return the setting with the smallest squared error of slices left out one by one."""
    wanted = scores[seen] - scores[seen].mean()
    errors: dict[Setting, float] = {}
    for stages, blocks in sets.items():
        rows = standardised(blocks, seen)[seen]
        for penalty in PENALTIES:
            inverse = np.linalg.inv(rows @ rows.T + penalty * np.eye(len(rows)))
            errors[stages, penalty] = float((((inverse @ wanted) / inverse.diagonal()) ** 2).mean())
    return min(errors, key=lambda setting: errors[setting])


def training_counts(patients: int) -> list[int]:
    """Return the numbers of patients to fit to: every five from 20, and all but one."""
    return [*range(20, patients - 1, 5), patients - 1]


def by_patients(blocks: Sequence[Floats], scored: Scored, count: int) -> dict[str, Any]:
    """Return the order accuracy of fits to a number of patients, drawn for each group that is held out."""
    names, at = np.unique(scored.patients, return_inverse=True)
    random, found = np.random.default_rng(0), np.zeros(len(scored.scores))
    together = min(HELD_OUT, len(names) - count)
    accuracies = []
    for _ in range(1 if together == 1 else DRAWS):
        for held in _groups(random.permutation(len(names)), together):
            others = np.setdiff1d(np.arange(len(names)), held)
            seen = np.isin(at, random.choice(others, count, replace=False))
            out = np.isin(at, held)
            found[out] = predicted(blocks, scored.scores, seen)[out]
        accuracies.append(order_accuracy(scored.scores, found))
    spread = {"least": number(min(accuracies)), "greatest": number(max(accuracies))}
    return {
        "patients": count,
        "draws": len(accuracies),
        "order_accuracy": number(np.mean(accuracies)),
        **spread,
    }


def _groups(numbers: np.ndarray, size: int) -> Iterable[np.ndarray]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))
