"""One work's tasks on a Dask cluster: a bounded window of futures, and what to do where workers are lost.

Whom to blame is not known when a worker dies: several tasks may have been on it. One that was on several dead
workers waits until nothing else is under way and runs alone; if it takes its worker down then, it was it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future
from distributed.client import ClosedClientError
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from etl.config import Limits
from etl.errors import RunError
from etl.memory import MEMORY
from etl.rejects import Reason
from etl.run.connection import SAME_IN_WORKERS
from etl.run.interrupts import deferred_interrupt
from etl.run.outcomes import Gathering, Outcome, failed
from etl.run.worker_calls import STARTED, call, executing, versions_of
from etl.tally import Tally
from etl.work import Task, Work

logger = logging.getLogger(__name__)

# Transient faults of a disk or a network pass within a retry or two; what fails more often is reported.
RETRIES = 2
# Futures in flight for each thread: enough that no worker waits for the driver, few enough that the
# scheduler's memory does not grow with the release.
WINDOW_PER_THREAD = 8
# Between two looks at how long tasks have been at work.
LOOK_SECONDS = 1.0
RESTART_SECONDS = 10
# Where the scheduler tells of workers that come and go.
EVERYTHING = "all"
# How the cause begins where a worker asks to be retired, not the cluster.
OF_ITSELF = "worker-close-gracefully"


@dataclass(eq=False)
class _Attempt:
    """A task that was submitted, and where and since when (time.monotonic) it is at work."""

    task: Task
    future: Future[Any]
    starts: int = 0
    worker: str = ""
    started_s: float | None = None


class DaskRun:
    """Does the tasks of one work.

    Args:
        asks_memory: workers declare their memory, so tasks ask for what they need.
        tally: what is taken into account of this run.
    """

    def __init__(self, client: Client, work: Work, limits: Limits, asks_memory: bool, tally: Tally) -> None:
        self._client, self._work, self._limits = client, work, limits
        self._asks_memory, self._tally = asks_memory, tally
        self._id = uuid.uuid4().hex[:8]
        self._versions = versions_of(SAME_IN_WORKERS)
        # What comes of tasks, and events of the scheduler.
        self._inbox: queue.SimpleQueue[Outcome | Mapping[str, Any]] = queue.SimpleQueue()
        self._gathering = Gathering(client, self._inbox.put)
        # Packed once: a converter that names all archives would be most of what a task costs the scheduler.
        self._functions: dict[int, tuple[Callable[[Any], Any], bytes]] = {}
        self._held: dict[str, _Attempt] = {}
        self._deaths: Counter[Task] = Counter()
        self._timeouts: Counter[Task] = Counter()
        self._suspects: deque[Task] = deque()
        self._alone: Task | None = None
        # Workers whose end no task is to blame for.
        self._excused: set[str] = set()
        self._window = 0
        self._last_look = time.monotonic()

    def results(self) -> Generator[Any, None, None]:
        """Do all tasks; yields their results in the order in which they come."""
        try:
            with deferred_interrupt():
                for topic in (EVERYTHING, STARTED):
                    self._client.subscribe_topic(topic, lambda event: self._inbox.put(event[1]))
                self._measure()
                self._fill()
            while self._held:
                message = self._next()
                with deferred_interrupt():
                    results = list(self._take(message))
                    self._end_hung()
                    self._fill()
                yield from results
        finally:
            if self._held:
                with deferred_interrupt():
                    self._client.cancel([attempt.future for attempt in self._held.values()])
            self._gathering.close()
            # Or the scheduler would tell this client of its own end, and complain that it does not listen.
            for topic in (EVERYTHING, STARTED):
                with contextlib.suppress(ClosedClientError):
                    self._client.unsubscribe_topic(topic)

    def _next(self) -> Outcome | Mapping[str, Any] | None:
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=LOOK_SECONDS)
        return None

    def _fill(self) -> None:
        if self._alone is not None:
            return
        computing = sum(not attempt.task.is_transfer for attempt in self._held.values())
        while (task := self._work.take(has_core=computing < self._window)) is not None:
            self._submit(task)
            computing += not task.is_transfer
        if self._suspects and not self._held:
            self._wait_until_quiet()
            self._alone = self._suspects.popleft()
            logger.info("%s runs alone: it was on workers that died", self._alone.name)
            self._submit(self._alone)

    def _submit(self, task: Task) -> None:
        key = f"{task.name}-{self._id}-{uuid.uuid4().hex[:8]}"
        future = self._client.submit(
            call,
            key,
            task.is_transfer,
            self._versions,
            self._packed(task.function),
            task.argument,
            key=key,
            pure=False,
            retries=RETRIES,
            # Before what waits for a core already: a transfer takes none.
            priority=int(task.is_transfer),
            resources={MEMORY: task.memory_bytes} if self._asks_memory and task.memory_bytes else None,
        )
        self._held[key] = _Attempt(task, future)
        self._gathering.add(future)

    def _packed(self, function: Callable[[Any], Any]) -> bytes:
        if id(function) not in self._functions:
            self._functions[id(function)] = function, pickle.dumps(function)
        return self._functions[id(function)][1]

    def _take(self, message: Outcome | Mapping[str, Any] | None) -> Iterator[Any]:
        if isinstance(message, Outcome):
            attempt = self._held.get(message.key)
            if attempt is not None:
                yield from self._take_outcome(attempt, message)
        elif message is not None:
            if "action" in message:
                self._take_change(message)
            elif (attempt := self._held.get(message.get("key", ""))) is not None:
                self._tally.retries += attempt.starts > 0
                attempt.starts += 1
                attempt.worker, attempt.started_s = message["worker"], time.monotonic()

    def _take_outcome(self, attempt: _Attempt, outcome: Outcome) -> Iterator[Any]:
        task = attempt.task
        try:
            done = outcome.result()
        except KilledWorker as error:
            # The scheduler has lost patience before us.
            self._deaths[task] = max(self._deaths[task], error.allowed_failures + 1)
            self._blame(attempt)
            return
        except (OSError, MemoryError) as error:
            raise failed(task.name, error) from error
        except CancelledError as error:
            raise RunError(
                "the connection to the scheduler was lost",
                value=str(error),
                remedy="finished volumes are kept; start the cluster anew, run the same again",
            ) from error
        self._forget(attempt)
        attempt.future.release()
        self._tally.add(task.name, done.seconds)
        self._work.give(task, done.result)
        self._withdraw()
        yield done.result

    def _withdraw(self) -> None:
        withdrawn = set(self._work.withdraw())
        for attempt in [attempt for attempt in self._held.values() if attempt.task in withdrawn]:
            self._drop(attempt)
        self._suspects = deque(task for task in self._suspects if task not in withdrawn)

    def _take_change(self, event: Mapping[str, Any]) -> None:
        """A worker came or went."""
        # Not retired, as no other can take its results; at the end of its lifetime it leaves all the same.
        if event["action"] == "retire-workers" and event["stimulus_id"].startswith(OF_ITSELF):
            self._excused.update(event["could-not-retire"])
        if event["action"] not in ("add-worker", "remove-worker"):
            return
        self._measure()
        if event["action"] == "add-worker":
            return
        is_death = not event["expected"] and event["worker"] not in self._excused
        self._tally.worker_deaths += is_death
        for key in event["processing-tasks"]:
            attempt = self._held.get(key)
            if attempt is None:
                continue
            attempt.started_s = None
            if is_death:
                self._deaths[attempt.task] += 1
                most = 1 if attempt.task is self._alone else self._limits.worker_deaths - 1
                if self._deaths[attempt.task] >= most:
                    self._blame(attempt)

    def _blame(self, attempt: _Attempt) -> None:
        """See whether the task takes its workers down; give it up where nothing else was beside it."""
        task, was_alone = attempt.task, attempt.task is self._alone
        self._drop(attempt)
        if was_alone:
            message = f"its worker died {self._deaths[task]} times, the last time with nothing beside it"
            allowed = f"limits.worker_deaths = {self._limits.worker_deaths}"
            self._give_up(task, Reason.VOLUME_KILLS_WORKER, f"{message}; allowed: {allowed}")
        else:
            self._suspects.append(task)

    def _end_hung(self) -> None:
        """Restart the workers of tasks that don't end: a thread can't be stopped."""
        now, limit_s = time.monotonic(), self._limits.volume_timeout_s
        if now - self._last_look < LOOK_SECONDS or not self._inbox.empty():
            return
        self._last_look = now
        for attempt in list(self._held.values()):
            task, started_s = attempt.task, attempt.started_s
            if task.is_transfer or started_s is None or now - started_s <= limit_s:
                continue
            logger.warning(
                "%s has been at work for %.0f s; its worker %s is restarted",
                task.name,
                now - started_s,
                attempt.worker,
            )
            self._drop(attempt)
            self._restart(attempt.worker)
            self._tally.timeouts += 1
            self._timeouts[task] += 1
            if self._timeouts[task] == 1:
                self._submit(task)
            else:
                message = f"it did not end within limits.volume_timeout_s = {limit_s:g}, twice"
                self._give_up(task, Reason.VOLUME_TIMED_OUT, message)
            return  # others may have ended while the worker was restarted

    def _restart(self, worker: str) -> None:
        self._excused.add(worker)
        try:
            self._client.restart_workers([worker], timeout=RESTART_SECONDS, raise_for_error=False)
        except ValueError:  # it has no nanny
            self._client.retire_workers([worker])
        except (OSError, KeyError) as error:  # it is gone, or too slow
            logger.warning("worker %s could not be restarted: %r", worker, error)

    def _give_up(self, task: Task, reason: Reason, message: str) -> None:
        if not self._work.refuse(task, reason, message):
            raise failed(task.name, message)
        logger.warning("%s is given up: %s", task.name, message)

    def _wait_until_quiet(self) -> None:
        """What was cancelled may be at work still, and take its worker down."""
        end = time.monotonic() + self._limits.volume_timeout_s
        while any(self._client.run(executing, self._id, on_error="ignore").values()):
            if time.monotonic() > end:
                break
            time.sleep(0.1)

    def _drop(self, attempt: _Attempt) -> None:
        self._forget(attempt)
        self._client.cancel([attempt.future])

    def _forget(self, attempt: _Attempt) -> None:
        del self._held[str(attempt.future.key)]
        if attempt.task is self._alone:
            self._alone = None

    def _measure(self) -> None:
        """Fit the window to the threads that there are now."""
        with contextlib.suppress(OSError):  # the scheduler is lost, which the futures tell
            threads = self._client.nthreads()
            self._window = WINDOW_PER_THREAD * max(sum(threads.values()), 1)
            self._tally.see_workers(len(threads), sum(threads.values()))
