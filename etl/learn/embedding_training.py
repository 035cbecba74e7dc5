"""The training of an embedding of lesions: its data, its loss and its validation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from etl.core.errors import ConfigError
from etl.derive.lesion_arrays import Ints, LesionArrays
from etl.derive.retrieval_measures import Labelled, answer, vectors
from etl.derive.volume_table import digest_of
from etl.learn.backbone import load_lite0
from etl.learn.embedding_batches import changed_crops, plain_crops
from etl.learn.embedding_config import EmbeddingConfig
from etl.learn.embedding_examples import Examples
from etl.learn.embedding_labels import known_types, refined
from etl.learn.embedding_nets import ImageNetFeatures, dimensions_of, make_net
from etl.learn.loop import Loop
from etl.learn.losses import sequence_loss
from etl.learn.sequence_sampler import UNKNOWN, Rules, Sampler
from etl.learn.series import TEST, VAL, ViewCache

EMBEDDED_AT_ONCE = 32
MOST_VALIDATED = 500
"""Queries of a look at the val split."""


@dataclass(frozen=True)
class Point:
    """One point of the curves: means since the last one, and the validation if there was one.

    Attributes:
        ordered: share of neighbours in sequences that lie in the right order.
        top1: of val lesions that are no seeds, among those of other patients and seeds; NaN without any.
    """

    step: int
    loss: float
    ordered: float
    rate: float
    top1: float


class EmbeddingTraining(Loop):
    """One training of an embedding, or a net with frozen weights that needs none.

    Attributes:
        known: the lesions that are learned from, and their types at the beginning.
    """

    point, noted = Point, 2

    def __init__(
        self,
        config: EmbeddingConfig,
        examples: Examples,
        device: str = "cpu",
        tags: Mapping[int, Iterable[str]] | None = None,
    ) -> None:
        """Raise ConfigError where there is nothing to learn from."""
        super().__init__(config, device)
        self.config, self.examples = config, examples
        self.known = known_types(examples, config.labels, config.seed, tags)
        self.cache = ViewCache(config.data.cache)
        self._sampler: tuple[bytes, Sampler] | None = None
        types = torch.from_numpy(self.known.types.astype(np.int8))
        self.start(lambda: make_net(config), {"types": types}, self._load)
        if self.is_trained and not self.sampler.whole.any():
            raise ConfigError(
                "no lesion has a whole sequence to learn from",
                where="labels and sequences",
                value=f"{int((self.known.types != UNKNOWN).sum())} lesions with a type",
                allowed="lesions of one type near and far, of similar and of other size, and of another type",
            )

        if self.is_trained and config.labels.refine_steps and not self.known.types[self.known.seeds].any():
            raise ConfigError(
                "there are no seeds to propagate types from",
                where="labels.refine_steps",
                value=f"{config.labels.refine_steps}, with labels.seeds {config.labels.seeds:g}",
                allowed="a share of the val patients whose lesions have types",
                remedy="set labels.refine_steps=0, or more labels.seeds",
            )

    @property
    def is_trained(self) -> bool:
        """If weights of the net are learned."""
        return self.config.net != "lite0"

    def _load(self, net: nn.Module) -> None:
        if isinstance(net, ImageNetFeatures):
            assert self.config.weights is not None  # by the config
            load_lite0(net.lite, self.config.weights)

    @property
    def types(self) -> Ints:
        """(n,) types of the lesions that are learned from, as they are now."""
        return self.held["types"].cpu().numpy().astype(np.int64)

    @property
    def sampler(self) -> Sampler:
        """The sequences by the types as they are now."""
        types = self.types
        if self._sampler is None or self._sampler[0] != types.tobytes():
            rules = Rules(**self.config.sequences.model_dump())
            self._sampler = types.tobytes(), Sampler(self.examples.lesions, types, rules)
        return self._sampler[1]

    def data_identity(self) -> Any:
        lesions = self.examples.lesions
        # Types of test decide nothing before the end.
        types = np.where(self.examples.split == TEST, UNKNOWN, self.examples.types)
        return [
            digest_of([crop.key for crop in self.examples.crops]),
            digest_of(self.examples.boxes.tolist()),
            digest_of([types.tolist(), self.known.types.tolist()]),
            digest_of(self.examples.split.tolist()),
            digest_of([lesions.place.tolist(), lesions.log_diameters.tolist()]),
        ]

    def losses(self, random: np.random.Generator) -> tuple[torch.Tensor, Sequence[float]]:
        config = self.config
        every = config.labels.refine_steps
        if every and self.step and self.step % every == 0:
            self._refine()
        rows = self.sampler.choose(config.sequences_a_step, random).ravel()
        crops, boxes = changed_crops(self.examples, self.cache, rows, config.input, config.augment, random)
        found = self.net(crops.to(self.device), boxes.to(self.device)).view(-1, 5, self.dimensions)
        loss = sequence_loss(found)
        squared = ((found[:, 1:] - found[:, :1]) ** 2).sum(-1).detach()
        return loss, [float(loss.detach()), float((squared.diff(dim=1) > 0).float().mean())]

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return dimensions_of(self.config)

    def _refine(self) -> None:
        rows = np.flatnonzero(self.known.learned)
        types = refined(self.examples, self.known, rows, self.embed(rows), self.config.labels.confidence)
        self.held["types"].copy_(torch.from_numpy(types.astype(np.int8)))
        if not self.sampler.whole.any():
            raise ConfigError(
                "no lesion has a whole sequence any more",
                where=f"labels.refine_steps, step {self.step}",
                value=f"{int((types != UNKNOWN).sum())} lesions with a type",
                remedy="refine later, or with less confidence",
            )

    def validate(self) -> float:
        """Return the share of val lesions whose nearest is of their type."""
        own = (self.examples.types != UNKNOWN) & (self.examples.split == VAL)
        queries = np.flatnonzero(own & ~self.known.seeds)[:MOST_VALIDATED]
        if not len(queries):
            return math.nan
        rows = np.flatnonzero(own & self.known.seeds)
        rows = np.unique(np.concatenate([rows[:MOST_VALIDATED], queries]))
        labelled = self.labelled(rows)
        return float(answer(labelled, labelled.take(np.searchsorted(rows, queries)), vectors).top1.mean())

    def labelled(self, rows: Ints) -> Labelled:
        """Return lesions with published types, and their vectors."""
        return Labelled(self.embedded(rows), self.examples.types[rows])

    def embedded(self, rows: Ints) -> LesionArrays:
        """Return lesions with their vectors, as a store keeps them."""
        found = self.embed(rows).astype(np.float16).astype(np.float64)
        length = np.linalg.norm(found, axis=1, keepdims=True)
        return replace(self.examples.lesions.take(rows), embedding=found / np.where(length == 0, 1, length))

    def embed(self, rows: Ints) -> np.ndarray:
        """Return the vectors (n, d) of lesions, by the running mean of the weights.

        Raises:
            ConfigError: a vector is no vector of numbers.
        """
        return self._embed(self.examples, rows, self.cache)

    def embed_of(self, others: Examples) -> np.ndarray:
        """Return the vectors (n, d) of other examples, which are not kept in the cache."""
        return self._embed(others, np.arange(len(others)), ViewCache())

    def _embed(self, examples: Examples, rows: Ints, cache: ViewCache) -> np.ndarray:
        self.mean.eval()
        parts = [torch.zeros(0, self.dimensions)]
        with torch.inference_mode():
            for start in range(0, len(rows), EMBEDDED_AT_ONCE):
                some = rows[start : start + EMBEDDED_AT_ONCE]
                crops = plain_crops(examples, cache, some, self.config.input).to(self.device)
                boxes = torch.from_numpy(examples.boxes[some]).to(self.device)
                parts.append(self.mean(crops, boxes).cpu())
        return self.checked(torch.cat(parts[1:] or parts).numpy())
