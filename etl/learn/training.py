"""The training of a regressor: its data, its loss and its validation; the loop is `etl.learn.loop`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from etl.core.errors import ConfigError
from etl.derive.position_measures import mean_spearman
from etl.learn.backbone import load_lite0
from etl.learn.batches import is_long_enough, make_batch, plain
from etl.learn.loop import ALONE, Loop
from etl.learn.losses import anchor_loss, distance_loss, order_loss
from etl.learn.nets import NETS
from etl.learn.processes import Processes
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import TRAIN, VAL, Series, ViewCache

SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class Point:
    """One point of the curves: means since the last one, and the validation if there was one.

    Attributes:
        spearman: of scores and positions, mean over the val series; NaN where it was not measured.
    """

    step: int
    loss: float
    anchor: float
    rate: float
    spearman: float


class Training(Loop):
    """One training of a regressor.

    Attributes:
        line: scale and shift from scores to published z, trained with the anchor.
    """

    point, noted = Point, 2

    def __init__(
        self,
        config: RegressorConfig,
        series: Sequence[Series],
        device: str = "cpu",
        processes: Processes = ALONE,
    ) -> None:
        """Raise ConfigError where no training series is long enough."""
        super().__init__(config, device, processes)
        self.config, self.series = config, series
        self.train_series = [
            one for one in series if one.split == TRAIN and is_long_enough(one.mm, config.loss)
        ]
        self.val_series = [one for one in series if one.split == VAL and len(one.mm) > 2]
        if not self.train_series:
            raise ConfigError(
                "no series can be trained on",
                where="data",
                value=f"{len(series)} series",
                allowed=f"train series long enough for the loss {config.loss}",
            )
        self.cache = ViewCache(config.data.cache)
        line = nn.Parameter(torch.tensor([0.05, 0.5]))
        self.start(NETS[config.net], {"line": line}, self._load)

    @property
    def line(self) -> torch.Tensor:
        return self.held["line"]

    def _load(self, net: nn.Module) -> None:
        if self.config.weights is not None:
            load_lite0(net, self.config.weights)

    def data_identity(self) -> Any:
        return [one.identity for one in self.series]

    def losses(self, random: np.random.Generator) -> tuple[torch.Tensor, Sequence[float]]:
        config = self.config
        batch = make_batch(
            self.train_series,
            self.cache,
            config.loss,
            config.series,
            config.input,
            config.augment,
            random,
            with_anchors=config.anchor > 0,
        )
        count, n = batch.mm.shape
        planes = torch.cat([batch.slices.flatten(0, 1), batch.anchors])[:, None].to(self.device)
        scores = self.net(planes)
        of_series, of_anchors = scores[: count * n].view(count, n), scores[count * n :]
        if config.loss == "order":
            loss = order_loss(of_series)
        else:
            loss = distance_loss(of_series, batch.mm.to(self.device))
        anchor = anchor_loss(of_anchors, batch.norm_z.to(self.device), self.line[0], self.line[1])
        total = loss + config.anchor * anchor if len(of_anchors) else loss
        return total, [float(loss.detach()), float(anchor.detach()) if len(of_anchors) else 0.0]

    def validate(self) -> float:
        """Return the mean of Spearman's correlation of scores and positions over the val series.

        A series of equal scores counts as 0.
        """
        return mean_spearman((one.mm, self.score(self.cache.of(one))) for one in self.val_series)[0]

    def score(self, hu: np.ndarray) -> np.ndarray:
        """Return the score of each slice (n, pixels, pixels), by the running mean of the weights.

        Raises:
            ConfigError: a score is no number.
        """
        self.mean.eval()
        planes = plain(hu, self.config.input)[:, None]
        with torch.inference_mode():
            parts = [self.mean(part.to(self.device)).cpu() for part in planes.split(SCORED_AT_ONCE)]
        return self.checked(torch.cat(parts).numpy() if parts else np.zeros(0, np.float32))
