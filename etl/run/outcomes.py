"""What comes of tasks on a Dask cluster."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future

from etl.core.errors import RunError
from etl.run.worker_calls import Done

# Short tasks that end meanwhile are gathered, and their places filled, with as few messages as one.
TOGETHER_SECONDS = 0.01


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a submitted task."""

    key: str
    done: Done | None
    error: BaseException | None = None

    @classmethod
    def of(cls, future: Future[Any]) -> Outcome:
        try:
            return cls(str(future.key), future.result())
        except BaseException as error:
            return cls(str(future.key), None, error)

    def result(self) -> Done:
        """Raises what the task raised."""
        if self.error is not None:
            raise self.error
        assert self.done is not None  # there is the one or the other
        return self.done


def failed(task: str, value: object) -> RunError:
    """A task could not be done, and the run can't go on without it."""
    return RunError(
        f"{task} failed, after retries",
        value=f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value,
        remedy="finished volumes are kept; mend the cause (disk, memory, network), run the same again",
    )


class Gathering:
    """Gathers what comes of tasks in its own thread: a result whose worker has just died is long in coming.

    Args:
        take: called there with outcomes as they come, some at once. Results are released by then.
    """

    def __init__(self, client: Client, take: Callable[[list[Outcome]], None]) -> None:
        self._client, self._take = client, take
        self._done: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._gather, name="gathering", daemon=True).start()

    def add(self, future: Future[Any]) -> None:
        """Take what comes of a task when it is done."""
        future.add_done_callback(self._done.put)

    def close(self) -> None:
        """Gather no more."""
        self._done.put(None)

    def _gather(self) -> None:
        while (first := self._done.get()) is not None:
            time.sleep(TOGETHER_SECONDS)
            batch: list[Future[Any] | None] = [first]
            with contextlib.suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self._done.get_nowait())
            self._take(self._outcomes([future for future in batch if future is not None]))
            if batch[-1] is None:
                return

    def _outcomes(self, futures: Sequence[Future[Any]]) -> list[Outcome]:
        try:
            # All at once: a round trip each is most of what a short task costs.
            results = self._client.gather(futures)
        except BaseException:  # one of them failed; asked one by one they say which
            outcomes = list(map(Outcome.of, futures))
        else:
            outcomes = [Outcome(str(f.key), one) for f, one in zip(futures, results, strict=True)]
        done = [future for future, outcome in zip(futures, outcomes, strict=True) if outcome.error is None]
        loop = self._client.loop
        assert loop is not None  # the client is connected
        # Where that happens: a way there for each costs more than the release.
        loop.add_callback(_release, done)
        return outcomes


def _release(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.release()
