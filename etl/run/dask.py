"""The Dask executor: tasks on the workers of a cluster."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future, get_worker, performance_report
from distributed.scheduler import KilledWorker

from etl.core.config import Limits
from etl.core.errors import RunError
from etl.run.connection import scheduler_calls
from etl.run.dask_run import DEFAULT_TUNING, DaskRun, Tuning
from etl.run.protocol import ExecutionStats, Items, Queue, run_error
from etl.run.signals import deferred_interrupt
from etl.run.task_memory import are_declared, largest_task_bytes
from etl.run.worker_watch import WorkerWatch

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

DEFAULT_LIMITS = Limits()
# Dask's report loads its icon from Dask's web site; the page has to work without a network.
ICON, NO_ICON = re.compile(rb'<link rel="shortcut icon"[^>]*>'), b'<link rel="icon" href="data:,">'


class DaskExecutor:
    """Runs tasks on a Dask cluster, a few for each thread at a time; see `etl.run.protocol.Executor`."""

    def __init__(
        self, client: Client, limits: Limits = DEFAULT_LIMITS, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self._client, self._limits, self._tuning = client, limits, tuning
        self.stats = ExecutionStats()
        with scheduler_calls(client):
            workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
        # An adaptive cluster may have no workers now; its next one declares what the others will.
        if not workers:
            workers = [self._on_first_worker(_declaration)]
        self._asks_memory = are_declared(workers)
        self.largest_task_bytes = largest_task_bytes(workers)
        if not self._asks_memory and any(worker["nthreads"] > 1 for worker in workers):
            logger.info(
                "the workers do not declare their memory (dask worker --resources memory=BYTES), so several "
                "threads of one worker may exceed it together"
            )

    def execute(self, queue: Queue) -> Generator[Any, None, None]:
        """Run all tasks; yield their results in completion order."""
        return DaskRun(
            self._client,
            queue,
            self._limits,
            self.stats,
            asks_memory=self._asks_memory,
            tuning=self._tuning,
        ).results()

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yield the results in completion order."""
        return self.execute(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every worker; return the results by the worker's address.

        Raises:
            RunError: there have been no workers for longer than limits.wait_for_workers_s, or the connection
                to the scheduler is lost.
            Exception: an error that the function raised in a worker.
        """
        with scheduler_calls(self._client):
            # Errors of the function come back as values; other errors belong to workers that leave meanwhile.
            answers = self._client.run(functools.partial(_answer, function), on_error="ignore")
        if not answers:
            answers = {"the first worker": self._on_first_worker(_answer, function)}
        for answer in answers.values():
            if isinstance(answer, _Raised):
                raise answer.error
        return answers

    def _on_first_worker(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function as a task: an adaptive cluster without workers starts one for tasks only."""
        with scheduler_calls(self._client):
            task: Future[Any] = self._client.submit(function, *arguments, pure=False)
        watch = WorkerWatch(
            self._client, self._limits.wait_for_workers_s, first_warning_s=self._tuning.first_warning_s
        )
        try:
            return watch.wait_for(task)
        except KilledWorker as error:
            raise run_error("the question to a first worker", error) from error
        finally:
            with contextlib.suppress(RunError), scheduler_calls(self._client):
                task.release()

    @contextlib.contextmanager
    def profiled(self, keep: Callable[[bytes], None]) -> Iterator[None]:
        """Pass Dask's performance report of the block to `keep`; no report after a Ctrl-C."""
        if importlib.util.find_spec("bokeh") is None:
            logger.info("no performance report: it needs pip install 'deeplesion-store[performance]'")
            yield
            return
        with tempfile.TemporaryDirectory() as folder, self._client.as_current():
            path = Path(folder, "report.html")
            report = performance_report(filename=str(path), mode="inline")
            with scheduler_calls(self._client):
                report.__enter__()
            try:
                yield
            except KeyboardInterrupt:
                raise
            except BaseException:
                self._end_report(report, path, keep)
                raise
            self._end_report(report, path, keep)

    def _end_report(self, report: performance_report, path: Path, keep: Callable[[bytes], None]) -> None:
        with deferred_interrupt():
            try:
                with scheduler_calls(self._client):
                    report.__exit__(None, None, None)
                keep(ICON.sub(NO_ICON, path.read_bytes()))
            except RunError as error:
                logger.warning("no performance report: %s", error.what)
            # The scheduler lacks bokeh, or the store can't be written.
            except (ImportError, OSError) as error:
                logger.warning("no performance report: %s", error)


def _declaration() -> dict[str, Any]:
    """Return the memory fields of `Client.scheduler_info` for the worker that runs this."""
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
