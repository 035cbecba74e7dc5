"""Memory that a worker has for tasks, and the Dask resource by which the scheduler accounts for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Memory of a worker process before its first task: the interpreter and the libraries.
WORKER_BYTES = 250 * 2**20
# Name of the resource: workers declare the bytes that they have for tasks, tasks request what they need.
MEMORY = "memory"
# A nanny kills a worker that reaches 95 % of its limit.
SHARE = 0.9


@dataclass(frozen=True)
class TaskMemory:
    """Memory that the largest worker has for one task, as far as it is known before the cluster works.

    Attributes:
        most_bytes: None without a limit, or if it is unknown.
        note: where the number comes from; without a number, why there is none.
        workers: how many a running scheduler has now; None if no scheduler was asked, or it has none.
    """

    most_bytes: int | None
    note: str
    workers: int | None = None


def task_bytes(memory_limit_bytes: float) -> int:
    """Return a worker's memory for tasks: its limit less a margin and less what an idle worker holds."""
    return max(int(SHARE * memory_limit_bytes) - WORKER_BYTES, 0)


def are_declared(workers: Iterable[Mapping[str, Any]]) -> bool:
    """Return True if all workers declare the resource. `workers` are those of `Client.scheduler_info`."""
    found = list(workers)
    return bool(found) and all(MEMORY in worker["resources"] for worker in found)


def largest_task_bytes(workers: Iterable[Mapping[str, Any]]) -> int | None:
    """Return the largest worker's memory for tasks; None if a worker has no limit, or there are none."""
    found = list(workers)
    if any(MEMORY not in worker["resources"] and not worker["memory_limit"] for worker in found):
        return None
    amounts = (worker["resources"].get(MEMORY) or task_bytes(worker["memory_limit"]) for worker in found)
    return max(map(int, amounts), default=None)
