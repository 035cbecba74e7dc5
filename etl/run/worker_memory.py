"""The memory that tasks may take on a worker, and the resource by which Dask keeps count of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# What a worker process holds before its first task: the interpreter and the libraries.
WORKER_BYTES = 250 * 2**20
# The resource's name: workers declare the bytes that they have for tasks, tasks ask for those that they need.
MEMORY = "memory"
# A nanny ends a worker that holds 95% of its limit.
SHARE = 0.9


@dataclass(frozen=True)
class TaskMemory:
    """What the largest worker has for one task, as far as it is known before any work.

    Attributes:
        most_bytes: None without a limit, or where it is not known.
        note: whose word that is; where there is no number, why.
    """

    most_bytes: int | None
    note: str


def task_bytes(memory_limit_bytes: float) -> int:
    """What a worker has for tasks: its limit, less a margin and what the empty worker holds."""
    return max(int(SHARE * memory_limit_bytes) - WORKER_BYTES, 0)


def are_declared(workers: Iterable[Mapping[str, Any]]) -> bool:
    """Do all workers declare the resource? `workers` are as `Client.scheduler_info` tells of them."""
    found = list(workers)
    return bool(found) and all(MEMORY in worker["resources"] for worker in found)


def largest_task_bytes(workers: Iterable[Mapping[str, Any]]) -> int | None:
    """What the largest worker has for tasks; None where one has no limit, or there is none."""
    found = list(workers)
    if any(MEMORY not in worker["resources"] and not worker["memory_limit"] for worker in found):
        return None
    amounts = (worker["resources"].get(MEMORY) or task_bytes(worker["memory_limit"]) for worker in found)
    return max(map(int, amounts), default=None)
