"""Tasks in flight on a Dask cluster, from submission to outcome."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dask.base import annotate
from distributed import Client, Future
from distributed.protocol import pickle

from etl.core.errors import RunError
from etl.run.connection import SAME_IN_WORKERS, is_loss, loss_error, scheduler_calls
from etl.run.protocol import RETRIES, Task
from etl.run.task_memory import MEMORY
from etl.run.worker import Done, call, packed, versions_of


@dataclass(eq=False)
class Attempt:
    """A task in flight.

    Attributes:
        future: None until it is submitted.
        failures: attempts that raised an error so far.
        worker: address of the worker that last reported the task.
        started_s: start on that worker, by time.monotonic(); None if unknown.
    """

    key: str
    task: Task
    future: Future[Any] | None = None
    failures: int = 0
    worker: str = ""
    started_s: float | None = None


class InFlight:
    """The tasks in flight. Tasks begun together are submitted in one message.

    Args:
        asks_memory: tasks request their memory as a Dask resource, which all workers declare.
        follow: called with each task's future.

    Attributes:
        run_id: part of all task keys.
        computing: number of tasks that are not transfers.
    """

    def __init__(self, client: Client, asks_memory: bool, follow: Callable[[Future[Any]], None]) -> None:
        self._client, self._asks_memory, self._follow = client, asks_memory, follow
        self._versions = versions_of(SAME_IN_WORKERS)
        # Pickled once: a function that names all archives costs more than the rest of a task's message.
        self._functions: dict[int, tuple[Callable[[Any], Any], bytes]] = {}
        self._attempts: dict[str, Attempt] = {}
        self._unsent: list[Attempt] = []
        self._numbers = itertools.count()
        self.run_id = uuid.uuid4().hex[:8]
        self.computing = 0

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        """Iterate over a copy: attempts may be dropped meanwhile."""
        return iter(list(self._attempts.values()))

    def get(self, key: str) -> Attempt | None:
        """Return the attempt with this key; None if it is not in flight."""
        return self._attempts.get(key)

    def begin(self, task: Task) -> None:
        """Add a task; the next `send` submits it."""
        attempt = Attempt(f"{task.name}-{self.run_id}-{next(self._numbers)}", task)
        self._attempts[attempt.key] = attempt
        self._unsent.append(attempt)
        self.computing += not task.is_transfer

    def send(self) -> None:
        """Submit the tasks begun since the last call."""
        unsent, self._unsent = self._unsent, []
        for is_transfer in (True, False):
            batch = [attempt for attempt in unsent if attempt.task.is_transfer is is_transfer]
            if batch:
                with scheduler_calls(self._client):
                    self._submit(batch, is_transfer)

    def _submit(self, batch: Sequence[Attempt], is_transfer: bool) -> None:
        tasks = [attempt.task for attempt in batch]
        asked = {a.key: {MEMORY: a.task.memory_bytes} if a.task.memory_bytes else {} for a in batch}
        # Dask calls `asked` here, not in the scheduler, which need not have this package.
        with annotate(**{"resources": asked.__getitem__} if self._asks_memory else {}):
            futures = self._client.map(
                call,
                [is_transfer] * len(batch),
                [self._packed(task.function) for task in tasks],
                [pickle.dumps(task.argument) for task in tasks],
                key=[attempt.key for attempt in batch],
                pure=False,
                retries=RETRIES,
                # A transfer takes no core, so it need not queue behind tasks that wait for one.
                priority=int(is_transfer),
            )
        for attempt, future in zip(batch, futures, strict=True):
            attempt.future = future
            self._follow(future)

    def _packed(self, function: Callable[[Any], Any]) -> bytes:
        if id(function) not in self._functions:
            self._functions[id(function)] = function, packed(function, self._versions)
        return self._functions[id(function)][1]

    def remove(self, attempt: Attempt) -> None:
        """Remove an attempt whose result has arrived."""
        del self._attempts[attempt.key]
        self._unsent = [other for other in self._unsent if other is not attempt]
        self.computing -= not attempt.task.is_transfer

    def drop(self, attempt: Attempt) -> None:
        """Remove an attempt and cancel it."""
        self.remove(attempt)
        self._cancel([attempt.future] if attempt.future is not None else [])

    def cancel(self) -> None:
        """Cancel all attempts; a lost scheduler has none any more."""
        futures = [attempt.future for attempt in self._attempts.values() if attempt.future is not None]
        with contextlib.suppress(RunError):
            self._cancel(futures)

    def _cancel(self, futures: Sequence[Future[Any]]) -> None:
        if futures:
            with scheduler_calls(self._client):
                self._client.cancel(futures)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a submitted task, or the error it ended with."""

    key: str
    done: Done | None
    error: BaseException | None = None

    @classmethod
    def of(cls, future: Future[Any]) -> Outcome:
        try:
            return cls(str(future.key), future.result())
        except BaseException as error:
            # The task may have raised an OSError of its own; Dask's come from a future without an error.
            if future.status != "error" and is_loss(future.client, error):
                error = loss_error(error)
            return cls(str(future.key), None, error)

    def result(self) -> Done:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.done is not None  # an outcome has one of the two
        return self.done


class OutcomeReader:
    """Reads outcomes in a thread of its own: the result of a worker that has just died takes long to fail.

    Args:
        take: called in that thread with outcomes in completion order. Their results are released already.
        batch_s: outcomes that arrive within this time are read in one message.
    """

    def __init__(self, client: Client, take: Callable[[list[Outcome]], None], batch_s: float = 0.01) -> None:
        self._client, self._take, self._batch_s = client, take, batch_s
        self._done: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._loop, name="outcomes", daemon=True).start()

    def add(self, future: Future[Any]) -> None:
        """Read the outcome of a future once it is done."""
        future.add_done_callback(self._done.put)

    def close(self) -> None:
        """Stop reading."""
        self._done.put(None)

    def _loop(self) -> None:
        while (first := self._done.get()) is not None:
            time.sleep(self._batch_s)
            batch: list[Future[Any] | None] = [first]
            with contextlib.suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self._done.get_nowait())
            self._take(self._outcomes([future for future in batch if future is not None]))
            if batch[-1] is None:
                return

    def _outcomes(self, futures: Sequence[Future[Any]]) -> list[Outcome]:
        try:
            # One round trip for all: one for each would be most of what a short task costs.
            results = self._client.gather(futures)
        except BaseException:  # one of them failed; reading them one by one shows which
            outcomes = list(map(Outcome.of, futures))
        else:
            outcomes = [Outcome(str(f.key), one) for f, one in zip(futures, results, strict=True)]
        done = [future for future, outcome in zip(futures, outcomes, strict=True) if outcome.error is None]
        loop = self._client.loop
        assert loop is not None  # the client is connected
        # Futures are released in the event loop; from here each release would cross threads by itself.
        loop.add_callback(_release, done)
        return outcomes


def _release(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.release()
