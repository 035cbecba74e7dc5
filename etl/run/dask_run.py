"""One work's tasks on a Dask cluster: a bounded window of futures, and what to do where workers are lost.

Whom to blame is not known when a worker dies: several tasks may have been on it. One that was on several dead
workers waits until nothing else is under way and runs alone; if it takes its worker down then, it was it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from etl.core.config import Limits
from etl.core.errors import RunError
from etl.core.rejects import Reason
from etl.run.absence import Absence
from etl.run.at_work import AT_WORK
from etl.run.execution_stats import Tally
from etl.run.outcomes import Gathering, Outcome, failed
from etl.run.protocol import Task, Work
from etl.run.signals import deferred_interrupt
from etl.run.submission import RETRIES
from etl.run.under_way import Attempt, UnderWay
from etl.run.worker_calls import executing

logger = logging.getLogger(__name__)

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


class DaskRun:
    """Does the tasks of one work.

    Args:
        asks_memory: workers declare their memory, so tasks ask for what they need.
        tally: what is taken into account of this run.
    """

    def __init__(self, client: Client, work: Work, limits: Limits, asks_memory: bool, tally: Tally) -> None:
        self._client, self._work, self._limits, self._tally = client, work, limits, tally
        # What comes of tasks, and events of the scheduler.
        self._inbox: queue.SimpleQueue[list[Outcome] | Mapping[str, Any]] = queue.SimpleQueue()
        self._gathering = Gathering(client, self._inbox.put)
        self._held = UnderWay(client, asks_memory, self._gathering.add)
        self._deaths: Counter[Task] = Counter()
        self._timeouts: Counter[Task] = Counter()
        self._suspects: deque[Task] = deque()
        self._alone: Task | None = None
        # Workers whose end no task is to blame for.
        self._excused: set[str] = set()
        self._absence = Absence(client, limits.wait_for_workers_s)
        self._window = 0
        self._last_look = time.monotonic()

    def results(self) -> Generator[Any, None, None]:
        """Do all tasks; yields their results in the order in which they come."""
        try:
            with deferred_interrupt():
                for topic in (EVERYTHING, AT_WORK):
                    self._client.subscribe_topic(topic, lambda event: self._inbox.put(event[1]))
                self._measure()
                self._fill()
                self._held.send()
            while self._held:
                message = self._next()
                for outcome in message if isinstance(message, list) else ():
                    with deferred_interrupt():
                        results = list(self._take_outcome(outcome))
                        self._fill()
                    yield from results
                with deferred_interrupt():
                    if isinstance(message, Mapping):
                        self._take_event(message)
                    self._look()
                    self._fill()
                    self._held.send()
        finally:
            if self._held:
                with deferred_interrupt():
                    self._held.cancel()
            self._gathering.close()
            # Or the scheduler would tell this client of its own end, and complain that it does not listen.
            for topic in (EVERYTHING, AT_WORK):
                with contextlib.suppress(ClosedClientError):
                    self._client.unsubscribe_topic(topic)

    def _next(self) -> list[Outcome] | Mapping[str, Any] | None:
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=LOOK_SECONDS)
        return None

    def _fill(self) -> None:
        if self._alone is not None:
            return
        while (task := self._work.take(has_core=self._held.computing < self._window)) is not None:
            self._held.begin(task)
        if self._suspects and not self._held:
            self._wait_until_quiet()
            self._alone = self._suspects.popleft()
            logger.info("%s runs alone: it was on workers that died", self._alone.name)
            self._held.begin(self._alone)

    def _take_outcome(self, outcome: Outcome) -> Iterator[Any]:
        attempt = self._held.get(outcome.key)
        if attempt is None:
            return
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
        self._held.forget(attempt)
        self._end_alone(attempt)
        self._tally.add(task.name, done.seconds)
        self._work.give(task, done.result)
        self._withdraw()
        yield done.result

    def _withdraw(self) -> None:
        withdrawn = set(self._work.withdraw())
        if not withdrawn:
            return
        for attempt in self._held:
            if attempt.task in withdrawn:
                self._drop(attempt)
        self._suspects = deque(task for task in self._suspects if task not in withdrawn)

    def _take_event(self, event: Mapping[str, Any]) -> None:
        if "action" in event:
            self._take_change(event)
        elif (attempt := self._held.get(event.get("key", ""))) is None:
            return
        elif "seconds" in event:
            attempt.worker, attempt.started_s = event["worker"], time.monotonic() - event["seconds"]
        else:
            attempt.started_s = None
            attempt.failures += 1
            # After the last there is no other attempt.
            self._tally.retries += attempt.failures <= RETRIES

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
            self._tally.retries += attempt.started_s is not None
            attempt.started_s = None
            if is_death:
                self._deaths[attempt.task] += 1
                most = 1 if attempt.task is self._alone else self._limits.worker_deaths - 1
                if self._deaths[attempt.task] >= most:
                    self._blame(attempt)

    def _blame(self, attempt: Attempt) -> None:
        """See whether the task takes its workers down; give it up where nothing else was beside it."""
        task, was_alone = attempt.task, attempt.task is self._alone
        self._drop(attempt)
        if was_alone:
            message = f"its worker died {self._deaths[task]} times, the last time with nothing beside it"
            allowed = f"limits.worker_deaths = {self._limits.worker_deaths}"
            self._give_up(task, Reason.VOLUME_KILLS_WORKER, f"{message}; allowed: {allowed}")
        else:
            self._suspects.append(task)

    def _look(self) -> None:
        """Now and then: does anything wait in vain?"""
        if time.monotonic() - self._last_look >= LOOK_SECONDS and self._inbox.empty():
            self._last_look = time.monotonic()
            self._absence.check()
            self._end_hung()

    def _end_hung(self) -> None:
        """Restart the workers of tasks that don't end: a thread can't be stopped."""
        now, limit_s = time.monotonic(), self._limits.volume_timeout_s
        for attempt in self._held:
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
                self._held.begin(task)
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
        while any(self._client.run(executing, self._held.run_id, on_error="ignore").values()):
            if time.monotonic() > end:
                break
            time.sleep(0.1)

    def _drop(self, attempt: Attempt) -> None:
        self._held.drop(attempt)
        self._end_alone(attempt)

    def _end_alone(self, attempt: Attempt) -> None:
        if attempt.task is self._alone:
            self._alone = None

    def _measure(self) -> None:
        """Fit the window to the threads that there are now."""
        with contextlib.suppress(OSError):  # the scheduler is lost, which the futures tell
            threads = self._client.nthreads()
            self._window = WINDOW_PER_THREAD * max(sum(threads.values()), 1)
            self._tally.see_workers(len(threads), sum(threads.values()))
            self._absence.see(len(threads))
