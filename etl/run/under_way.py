"""The tasks of a work that are under way: begun, submitted, not yet given back."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future

from etl.run.protocol import Task
from etl.run.submission import Submission


@dataclass(eq=False)
class Attempt:
    """A task under way, and where and since when (time.monotonic) it is known to be at work.

    Attributes:
        future: None until it is submitted.
        failures: how often it has failed so far.
    """

    key: str
    task: Task
    future: Future[Any] | None = None
    failures: int = 0
    worker: str = ""
    started_s: float | None = None


class UnderWay:
    """Begins tasks and submits those of a moment together.

    Args:
        follow: called with each task's future.

    Attributes:
        run_id: in the keys of all tasks.
        computing: how many are no transfers.
    """

    def __init__(self, client: Client, asks_memory: bool, follow: Callable[[Future[Any]], None]) -> None:
        self._client, self._follow = client, follow
        self._submission = Submission(client, asks_memory)
        self._held: dict[str, Attempt] = {}
        self._unsent: dict[str, Attempt] = {}
        self._numbers = itertools.count()
        self.run_id = uuid.uuid4().hex[:8]
        self.computing = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Attempt]:
        """Of those that are held now; they may be dropped meanwhile."""
        return iter(list(self._held.values()))

    def get(self, key: str) -> Attempt | None:
        """The attempt of this key; None where it is not held, or not any more."""
        return self._held.get(key)

    def begin(self, task: Task) -> None:
        """Hold a task; it is submitted with the next `send`."""
        key = f"{task.name}-{self.run_id}-{next(self._numbers)}"
        self._held[key] = self._unsent[key] = Attempt(key, task)
        self.computing += not task.is_transfer

    def send(self) -> None:
        """Submit what was begun."""
        unsent, self._unsent = self._unsent, {}
        futures = self._submission.submit({key: attempt.task for key, attempt in unsent.items()})
        for key, future in futures.items():
            unsent[key].future = future
            self._follow(future)

    def forget(self, attempt: Attempt) -> None:
        """Hold it no more: its result is there."""
        del self._held[attempt.key]
        self._unsent.pop(attempt.key, None)
        self.computing -= not attempt.task.is_transfer

    def drop(self, attempt: Attempt) -> None:
        """Hold it no more, and have it cancelled."""
        self.forget(attempt)
        if attempt.future is not None:
            self._client.cancel([attempt.future])

    def cancel(self) -> None:
        """Have all that are held cancelled, and hold them all the same."""
        futures = [attempt.future for attempt in self._held.values() if attempt.future is not None]
        if futures:
            self._client.cancel(futures)
