"""The loop of every training: steps, a running mean of the weights, checkpoints and curves.

Every random choice comes from (seed, step), so a training that is stopped and resumed gives, byte for byte,
the weights of one that was not; on one machine with one number of threads, on a CPU.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save
from torch import nn

from etl.core.errors import ConfigError, RunError
from etl.derive.volume_table import digest_of
from etl.io.places import is_outage
from etl.learn.processes import Processes
from etl.learn.training_config import Schedule

ALONE = Processes()
WARM_STEPS = 100
CHECKPOINT = "checkpoint.safetensors"


def random_of(seed: int, step: int, rank: int = 0) -> np.random.Generator:
    """Return the generator of one step of one process; the same after any resume."""
    return np.random.default_rng([seed, step, rank] if rank else [seed, step])


def check_device(device: str) -> None:
    """Raise ConfigError where PyTorch has no such device here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            "PyTorch has no such device here",
            where="device",
            value=f"{device}: {error}"[:200],
            allowed="cpu, or one that torch.zeros(1, device=NAME) accepts",
        ) from error


class Loop(ABC):
    """One training: nets, optimizer, and the number of steps made.

    Attributes:
        net: the net that is trained.
        mean: the running mean of its weights, which is kept as the model.
        held: other tensors that the next step depends on, by name; those that need a gradient are trained.
        curve: points of all steps so far, each an instance of `point`.
        point: a frozen dataclass of the step, the means of what steps noted, the rate, and the validation.
        noted: how many numbers each step notes.
        processes: those that train together; each draws its own batch, and all make the same steps.
    """

    point: ClassVar[Callable[..., Any]]
    noted: ClassVar[int]
    net: nn.Module
    mean: nn.Module

    def __init__(self, config: Schedule, device: str, processes: Processes = ALONE) -> None:
        check_device(device)
        self.device, self.step, self.curve = device, 0, list[Any]()
        self.processes = processes
        self._loop = config
        self.held: dict[str, torch.Tensor] = {}
        self._sums = [*[0.0] * self.noted, 0]

    def start(
        self,
        make: Callable[[], nn.Module],
        held: Mapping[str, torch.Tensor],
        load: Callable[[nn.Module], None],
    ) -> None:
        """Make the nets by the seed, and the optimizer.

        Args:
            load: replaces weights of the net by others, or does nothing.
        """
        config = self._loop
        torch.manual_seed(config.seed)
        self.net, self.mean = make(), make()
        load(self.net)
        self.mean.load_state_dict(self.net.state_dict())
        self.net.to(self.device)
        self.mean.to(self.device).requires_grad_(False)
        self.held = {
            name: values.detach().to(self.device).requires_grad_(values.requires_grad)
            for name, values in held.items()
        }
        learned = [p for p in self.net.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": learned, "weight_decay": config.decay}]
        if others := [values for values in self.held.values() if values.requires_grad]:
            groups.append({"params": others, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, foreach=False)

    @abstractmethod
    def data_identity(self) -> Any:
        """Return a JSON value that tells the data of this training from that of others."""

    @abstractmethod
    def losses(self, random: np.random.Generator) -> tuple[torch.Tensor, Sequence[float]]:
        """Return the loss of the next step, and the numbers that it notes for the curves."""

    @abstractmethod
    def validate(self) -> float:
        """Return how good the running mean of the weights is on the val split; NaN without one."""

    def measure(self) -> float:
        """Return the measure of the val split of the last point."""
        return float(astuple(self.curve[-1])[-1])

    @property
    def identity(self) -> str:
        """16 hexadecimal digits over config and data; a checkpoint of another identity is not resumed."""
        config = self._loop.model_dump(mode="json", exclude={"work", "checkpoint_steps"})
        several = [self.processes.count] if self.processes.count > 1 else []
        return digest_of([config, self.data_identity(), *several])

    def rate(self) -> float:
        """Return the learning rate of the next step: a short rise, then half a cosine to zero."""
        done = self.step / self._loop.steps
        rise = min((self.step + 1) / WARM_STEPS, 1.0)
        return self._loop.rate * rise * 0.5 * (1 + math.cos(math.pi * done))

    def run(self, until: int, on_step: Callable[[Any, float], None] = lambda training, loss: None) -> None:
        """Make steps up to number `until`, and write checkpoints into the config's work folder.

        Raises:
            ConfigError: the loss, the weights or what they give are no numbers any more; the last checkpoint
                is kept.
        """
        while self.step < min(until, self._loop.steps):
            loss = self._make_step()
            on_step(self, loss)
            if self.step % self._loop.checkpoint_steps == 0 or self.step == self._loop.steps:
                self.save()
        self.save()

    def _make_step(self) -> float:
        random = random_of(self._loop.seed, self.step, self.processes.rank)
        torch.manual_seed(int(random.integers(2**62)))
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.net.train()
        total, noted = self.losses(random)
        self.optimizer.zero_grad()
        total.backward()
        self.processes.mean_gradients([*self.net.parameters(), *self.held.values()])
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.processes.share_buffers(self.net)
        self.step += 1
        self._average()
        loss, *noted = self.processes.mean_values([float(total.detach()), *noted])
        if not math.isfinite(loss):
            raise self._diverged("its loss is", f"loss {loss}")
        self._note(noted, rate)
        return loss

    def _diverged(self, what: str, value: str) -> ConfigError:
        return ConfigError(
            f"the training diverged: {what} no number any more",
            where=f"step {self.step}",
            value=f"{value}, rate {self._loop.rate}",
            allowed="a rate with which the loss and the model stay finite",
            remedy=f"train with a lower one, such as --set rate={self._loop.rate / 10:g}",
        )

    def checked(self, given: np.ndarray) -> np.ndarray:
        """Return what the running mean of the weights gives. Raises ConfigError where it is no number."""
        if not np.isfinite(given).all():
            raise self._diverged("what its model gives is", f"{1 - np.isfinite(given).mean():.0%} of it")
        return given

    def _average(self) -> None:
        share = min(self._loop.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, own in zip(self.mean.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(own, 1 - share)
            for mean, own in zip(self.mean.buffers(), self.net.buffers(), strict=True):
                mean.copy_(own)

    def _note(self, noted: Sequence[float], rate: float) -> None:
        *sums, count = self._sums
        sums, count = [a + b for a, b in zip(sums, noted, strict=True)], count + 1
        if self.step % self._loop.validate_steps and self.step != self._loop.steps:
            self._sums = [*sums, count]
            return
        self.curve.append(self.point(self.step, *(value / count for value in sums), rate, self.validate()))
        self._sums = [*[0.0] * self.noted, 0]

    @property
    def folder(self) -> Path:
        """The folder of this training's checkpoint and curves."""
        return Path(self._loop.work) / self.identity

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; of several processes the first one does.

        Raises:
            ConfigError: a weight is no number any more; the checkpoint before is kept.
        """
        strange = [name for name, values in self.mean.state_dict().items() if not values.isfinite().all()]
        if strange:
            raise self._diverged("a weight is", ", ".join(strange[:3]))
        if not self.processes.is_first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{CHECKPOINT}.partial"
        partial.write_bytes(self.state_bytes())
        partial.replace(self.folder / CHECKPOINT)

    def state_bytes(self) -> bytes:
        """Return all that the next step depends on; equal bytes for equal states, and nothing pickled."""
        tensors = {name: values.detach() for name, values in self.held.items()}
        for name, net in (("net", self.net), ("mean", self.mean)):
            tensors |= {f"{name}.{key}": value for key, value in net.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
        arrays = {key: np.ascontiguousarray(value.cpu().numpy()) for key, value in tensors.items()}
        curve = [[None if math.isnan(v) else v for v in astuple(point)] for point in self.curve]
        state = {"identity": self.identity, "step": self.step, "sums": self._sums, "curve": curve}
        return save(arrays, metadata={"training": json.dumps(state)})

    def resume(self) -> bool:
        """Continue from the checkpoint of the same config and data; return False where there is none.

        Raises:
            ConfigError: the file is no checkpoint of this training.
            RunError: it can't be read now.
        """
        path = self.folder / CHECKPOINT
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
            for name, values in self.held.items():
                values.data.copy_(tensors[name])
        except FileNotFoundError:
            return False
        except Exception as error:
            if is_outage(error) or isinstance(error, torch.OutOfMemoryError):
                raise RunError(
                    "the checkpoint can't be read now",
                    where=str(path),
                    value=f"{type(error).__name__}: {error}"[:200],
                    remedy="mend the cause (disk, permissions, memory) and run the same again: it continues",
                ) from error
            raise ConfigError(
                "this is no checkpoint of this training",
                where=str(path),
                value=f"{type(error).__name__}: {error}"[:200],
                remedy="delete it, and training begins again",
            ) from error
        self.step, self._sums = state["step"], state["sums"]
        self.curve = [
            self.point(int(step), *(math.nan if v is None else v for v in values))
            for step, *values in state["curve"]
        ]
        return True


def _below(tensors: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
