"""The serial executor: one task after the other in this process; the reference for every other executor."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from etl.run.protocol import RETRIES, ExecutionStats, Items, Queue, run_error

Item = TypeVar("Item")
Result = TypeVar("Result")


class SerialExecutor:
    """Runs one task after the other; see `etl.run.protocol.Executor`.

    Args:
        retries: attempts after the first at a task that raises OSError or MemoryError.
    """

    largest_task_bytes: int | None = None

    def __init__(self, retries: int = RETRIES) -> None:
        self._retries = retries
        self.stats = ExecutionStats(most_workers=1, most_threads=1)

    def execute(self, queue: Queue) -> Generator[Any, None, None]:
        """Run all tasks; yield their results."""
        while (task := queue.take()) is not None:
            for attempt in range(self._retries + 1):
                self.stats.retries += attempt > 0
                start = time.monotonic()
                try:
                    result = task.function(task.argument)
                except (OSError, MemoryError) as error:
                    if attempt == self._retries:
                        raise run_error(task.name, error) from error
                else:
                    self.stats.add(task.name, time.monotonic() - start)
                    queue.finish(task, result)
                    yield result
                    break

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yield the results in order."""
        return self.execute(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in this process; return the result by the host's name."""
        return {socket.gethostname(): function()}

    @contextlib.contextmanager
    def profiled(self, keep: Callable[[bytes], None]) -> Iterator[None]:
        """Do nothing: only a Dask scheduler makes a performance report."""
        yield
