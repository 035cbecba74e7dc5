"""The training of a regressor: steps, checkpoints and validation.

Every random choice comes from (seed, step), so a training that is stopped and resumed gives, byte for byte,
the weights of one that was not; on one machine with one number of threads, on a CPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save
from torch import nn

from etl.core.errors import ConfigError
from etl.derive.position_measures import spearman
from etl.derive.volume_table import digest_of
from etl.learn.backbone import load_lite0
from etl.learn.batches import is_long_enough, make_batch, plain, random_of
from etl.learn.losses import anchor_loss, distance_loss, order_loss
from etl.learn.nets import NETS
from etl.learn.regressor_config import RegressorConfig
from etl.learn.series import TRAIN, VAL, Series, ViewCache

WARM_STEPS = 100
SCORED_AT_ONCE = 64
CHECKPOINT = "checkpoint.safetensors"


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


@dataclass(eq=False)
class Training:
    """One training: nets, optimizer, and the number of steps made.

    Attributes:
        net: the net that is trained.
        mean: the running mean of its weights, which is kept as the model.
        line: scale and shift from scores to published z, trained with the anchor.
        curve: points of all steps so far.
    """

    config: RegressorConfig
    series: Sequence[Series]
    device: str = "cpu"
    step: int = 0
    curve: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise ConfigError where no training series is long enough."""
        config = self.config
        self.train_series = [
            one for one in self.series if one.split == TRAIN and is_long_enough(one.mm, config.loss)
        ]
        self.val_series = [one for one in self.series if one.split == VAL and len(one.mm) > 2]
        if not self.train_series:
            raise ConfigError(
                "no series can be trained on",
                where="data",
                value=f"{len(self.series)} series",
                allowed=f"train series long enough for the loss {config.loss}",
            )
        self.cache = ViewCache(config.data.cache)
        torch.manual_seed(config.seed)
        self.net, self.mean = NETS[config.net](), NETS[config.net]()
        if config.weights is not None:
            load_lite0(self.net, config.weights)
        self.mean.load_state_dict(self.net.state_dict())
        self.net.to(self.device)
        self.mean.to(self.device).requires_grad_(False)
        self.line = nn.Parameter(torch.tensor([0.05, 0.5], device=self.device))
        learned = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {"params": learned, "weight_decay": config.decay},
            {"params": [self.line], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, foreach=False)
        self._sums = [0.0, 0.0, 0]

    @property
    def identity(self) -> str:
        """16 hexadecimal digits over config and data; a checkpoint of another identity is not resumed."""
        config = self.config.model_dump(mode="json", exclude={"work", "checkpoint_steps"})
        data = [[one.name, one.patient, one.split, len(one.mm)] for one in self.series]
        return digest_of([config, data])

    def rate(self) -> float:
        """Return the learning rate of the next step: a short rise, then half a cosine to zero."""
        done = self.step / self.config.steps
        rise = min((self.step + 1) / WARM_STEPS, 1.0)
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * done))

    def run(
        self, until: int, on_step: Callable[[Training, float], None] = lambda training, loss: None
    ) -> None:
        """Make steps up to number `until`; write checkpoints if the config's work folder is set."""
        while self.step < min(until, self.config.steps):
            loss = self._make_step()
            on_step(self, loss)
            if self.step % self.config.checkpoint_steps == 0 or self.step == self.config.steps:
                self.save()
        self.save()

    def _make_step(self) -> float:
        config, random = self.config, random_of(self.config.seed, self.step)
        torch.manual_seed(int(random.integers(2**62)))
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
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.net.train()
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
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        self._note(float(loss.detach()), float(anchor.detach()) if len(of_anchors) else 0.0, rate)
        return float(total.detach())

    def _average(self) -> None:
        share = min(self.config.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, own in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(own, 1 - share)

    def _note(self, loss: float, anchor: float, rate: float) -> None:
        self._sums = [self._sums[0] + loss, self._sums[1] + anchor, self._sums[2] + 1]
        if self.step % self.config.validate_steps and self.step != self.config.steps:
            return
        loss_sum, anchor_sum, count = self._sums
        self.curve.append(Point(self.step, loss_sum / count, anchor_sum / count, rate, self.validate()))
        self._sums = [0.0, 0.0, 0]

    def validate(self) -> float:
        """Return the mean of Spearman's correlation of scores and positions over the val series."""
        found = [spearman(one.mm, self.score(self.cache.of(one))) for one in self.val_series]
        return float(np.mean(found)) if found else math.nan

    def score(self, hu: np.ndarray) -> np.ndarray:
        """Return the score of each slice (n, pixels, pixels), by the running mean of the weights."""
        self.mean.eval()
        planes = plain(hu, self.config.input)[:, None]
        with torch.inference_mode():
            parts = [self.mean(part.to(self.device)).cpu() for part in planes.split(SCORED_AT_ONCE)]
        scores: np.ndarray = torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)
        return scores

    @property
    def folder(self) -> Path:
        """The folder of this training's checkpoint and curves."""
        return Path(self.config.work) / self.identity

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{CHECKPOINT}.partial"
        partial.write_bytes(self.state_bytes())
        partial.replace(self.folder / CHECKPOINT)

    def state_bytes(self) -> bytes:
        """Return all that the next step depends on; equal bytes for equal states, and nothing pickled."""
        tensors = {"line": self.line.detach()}
        for name, net in (("net", self.net), ("mean", self.mean)):
            tensors |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
        arrays = {key: np.ascontiguousarray(value.cpu().numpy()) for key, value in tensors.items()}
        curve = [[None if math.isnan(v) else v for v in vars(point).values()] for point in self.curve]
        state = {"identity": self.identity, "step": self.step, "sums": self._sums, "curve": curve}
        return save(arrays, metadata={"training": json.dumps(state)})

    def resume(self) -> bool:
        """Continue from the checkpoint of the same config and data; return False where there is none.

        Raises:
            ConfigError: the file is no checkpoint of this training.
        """
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt", device=self.device) as file:
                state: dict[str, Any] = json.loads(file.metadata()["training"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if state["identity"] != self.identity:
                raise ValueError(f"identity {state['identity']}")
            self.net.load_state_dict(_below(tensors, "net."))
            self.mean.load_state_dict(_below(tensors, "mean."))
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _below(tensors, "optimizer.").items():
                number, _, name = key.partition(".")
                moments.setdefault(int(number), {})[name] = value
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
            self.line.data.copy_(tensors["line"])
        except Exception as error:
            raise ConfigError(
                "this is no checkpoint of this training",
                where=str(path),
                value=f"{type(error).__name__}: {error}"[:200],
                remedy="delete it, and training begins again",
            ) from error
        self.step, self._sums = state["step"], state["sums"]
        self.curve = [
            Point(int(step), *(math.nan if v is None else v for v in values))
            for step, *values in state["curve"]
        ]
        return True


def _below(tensors: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
