"""From a finished training of an embedding to a model: its measures, its leak test and its card."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch

from etl.derive.embedding_table import BOXES, CROPS, VECTORS
from etl.derive.lesion_arrays import Ints
from etl.derive.place_model import learn, xyz
from etl.derive.retrieval_leaks import leaks, permuted_windows
from etl.derive.retrieval_measures import FOLDS, Answers, Labelled, answer, by_folds, summarize, vectors
from etl.learn.embedding_card import card_of
from etl.learn.embedding_examples import Examples
from etl.learn.embedding_training import EmbeddingTraining
from etl.learn.model_folder import exported, model_files
from etl.learn.sequence_sampler import UNKNOWN
from etl.learn.series import TEST, TRAIN, VAL
from etl.store.models import EMBEDDING

MOST_LEAKED = 500
"""Lesions of the leak test."""


def finished(
    training: EmbeddingTraining, source: dict[str, Any], remade: Callable[[pd.DataFrame], Examples]
) -> tuple[str, dict[str, bytes]]:
    """Return (model_id, files by name) of a training that made all its steps.

    Args:
        source: where the lesions are from, for card and config.
        remade: returns examples of rows of `lesions`, for the leak test.

    Raises:
        ConfigError: a vector that the model gives is no vector of numbers.
    """
    config, examples = training.config, training.examples
    training.embed(np.arange(len(examples))[:1])  # Without lesions to measure on, nothing else applies it.
    metrics = {**measures_of(training), "leak": leaks_of(training, remade), "data": data_of(training)}
    decides = {
        "kind": EMBEDDING,
        "input": config.input.model_dump(mode="json"),
        "net": config.net,
        "dimensions": training.dimensions,
    }
    described = {
        "name": config.name,
        **decides,
        "training": config.model_dump(mode="json", exclude={"work", "data", "checkpoint_steps", "weights"}),
        "steps_made": training.step,
        "source": source,
        "patients": {
            split: len(np.unique(examples.lesions.patient[examples.split == split]))
            for split in (TRAIN, VAL, TEST)
        },
        "code": {"deeplesion-store": version("deeplesion-store"), "torch": torch.__version__},
    }
    net = training.mean.cpu()
    edge = (2, config.input.slices, config.input.pixels, config.input.pixels)
    inputs = {CROPS: torch.zeros(edge), BOXES: torch.tensor([[0.25, 0.25, 0.75, 0.75]] * 2)}
    onnx = exported(net, inputs, VECTORS, EMBEDDING)
    return model_files(net, onnx, described, metrics, card_of(described, metrics, training), decides)


def measures_of(training: EmbeddingTraining) -> dict[str, Any]:
    """Return the measures of val and test by the model, by `place` and by x, y, z; None without queries.

    Val lesions that are no seeds are searched among the seeds; without seeds all of val by folds of patients.
    Test lesions are searched among all of val. `place` learns its weights on each gallery.
    """
    examples = training.examples
    known = examples.types != UNKNOWN
    val, test = (np.flatnonzero(known & (examples.split == split)) for split in (VAL, TEST))
    is_seed = training.known.seeds[val] if training.is_trained else np.zeros(len(val), np.bool_)
    labelled = training.labelled(val)
    seeds, others = labelled.take(np.flatnonzero(is_seed)), labelled.take(np.flatnonzero(~is_seed))
    found: dict[str, Any] = {VAL: None, TEST: None}
    if len(seeds.coarse_type) and len(others.coarse_type):
        found[VAL] = {"by": "seeds as gallery", **_answers(seeds, others)}
    elif len(np.unique(labelled.lesions.patient)) >= FOLDS:
        rows = {
            "model": by_folds(labelled, lambda part: vectors),
            "place": by_folds(labelled, lambda part: learn(*part).embed),
            "xyz": by_folds(labelled, lambda part: xyz),
        }
        found[VAL] = {"by": f"{FOLDS} folds of patients"} | _summaries(rows)
    if len(test) and len(val):
        found[TEST] = {"by": "val as gallery", **_answers(labelled, training.labelled(test))}
    return found


def _answers(gallery: Labelled, queries: Labelled) -> dict[str, Any]:
    place = learn(*gallery).embed
    rows = {"model": vectors, "place": place, "xyz": xyz}
    return _summaries({name: answer(gallery, queries, embed) for name, embed in rows.items()})


def _summaries(rows: dict[str, Answers]) -> dict[str, Any]:
    return {name: summarize(answers) for name, answers in rows.items()}


def leaks_of(
    training: EmbeddingTraining, remade: Callable[[pd.DataFrame], Examples]
) -> dict[str, Any] | None:
    """Return the leak test on test lesions, or on val lesions that are no seeds; None without any."""
    examples = training.examples
    known = (examples.types != UNKNOWN) & ~training.known.seeds
    chosen = known & (examples.split == TEST)
    rows: Ints = np.flatnonzero(chosen if chosen.any() else known & (examples.split == VAL))[:MOST_LEAKED]
    if len(np.unique(examples.lesions.patient[rows])) < 2:
        return None
    frame = examples.frame.iloc[rows].reset_index(drop=True)
    other = training.embed_of(remade(permuted_windows(frame)))
    lesions = examples.lesions.take(rows)
    windows = frame[["window_low_hu", "window_high_hu"]].to_numpy(np.float64)
    return leaks(
        training.embed(rows), other, examples.types[rows], lesions.patient, lesions.lesion_id, windows
    )


def data_of(training: EmbeddingTraining) -> dict[str, Any]:
    """Return how many lesions there were to learn from."""
    examples, known = training.examples, training.known
    counts: dict[str, Any] = {
        "lesions": {split: int((examples.split == split).sum()) for split in (TRAIN, VAL, TEST)}
    }
    if not training.is_trained:
        return counts
    whole = training.sampler.whole
    return counts | {
        "seeds": int(known.seeds.sum()),
        "seed_patients": len(np.unique(examples.lesions.patient[known.seeds])),
        "learned_from": int(known.learned.sum()),
        "with_a_type_at_first": int((known.types != UNKNOWN).sum()),
        "with_a_type_at_last": int((training.types != UNKNOWN).sum()),
        "with_a_whole_sequence": int(whole.sum()),
        "without_a_whole_sequence": int(known.learned.sum() - whole.sum()),
    }
