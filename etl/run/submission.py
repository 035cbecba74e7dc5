"""Tasks on their way to the scheduler, together in one message: each costs about what a short task does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dask.base import annotate
from distributed import Client, Future
from distributed.protocol import pickle

from etl.run.connection import SAME_IN_WORKERS
from etl.run.protocol import Task
from etl.run.worker_calls import call, packed, versions_of
from etl.run.worker_memory import MEMORY

# Transient faults of a disk or a network pass within a retry or two; what fails more often is reported.
RETRIES = 2


class Submission:
    """Submits tasks.

    Args:
        asks_memory: workers declare their memory, so tasks ask for what they need.
    """

    def __init__(self, client: Client, asks_memory: bool) -> None:
        self._client, self._asks_memory = client, asks_memory
        self._versions = versions_of(SAME_IN_WORKERS)
        # Packed once: a converter that names all archives would be most of what a task costs the scheduler.
        self._functions: dict[int, tuple[Callable[[Any], Any], bytes]] = {}

    def submit(self, tasks: Mapping[str, Task]) -> dict[str, Future[Any]]:
        """Submit tasks by their keys; their futures by the same keys."""
        futures: dict[str, Future[Any]] = {}
        for is_transfer in (True, False):
            keys = [key for key, task in tasks.items() if task.is_transfer is is_transfer]
            if keys:
                futures |= zip(
                    keys, self._submit(keys, [tasks[key] for key in keys], is_transfer), strict=True
                )
        return futures

    def _submit(self, keys: list[str], tasks: list[Task], is_transfer: bool) -> list[Future[Any]]:
        sizes = [task.memory_bytes for task in tasks]
        asked = {key: {MEMORY: size} if size else {} for key, size in zip(keys, sizes, strict=True)}
        # The scheduler asks for each task's; it need not have this package.
        with annotate(**{"resources": asked.__getitem__} if self._asks_memory else {}):
            return self._client.map(
                call,
                [is_transfer] * len(tasks),
                [self._packed(task.function) for task in tasks],
                [pickle.dumps(task.argument) for task in tasks],
                key=keys,
                pure=False,
                retries=RETRIES,
                # Before what waits for a core already: a transfer takes none.
                priority=int(is_transfer),
            )

    def _packed(self, function: Callable[[Any], Any]) -> bytes:
        if id(function) not in self._functions:
            self._functions[id(function)] = function, packed(function, self._versions)
        return self._functions[id(function)][1]
