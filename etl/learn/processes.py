"""Processes that torchrun starts to train one model: each step takes the mean of their gradients."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Processes:
    """The place of this process among those of a training.

    Attributes:
        rank: number of this one; the first, 0, writes and prints.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def mean_gradients(self, parameters: Iterable[nn.Parameter | torch.Tensor]) -> None:
        """Replace gradients by their means over all processes; all steps are then alike."""
        grads = [values.grad for values in parameters if values.grad is not None]
        if self.count == 1 or not grads:
            return
        together = torch.cat([grad.flatten() for grad in grads])
        distributed.all_reduce(together)
        together /= self.count
        for grad, own in zip(grads, together.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(own.view_as(grad))

    def mean_values(self, values: Sequence[float]) -> list[float]:
        """Return numbers averaged over all processes."""
        if self.count == 1:
            return list(values)
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        together = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(together)
        return [float(value) for value in together / self.count]

    def share_buffers(self, net: nn.Module) -> None:
        """Replace what a net counts besides its weights by what the first process counted."""
        if self.count > 1:
            for values in net.buffers():
                distributed.broadcast(values, 0)

    def leave(self) -> None:
        """Wait for the others, and end their connection."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def join_processes(device: str) -> tuple[Processes, str]:
    """Connect with the other processes that torchrun started, if it did.

    Returns:
        This process's place, and its device: the one of its number on its machine where `device` is `cuda`.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return Processes(), device
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device
    if own.startswith("cuda"):
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.startswith("cuda") else "gloo")
    return Processes(distributed.get_rank(), count), own
