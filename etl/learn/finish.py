"""From a finished training to a model: the scale of its scores, its metrics and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from etl.core.counted import counted
from etl.derive.position_checks import (
    GOAL_ERROR,
    GOAL_SPEARMAN,
    key_slice_measures,
    number,
    release_check,
    repeatability,
)
from etl.derive.position_measures import mean_spearman
from etl.derive.slice_positions import Scale, monotone_map, norm_z_of, robust_line, smoothed
from etl.learn.curves import csv_text, svg_text
from etl.learn.model_folder import model_files, onnx_bytes
from etl.learn.series import TEST, TRAIN, VAL, Series, patients_of
from etl.learn.store_series import NO_PAIRS, Pairs
from etl.learn.training import Training

SPLITS = (TRAIN, VAL, TEST)
Landmarks = tuple[tuple[tuple[str, float], ...], str]
_LEAST_DEVIATION = 0.1
"""Least deviation of slopes, as a share of their mean: few series look more alike than others are."""
Scored = Sequence[tuple[Series, np.ndarray]]
_SHOWN = 20


@dataclass(frozen=True)
class KeySlice:
    """A key slice with a published z: number of the slice in its series from 0, and both z."""

    patient: str
    split: str
    series: str
    place: int
    published: float
    predicted: float


def finished(
    training: Training,
    source: dict[str, Any],
    landmarks: Landmarks,
    pairs: Pairs = NO_PAIRS,
    ablation: Sequence[dict[str, Any]] = (),
) -> tuple[str, dict[str, bytes]]:
    """Return (model_id, files by name) of a training that made all its steps.

    Args:
        source: what the series are from, for card and config.
        landmarks: beginnings of regions on the published scale, and where they come from.
        pairs: key slices of one lesion in two studies each.
        ablation: measures of trainings with other losses, of `etl.learn.ablation`.
    """
    config = training.config
    scored = {one.name: _scores(training, one) for one in training.series}
    scale = _scale([(one, scored[one.name]) for one in training.series if one.split == TRAIN], landmarks)
    by_split = {
        split: [(one, scored[one.name]) for one in training.series if one.split == split] for split in SPLITS
    }
    splits = {split: _measures(own, scale) for split, own in by_split.items()}
    keys = _key_slices([pair for own in by_split.values() for pair in own], scale)
    metrics = {
        **splits,
        "release_check": release_check(splits[TEST]),
        "repeatability": _repeatability(keys, pairs),
        "ablation": list(ablation),
    }
    decides = {
        "input": config.input.model_dump(mode="json"),
        "net": config.net,
        "scale": vars(scale),
    }
    settings = config.model_dump(mode="json", exclude={"work", "data", "checkpoint_steps", "weights"})
    described = {
        "name": config.name,
        **decides,
        "training": settings | {"processes": training.processes.count},
        "source": source,
        "patients": {split: len(names) for split, names in patients_of(training.series).items()},
        "code": {"deeplesion-store": version("deeplesion-store"), "torch": torch.__version__},
    }
    card = _card(described, metrics, keys, training)
    onnx = onnx_bytes(training.mean.cpu(), config.input.pixels)
    model_id, files = model_files(training.mean, onnx, described, metrics, card, decides)
    curves = {"curves.csv": csv_text(training.curve), "curves.svg": svg_text(training.curve)}
    return model_id, files | {name: text.encode() for name, text in curves.items()}


def scale_of(training: Training) -> Scale:
    """Return the scale of a training's scores, by its train series, without landmarks."""
    train = [one for one in training.series if one.split == TRAIN]
    return _scale([(one, _scores(training, one)) for one in train], ((), ""))


def measures_of(training: Training, split: str) -> dict[str, Any]:
    """Return the measures of one split; the scores of no other but train are looked at."""
    own = [(one, _scores(training, one)) for one in training.series if one.split == split]
    return _measures(own, scale_of(training))


def _scores(training: Training, series: Series) -> np.ndarray:
    return training.score(training.cache.of(series)).astype(np.float64)


def _scale(scored: Scored, landmarks: Landmarks) -> Scale:
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


def _measures(scored: Scored, scale: Scale) -> dict[str, Any]:
    """Return measures of one split; null where there is nothing to measure."""
    within, equal = mean_spearman((one.mm, scores) for one, scores in scored if len(scores) > 2)
    keys = _key_slices(scored, scale)
    return {
        "series": len(scored),
        "patients": len({one.patient for one, _ in scored}),
        "slices": sum(len(scores) for _, scores in scored),
        "spearman_within_series": number(within),
        "series_of_equal_scores": equal,
        **key_slice_measures(
            [key.published for key in keys], [key.predicted for key in keys], [key.patient for key in keys]
        ),
    }


def _key_slices(scored: Scored, scale: Scale) -> list[KeySlice]:
    found = []
    for one, scores in scored:
        predicted = norm_z_of(smoothed(scores, one.mm), scale)
        for at in np.flatnonzero(~np.isnan(one.norm_z)).tolist():
            found.append(
                KeySlice(one.patient, one.split, one.name, at, float(one.norm_z[at]), float(predicted[at]))
            )
    return found


def _repeatability(keys: Sequence[KeySlice], pairs: Pairs) -> dict[str, Any]:
    at = {(key.series, key.place): key for key in keys}
    found = [(at[first], at[second]) for first, second in pairs.places if first in at and second in at]
    return {
        "of": pairs.source,
        **repeatability(
            [[key.published for key in pair] for pair in found],
            [[key.predicted for key in pair] for pair in found],
        ),
    }


def _card(
    described: dict[str, Any], metrics: dict[str, Any], keys: Sequence[KeySlice], training: Training
) -> str:
    config, size = training.config, sum(p.numel() for p in training.mean.parameters())
    rows = [
        f"| {split} | {m['patients']} | {m['series']} | {m['spearman_within_series']} | "
        f"{m.get('spearman')} | {m.get('mean_absolute_error')} {m.get('mean_absolute_error_95', '')} | "
        f"{m.get('mean_absolute_error_of_the_mean')} |"
        for split, m in ((split, metrics[split]) for split in SPLITS)
    ]
    reached = metrics["release_check"]["reached"]
    goal = {True: "was reached", False: "was not reached", None: "could not be measured"}[reached]
    low, high = config.input.window_hu
    regions = described["scale"]["landmarks_from"] or "none: no region is given"
    return f"""# {config.name}, MODEL_ID

A self-supervised body-part regressor: it gives an axial CT slice a score that rises from head to feet.

- Input: {config.input.pixels} x {config.input.pixels} pixels of {config.input.pixel_mm} mm around the
  image's centre, padded with air; {low:g} to {high:g} HU scaled to 0..1.
- Net: `{config.net}`, {size:,} parameters. Loss: `{config.loss}`, anchor {config.anchor:g};
  {training.step:,} steps of {config.series * training.processes.count} series, seed {config.seed}.
- Learned from: {described["source"]}
- Landmarks of regions: {regions}

| split | patients | series | Spearman in a series | Spearman of key slices | mean error of z (95 %) | floor |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The floor is the error of always answering with the mean. The goal for a whole release, Spearman at least
{GOAL_SPEARMAN:g} and a mean error of at most {GOAL_ERROR:g} on its test patients, {goal} by this model.

{_equal(metrics)}{_repeated(metrics["repeatability"])}

{_ablation(metrics["ablation"])}

{_table([key for key in keys if key.split == TEST])}

Limits: it saw only the anatomy, scanners and fields of view of its training series. It says nothing about
disease, and is no medical device. A slice whose volume is not `ok` in `order` should not be trusted.
"""


def _equal(metrics: dict[str, Any]) -> str:
    """Return a paragraph about series that the net does not order, or nothing where there is none."""
    counts = {split: metrics[split]["series_of_equal_scores"] for split in SPLITS}
    said = ", ".join(f"{count:,} of {split}" for split, count in counts.items() if count)
    return f"Series whose slices all have one score count as 0 in their Spearman: {said}.\n\n" if said else ""


def _repeated(found: dict[str, Any]) -> str:
    if not found["pairs"]:
        return "No pairs of one lesion in two studies were among its key slices: repeatability is unknown."
    return (
        f"One lesion in two studies ({counted(found['pairs'], 'pair')}, {found['of']}) has positions that\n"
        f"differ by {found['median_difference']} in the median; its published z by "
        f"{found['median_difference_of_published']},\n"
        f"and by {found['of_published_in_the_release']} over all known pairs of the release's val patients."
    )


def _table(keys: Sequence[KeySlice]) -> str:
    """Return published and predicted z of test key slices, at equal steps of the published z."""
    if not keys:
        return "There are no key slices of test patients with a published z."
    by_z = sorted(keys, key=lambda key: key.published)
    shown = [by_z[at] for at in np.unique(np.linspace(0, len(by_z) - 1, _SHOWN).round().astype(int))]
    lines = [
        f"| {key.series} | {key.place} | {key.published:.4f} | {_four(key.predicted)} |" for key in shown
    ]
    head = "| test series | slice, from 0 | published z | predicted |\n|---|---|---|---|"
    return f"{len(shown)} of {len(keys):,} key slices of test patients:\n\n{head}\n" + "\n".join(lines)


def _four(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.4f}"


def _ablation(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    if not rows:
        return "No training with other losses was made to compare with."
    lines = [" | ".join(str(value) for value in row.values()) for row in rows]
    head = "| loss | anchor | Spearman in a series | Spearman of key slices | mean error of z |"
    return "\n".join(
        ["Of the val split:", "", head, "|---|---|---|---|---|", *(f"| {line} |" for line in lines)]
    )
