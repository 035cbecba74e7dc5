"""Where work is done: one task after the other here, or on a Dask cluster within a bounded window."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import re
import socket
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, get_worker, performance_report
from distributed.scheduler import KilledWorker

from etl.core.config import Limits
from etl.run.absence import Absence
from etl.run.dask_run import DaskRun
from etl.run.execution_stats import Tally
from etl.run.outcomes import failed
from etl.run.protocol import Items, Work
from etl.run.signals import deferred_interrupt
from etl.run.submission import RETRIES
from etl.run.worker_memory import are_declared, largest_task_bytes

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_LIMITS = Limits()
# Dask's page asks its own site for an icon: all that keeps it from doing without a network.
ICON, NO_ICON = re.compile(rb'<link rel="shortcut icon"[^>]*>'), b'<link rel="icon" href="data:,">'


class SerialExecutor:
    """One task after the other, in this process: the oracle of the others."""

    largest_task_bytes: int | None = None

    def __init__(self) -> None:
        self.tally = Tally(most_workers=1, most_threads=1)

    def work(self, work: Work) -> Generator[Any, None, None]:
        """Do all tasks; yields their results."""
        while (task := work.take()) is not None:
            for attempt in range(RETRIES + 1):
                self.tally.retries += attempt > 0
                start = time.monotonic()
                try:
                    result = task.function(task.argument)
                except (OSError, MemoryError) as error:
                    if attempt == RETRIES:
                        raise failed(task.name, error) from error
                else:
                    self.tally.add(task.name, time.monotonic() - start)
                    work.give(task, result)
                    yield result
                    break

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yields the results."""
        return self.work(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every process that does work: its result by the process's name."""
        return {socket.gethostname(): function()}

    @contextlib.contextmanager
    def profiled(self, keep: Callable[[bytes], None]) -> Iterator[None]:
        """Nothing: there is no scheduler whose report could be kept."""
        yield


class DaskExecutor:
    """Tasks on a Dask cluster, a few a thread at a time; results are taken and released as they come.

    Attributes:
        largest_task_bytes: what the largest worker has for tasks; None where that has no limit.
        tally: what was done so far.
    """

    def __init__(self, client: Client, limits: Limits = DEFAULT_LIMITS) -> None:
        self._client, self._limits, self.tally = client, limits, Tally()
        with deferred_interrupt():
            workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
        # An adaptive cluster has let all go since the first one came: what they declare, the next one says.
        if not workers:
            workers = [self._by_first_worker(_declaration)]
        self._asks_memory = are_declared(workers)
        self.largest_task_bytes = largest_task_bytes(workers)
        if not self._asks_memory and any(worker["nthreads"] > 1 for worker in workers):
            logger.info(
                "the workers do not declare their memory (dask worker --resources memory=BYTES): what their "
                "threads hold together is not looked at"
            )

    def work(self, work: Work) -> Generator[Any, None, None]:
        """Do all tasks; yields their results in the order in which they come."""
        return DaskRun(self._client, work, self._limits, self._asks_memory, self.tally).results()

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yields the results in the order in which they come."""
        return self.work(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every worker: its result by the worker's address.

        Raises:
            RunError: there has been no worker for too long.
            Exception: what the function raised in a worker.
        """
        with deferred_interrupt():
            # What else fails is the way to a worker that leaves meanwhile.
            answers = self._client.run(functools.partial(_answer, function), on_error="ignore")
        if not answers:
            answers = {"the first worker": self._by_first_worker(_answer, function)}
        for answer in answers.values():
            if isinstance(answer, _Raised):
                raise answer.error
        return answers

    def _by_first_worker(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """An adaptive cluster that has scaled down to nothing starts a worker for a task only."""
        with deferred_interrupt():
            task: Future[Any] = self._client.submit(function, *arguments, pure=False)
        try:
            return Absence(self._client, self._limits.wait_for_workers_s).wait_for(task)
        except (KilledWorker, CancelledError) as error:
            raise failed("what every worker is asked", error) from error
        finally:
            with deferred_interrupt():
                task.release()

    @contextlib.contextmanager
    def profiled(self, keep: Callable[[bytes], None]) -> Iterator[None]:
        """Keep Dask's performance report of the block, a page of HTML; none where it is interrupted."""
        if importlib.util.find_spec("bokeh") is None:
            logger.info("no performance report: it needs pip install 'deeplesion-store[performance]'")
            yield
            return
        with tempfile.TemporaryDirectory() as folder, self._client.as_current():
            path = Path(folder, "report.html")
            report = performance_report(filename=str(path), mode="inline")
            with deferred_interrupt():
                report.__enter__()
            try:
                yield
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._end_report(report, path, keep)
                raise
            self._end_report(report, path, keep)

    @staticmethod
    def _end_report(report: performance_report, path: Path, keep: Callable[[bytes], None]) -> None:
        with deferred_interrupt():
            try:
                report.__exit__(None, None, None)
                keep(ICON.sub(NO_ICON, path.read_bytes()))
            # The scheduler lacks bokeh or is lost, or the store can't be written.
            except (ImportError, OSError) as error:
                logger.warning("no performance report: %s", error)


def _declaration() -> dict[str, Any]:
    """What `Client.scheduler_info` tells of the worker that this runs on, as far as memory is concerned."""
    worker = get_worker()
    return {
        "nthreads": worker.state.nthreads,
        "memory_limit": worker.memory_manager.memory_limit,
        "resources": worker.state.total_resources,
    }


@dataclass(frozen=True)
class _Raised:
    error: Exception


def _answer(function: Callable[[], Result]) -> Result | _Raised:
    try:
        return function()
    except Exception as error:
        return _Raised(error)
