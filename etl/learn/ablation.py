"""The share of each loss: the same training with others, measured on the val split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from etl.learn.finish import measures_of
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import VAL, Series
from etl.learn.training import Training

LOSSES = ("order", "distance")
_SHOWN = ("spearman_within_series", "spearman", "mean_absolute_error")


def ablation(
    config: RegressorConfig,
    series: Sequence[Series],
    device: str = "cpu",
    run: Callable[[Training, int], None] = lambda training, until: training.run(until),
) -> Iterator[dict[str, Any]]:
    """Train with each loss, with the anchor and without, and yield how good each is on the val split.

    The anchor is left out where no series has a published z. Test patients are not scored. Every training is
    continued from its last checkpoint in the config's work folder; one is that of the config itself.

    Args:
        run: makes the steps of a training up to a number.
    """
    has_z = any(not np.isnan(one.norm_z).all() for one in series)
    for anchor in (0.0, config.anchor or 1.0) if has_z else (0.0,):
        for loss in LOSSES:
            variant = config.model_copy(update={"loss": loss, "anchor": anchor})
            training = Training(variant, series, device)
            training.resume()
            run(training, variant.steps)
            found = measures_of(training, VAL)
            yield {"loss": loss, "anchor": anchor, **{name: found.get(name) for name in _SHOWN}}
