"""The card of an embedding model: input, measures next to those of others, leak test and limits."""

from __future__ import annotations

from typing import Any

from etl.derive.retrieval_measures import NAMES, REFERENCE
from etl.learn.embedding_training import EmbeddingTraining
from etl.learn.series import TEST, VAL

HEADS = ("top-1", "P@10", "20-NN", "macro recall", "place error", "size error, mm")
SAYS = {"model": "**this model**", "place": "`place`, learned on the gallery", "xyz": "x, y, z"}


def card_of(described: dict[str, Any], metrics: dict[str, Any], training: EmbeddingTraining) -> str:
    """Return the card as Markdown, with MODEL_ID where the id belongs."""
    config, size = training.config, sum(p.numel() for p in training.mean.parameters())
    seen = config.input
    low, high = seen.window_hu
    learned = (
        f"It made {training.step:,} steps of {config.sequences_a_step} sequences, margins .1, .2 and .4, "
        f"seed {config.seed}; types from `{config.labels.source}`."
        if training.is_trained
        else "Its weights are those of ImageNet, frozen; it learned nothing here."
    )
    return f"""# {config.name}, MODEL_ID

An embedding of lesions: vectors of {training.dimensions} numbers and length one, in which lesions that are
alike lie near each other.

- Input: {seen.slices} planes {seen.slice_mm:g} mm apart, {seen.pixels} x {seen.pixels} pixels over
  {seen.edge_mm:g} mm around the middle of the diameters; {low:g} to {high:g} HU scaled to 0..1, the same for
  all lesions; and the extent of the diameters in mm. No display window, spacing, field of view, file name or
  row number.
- Net: `{config.net}`, {size:,} parameters. {learned}
- Data: {_data(described, metrics["data"])}

## Measures

{_split(metrics, VAL)}
{_split(metrics, TEST)}
Intervals are 95 %, by bootstrap over patients. Others measured before, on the release's test rows with val as
gallery:

| | top-1 | P@10 | 20-NN | type accuracy of a classifier |
|---|---|---|---|---|
{_reference()}

Goals for the release are the paper's 90.5 %, and 86.2 % for features of ImageNet. {_reached(metrics)}

## Leak test

{_leak(metrics["leak"])}

## Limits

- It saw only the anatomy, scanners and windows of its data. Coarse types tell eight regions apart, not what a
  lesion is. It is no medical device.
- Types of train are propagated from seeds or tags, and some are wrong.
- A lesion larger than {seen.edge_mm:g} mm reaches out of what the model sees.
"""


def _data(described: dict[str, Any], data: dict[str, Any]) -> str:
    lesions = ", ".join(f"{count:,} of {split}" for split, count in data["lesions"].items())
    text = f"version {described['source']['version']} of the store; lesions: {lesions}."
    if "seeds" not in data:
        return text
    n = {name: f"{count:,}" for name, count in data.items() if name != "lesions"}
    return (
        f"{text} {n['seeds']} lesions of {n['seed_patients']} val patients are seeds. Of {n['learned_from']} "
        f"lesions that were learned from {n['with_a_type_at_first']} had a type at first and "
        f"{n['with_a_type_at_last']} at last; {n['with_a_whole_sequence']} have a whole sequence A to E, the "
        f"other {n['without_a_whole_sequence']} are only in those of others."
    )


def _split(metrics: dict[str, Any], split: str) -> str:
    measured = metrics[split]
    if measured is None:
        return f"On {split}: nothing to measure.\n"
    first = measured["model"]
    rows = [
        f"| {says} | " + " | ".join(_with_interval(measured[name], key) for key in NAMES) + " |"
        for name, says in SAYS.items()
    ]
    return (
        f"On {split}, {measured['by']}, {first['queries']} queries of {first['patients']} patients:\n\n"
        f"| | {' | '.join(HEADS)} |\n|---{'|---' * len(HEADS)}|\n" + "\n".join(rows) + "\n"
    )


def _with_interval(summary: dict[str, Any], key: str) -> str:
    low, high = summary["intervals"][key]
    if summary[key] is None:
        return "none"
    return f"{summary[key]:.3g} [{low:.3g}, {high:.3g}]"


def _reference() -> str:
    keys = ("top1", "p_at_10", "nn20", "type_classifier")
    return "\n".join(
        f"| {name} | " + " | ".join(f"{row[key]:.3f}" if key in row else "" for key in keys) + " |"
        for name, row in REFERENCE.items()
    )


def _reached(metrics: dict[str, Any]) -> str:
    measured = metrics[TEST]
    if measured is None:
        return "This model was not measured on test lesions."
    model = measured["model"]
    return f"This model's top-1 on {model['queries']} test lesions is {model['top1']:.3f}."


def _leak(found: dict[str, Any] | None) -> str:
    if found is None:
        return "There were too few lesions with types for it."
    return f"""Windows, spacings, fields of view and file names of {found["lesions"]} lesions were given to
others at random and the lesions embedded again. The share of nearest lesions of the right type is
{found["type_top1"]:.3f} before and {found["type_top1_after_permuting_windows"]:.3f} after; the largest change
of a number is {found["largest_change_of_a_vector"]:.2g}. Windows alone tell the type with
{found["type_top1_of_windows_alone"]:.3f}. The nearest lesion has the same window for
{found["window_top1"]:.3f} of the lesions, and would have it for
{found["window_top1_of_windows_permuted_within_types"]:.3f} by the type alone; the difference is what pixels
say of the scanner's settings beyond the type."""
