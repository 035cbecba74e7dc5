"""From a finished training to a model: the scale of its scores, its metrics and its card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from etl.derive.position_measures import spearman
from etl.derive.slice_positions import Scale, monotone_map, norm_z_of, robust_line, smoothed
from etl.learn.model_folder import model_files, onnx_bytes
from etl.learn.series import TEST, TRAIN, VAL, Series, patients_of
from etl.learn.training import Training

SPLITS = (TRAIN, VAL, TEST)
Landmarks = tuple[tuple[tuple[str, float], ...], str]
_LEAST_DEVIATION = 0.1
"""Least deviation of slopes, as a share of their mean: few series look more alike than others are."""
_RESAMPLED = 500


def finished(
    training: Training, source: dict[str, Any], landmarks: Landmarks
) -> tuple[str, dict[str, bytes]]:
    """Return (model_id, files by name) of a training that made all its steps.

    Args:
        source: what the series are from, for card and config.
        landmarks: beginnings of regions on the published scale, and where they come from.
    """
    config = training.config
    scored = {one.name: _scores(training, one) for one in training.series}
    scale = _scale([(one, scored[one.name]) for one in training.series if one.split == TRAIN], landmarks)
    metrics = {
        split: _measures([(one, scored[one.name]) for one in training.series if one.split == split], scale)
        for split in SPLITS
    }
    decides = {
        "input": config.input.model_dump(mode="json"),
        "net": config.net,
        "scale": vars(scale),
    }
    settings = config.model_dump(mode="json", exclude={"work", "data", "checkpoint_steps"})
    described = {
        "name": config.name,
        **decides,
        "training": settings,
        "source": source,
        "patients": {split: len(names) for split, names in patients_of(training.series).items()},
        "code": {"deeplesion-store": version("deeplesion-store"), "torch": torch.__version__},
    }
    card = _card(described, metrics, training)
    onnx = onnx_bytes(training.mean.cpu(), config.input.pixels)
    return model_files(training.mean, onnx, described, metrics, card, decides)


def _scores(training: Training, series: Series) -> np.ndarray:
    return training.score(training.cache.of(series)).astype(np.float64)


def _scale(scored: Sequence[tuple[Series, np.ndarray]], landmarks: Landmarks) -> Scale:
    lines = [robust_line(scores, one.mm) for one, scores in scored]
    slopes = np.array([line.slope_per_mm for line in lines if line is not None])
    mean = float(slopes.mean()) if len(slopes) else 0.0
    deviation = max(float(slopes.std()) if len(slopes) else 0.0, _LEAST_DEVIATION * abs(mean))
    known = [(smoothed(scores, one.mm), one.norm_z) for one, scores in scored if len(scores)]
    pairs = [(s[~np.isnan(z)], z[~np.isnan(z)]) for s, z in known]
    of_scores, of_z = (np.concatenate([np.zeros(0), *(pair[side] for pair in pairs)]) for side in (0, 1))
    knots = monotone_map(of_scores, of_z)
    regions, source = landmarks if knots[0] else ((), "")
    return Scale(round(mean, 9), round(deviation, 9), *knots, regions, source)


def _measures(scored: Sequence[tuple[Series, np.ndarray]], scale: Scale) -> dict[str, Any]:
    """Return measures of one split; null where there is nothing to measure."""
    within = [spearman(one.mm, scores) for one, scores in scored if len(scores) > 2]
    published, predicted, patients = [], [], []
    for one, scores in scored:
        known = ~np.isnan(one.norm_z)
        published += one.norm_z[known].tolist()
        predicted += norm_z_of(smoothed(scores, one.mm), scale)[known].tolist()
        patients += [one.patient] * int(known.sum())
    measured: dict[str, Any] = {
        "series": len(scored),
        "patients": len({one.patient for one, _ in scored}),
        "slices": sum(len(scores) for _, scores in scored),
        "spearman_within_series": _number(np.mean(within)) if within else None,
        "key_slices": len(published),
    }
    true, guess = np.array(published), np.array(predicted)
    if len(true) > 2 and not np.isnan(guess).any():
        off = np.abs(true - guess)
        measured |= {
            "spearman": _number(spearman(true, guess)),
            "mean_absolute_error": _number(off.mean()),
            "mean_absolute_error_95": _interval(off, patients),
            # The floor: what the mean of the published z would be off.
            "mean_absolute_error_of_the_mean": _number(np.abs(true - true.mean()).mean()),
        }
    return measured


def _interval(off: np.ndarray, patients: Sequence[str]) -> list[float]:
    """Return the 95 % interval of a mean, over patients drawn again and again."""
    names, at = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(at, off), np.bincount(at)
    random = np.random.default_rng(0)
    means = []
    for _ in range(_RESAMPLED):
        drawn = random.integers(0, len(names), len(names))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    return [_number(q) for q in np.quantile(means, [0.025, 0.975])]  # type: ignore[misc]


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _card(described: dict[str, Any], metrics: dict[str, Any], training: Training) -> str:
    config, size = training.config, sum(p.numel() for p in training.mean.parameters())
    rows = [
        f"| {split} | {m['patients']} | {m['series']} | {m['spearman_within_series']} | "
        f"{m.get('spearman')} | {m.get('mean_absolute_error')} {m.get('mean_absolute_error_95', '')} | "
        f"{m.get('mean_absolute_error_of_the_mean')} |"
        for split, m in metrics.items()
    ]
    test = metrics[TEST]
    reached = test.get("spearman") is not None and (
        test["spearman"] >= 0.98 and test["mean_absolute_error"] <= 0.02
    )
    goal = "was reached" if reached else "was not reached, or could not be measured,"
    low, high = config.input.window_hu
    regions = described["scale"]["landmarks_from"] or "none: no region is given"
    return f"""# {config.name}, MODEL_ID

A self-supervised body-part regressor: it gives an axial CT slice a score that rises from head to feet.

- Input: {config.input.pixels} x {config.input.pixels} pixels of {config.input.pixel_mm} mm around the
  image's centre, padded with air; {low:g} to {high:g} HU scaled to 0..1.
- Net: `{config.net}`, {size:,} parameters. Loss: `{config.loss}`, anchor {config.anchor:g};
  {training.step:,} steps of {config.series} series, seed {config.seed}.
- Learned from: {described["source"]}
- Landmarks of regions: {regions}

| split | patients | series | Spearman in a series | Spearman of key slices | mean error of z (95 %) | floor |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The floor is the error of always answering with the mean. The goal for a whole release, Spearman at least .98
and a mean error of at most .02 on its test patients, {goal} by this model.

Limits: it saw only the anatomy, scanners and fields of view of its training series. It says nothing about
disease, and is no medical device. A slice whose volume is not `ok` in `order` should not be trusted.
"""
