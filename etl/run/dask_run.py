"""The run of one queue on a Dask cluster: a bounded window of futures, retries after lost workers.

Any task on a worker that dies may be the culprit. A task seen on several dead workers waits until no other
task is in flight and is rerun alone; if that worker dies too, the task has failed.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Client
from distributed.scheduler import KilledWorker

from etl.core.config import Limits
from etl.core.errors import RunError
from etl.run.connection import scheduler_calls, wait_until_idle
from etl.run.in_flight import Attempt, InFlight, Outcome, OutcomeReader
from etl.run.protocol import RETRIES, ExecutionStats, FailureKind, Queue, Task, TaskFailure, run_error
from etl.run.signals import deferred_interrupt
from etl.run.worker import TASK_TOPIC
from etl.run.worker_watch import WorkerWatch

logger = logging.getLogger(__name__)

# Dask's topic for workers that join and leave.
WORKER_TOPIC = "all"
# Start of an event's cause if a worker, not the cluster, asked to be retired.
RETIRED_BY_ITSELF = "worker-close-gracefully"


@dataclass(frozen=True)
class Tuning:
    """Sizes and times of the Dask executor.

    Attributes:
        window_per_thread: futures in flight for each thread: enough that no worker waits for the driver, few
            enough that the scheduler's memory does not grow with the release.
        poll_s: interval between two checks for hung tasks and lost workers.
        restart_s: time limit for the restart of a worker.
        first_warning_s: time without workers before the first warning.
    """

    window_per_thread: int = 8
    poll_s: float = 1.0
    restart_s: float = 10.0
    first_warning_s: float = 3.0


DEFAULT_TUNING = Tuning()


class DaskRun:
    """Runs the tasks of one queue.

    Args:
        asks_memory: tasks request their memory as a Dask resource, which all workers declare.
        stats: statistics to update.
    """

    def __init__(
        self,
        client: Client,
        tasks: Queue,
        limits: Limits,
        stats: ExecutionStats,
        *,
        asks_memory: bool,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        self._client, self._queue, self._limits = client, tasks, limits
        self._stats, self._tuning = stats, tuning
        # Outcomes of tasks, and events of the scheduler.
        self._inbox: queue.SimpleQueue[list[Outcome] | Mapping[str, Any]] = queue.SimpleQueue()
        self._outcomes = OutcomeReader(client, self._inbox.put)
        self._in_flight = InFlight(client, asks_memory, self._outcomes.add)
        self._deaths: Counter[Task] = Counter()
        self._timeouts: Counter[Task] = Counter()
        self._suspects: deque[Task] = deque()
        self._alone: Task | None = None
        # Workers whose end is no task's fault.
        self._excused: set[str] = set()
        self._watch = WorkerWatch(
            client,
            limits.wait_for_workers_s,
            first_warning_s=tuning.first_warning_s,
            poll_s=tuning.poll_s,
        )
        self._window = 0
        self._last_poll_s = time.monotonic()

    def results(self) -> Generator[Any, None, None]:
        """Run all tasks; yield their results in completion order."""
        try:
            with deferred_interrupt():
                with scheduler_calls(self._client):
                    for topic in (WORKER_TOPIC, TASK_TOPIC):
                        self._client.subscribe_topic(topic, lambda event: self._inbox.put(event[1]))
                self._resize_window()
                self._fill()
                self._in_flight.send()
            while self._in_flight:
                message = self._next()
                for outcome in message if isinstance(message, list) else ():
                    with deferred_interrupt():
                        results = list(self._take_outcome(outcome))
                        self._fill()
                    yield from results
                with deferred_interrupt():
                    if isinstance(message, Mapping):
                        self._take_event(message)
                    self._poll()
                    self._fill()
                    self._in_flight.send()
        finally:
            if self._in_flight:
                with deferred_interrupt():
                    self._in_flight.cancel()
            self._outcomes.close()
            # A scheduler that ends logs an error for each client that is still subscribed.
            for topic in (WORKER_TOPIC, TASK_TOPIC):
                with contextlib.suppress(RunError), scheduler_calls(self._client):
                    self._client.unsubscribe_topic(topic)

    def _next(self) -> list[Outcome] | Mapping[str, Any] | None:
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=self._tuning.poll_s)
        return None

    def _fill(self) -> None:
        if self._alone is not None:
            return
        while (task := self._queue.take(has_core=self._in_flight.computing < self._window)) is not None:
            self._in_flight.begin(task)
        if self._suspects and not self._in_flight:
            # Cancelled tasks that still run could kill the worker of the task rerun alone.
            wait_until_idle(self._client, self._in_flight.run_id, self._limits.volume_timeout_s)
            self._alone = self._suspects.popleft()
            logger.info("%s is rerun alone: it was on workers that died", self._alone.name)
            self._in_flight.begin(self._alone)

    def _take_outcome(self, outcome: Outcome) -> Iterator[Any]:
        attempt = self._in_flight.get(outcome.key)
        if attempt is None:
            return
        task = attempt.task
        try:
            done = outcome.result()
        except KilledWorker as error:
            # The scheduler's own limit of deaths was reached first.
            self._deaths[task] = max(self._deaths[task], error.allowed_failures + 1)
            self._suspect(attempt)
            return
        except (OSError, MemoryError) as error:
            raise run_error(task.name, error) from error
        self._in_flight.remove(attempt)
        self._end_alone(attempt)
        self._stats.add(task.name, done.seconds)
        self._queue.finish(task, done.result)
        self._drop_withdrawn()
        yield done.result

    def _drop_withdrawn(self) -> None:
        withdrawn = set(self._queue.withdraw())
        if not withdrawn:
            return
        for attempt in self._in_flight:
            if attempt.task in withdrawn:
                self._drop(attempt)
        self._suspects = deque(task for task in self._suspects if task not in withdrawn)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if "action" in event:
            self._take_worker_event(event)
        elif (attempt := self._in_flight.get(event.get("key", ""))) is None:
            return
        elif "seconds" in event:
            attempt.worker, attempt.started_s = event["worker"], time.monotonic() - event["seconds"]
        else:
            attempt.started_s = None
            attempt.failures += 1
            # No retry follows the last failure.
            self._stats.retries += attempt.failures <= RETRIES

    def _take_worker_event(self, event: Mapping[str, Any]) -> None:
        # At the end of its lifetime a worker leaves even if no other worker can take over its results.
        if event["action"] == "retire-workers" and event["stimulus_id"].startswith(RETIRED_BY_ITSELF):
            self._excused.update(event["could-not-retire"])
        if event["action"] not in ("add-worker", "remove-worker"):
            return
        self._resize_window()
        if event["action"] == "add-worker":
            return
        is_death = not event["expected"] and event["worker"] not in self._excused
        self._stats.worker_deaths += is_death
        for key in event["processing-tasks"]:
            attempt = self._in_flight.get(key)
            if attempt is None:
                continue
            self._stats.retries += attempt.started_s is not None
            attempt.started_s = None
            if is_death:
                self._deaths[attempt.task] += 1
                most = 1 if attempt.task is self._alone else self._limits.worker_deaths - 1
                if self._deaths[attempt.task] >= most:
                    self._suspect(attempt)

    def _suspect(self, attempt: Attempt) -> None:
        """Schedule a task to be rerun alone; fail it if it was alone already."""
        task, was_alone = attempt.task, attempt.task is self._alone
        self._drop(attempt)
        if not was_alone:
            self._suspects.append(task)
            return
        deaths = self._deaths[task]
        message = (
            f"its worker died {deaths} times, the last time with no other task on the cluster; "
            f"allowed: limits.worker_deaths = {self._limits.worker_deaths}"
        )
        self._fail(task, TaskFailure(FailureKind.KILLED, deaths, message))

    def _poll(self) -> None:
        """Look for hung tasks and lost workers, once per interval."""
        if time.monotonic() - self._last_poll_s >= self._tuning.poll_s and self._inbox.empty():
            self._last_poll_s = time.monotonic()
            self._watch.check()
            self._end_hung()

    def _end_hung(self) -> None:
        """Restart the worker of a task that exceeds the time limit: Python can't stop a thread."""
        now, limit_s = time.monotonic(), self._limits.volume_timeout_s
        for attempt in self._in_flight:
            task, started_s = attempt.task, attempt.started_s
            if task.is_transfer or started_s is None or now - started_s <= limit_s:
                continue
            logger.warning(
                "%s has run for %.0f s; restarting its worker %s", task.name, now - started_s, attempt.worker
            )
            self._drop(attempt)
            self._restart(attempt.worker)
            self._stats.timeouts += 1
            self._timeouts[task] += 1
            if self._timeouts[task] == 1:
                self._in_flight.begin(task)
            else:
                message = f"it did not end within limits.volume_timeout_s = {limit_s:g}, twice"
                self._fail(task, TaskFailure(FailureKind.TIMED_OUT, self._timeouts[task], message))
            return  # other tasks may have ended during the restart

    def _restart(self, worker: str) -> None:
        self._excused.add(worker)
        try:
            self._client.restart_workers([worker], timeout=self._tuning.restart_s, raise_for_error=False)
        except ValueError:  # it has no nanny
            with scheduler_calls(self._client):
                self._client.retire_workers([worker])
        except (OSError, KeyError) as error:  # it has left, or the time limit was reached
            logger.warning("worker %s could not be restarted: %r", worker, error)

    def _fail(self, task: Task, failure: TaskFailure) -> None:
        if not self._queue.fail(task, failure):
            raise run_error(task.name, failure.message)
        logger.warning("%s has failed: %s", task.name, failure.message)

    def _drop(self, attempt: Attempt) -> None:
        self._in_flight.drop(attempt)
        self._end_alone(attempt)

    def _end_alone(self, attempt: Attempt) -> None:
        if attempt.task is self._alone:
            self._alone = None

    def _resize_window(self) -> None:
        """Fit the window to the present number of threads."""
        # Without an answer the window would stay empty, and a run of no tasks looks like one that has ended.
        with scheduler_calls(self._client):
            threads = self._client.nthreads()
        self._window = self._tuning.window_per_thread * max(sum(threads.values()), 1)
        self._stats.add_size(len(threads), sum(threads.values()))
        self._watch.update(len(threads))
