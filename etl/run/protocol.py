"""The interface between the pipeline and the executors that run its tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from etl.core.errors import RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Most transient faults of a disk or a network pass within two retries.
RETRIES = 2


@dataclass(frozen=True, eq=False)
class Task:
    """One call, `function(argument)`, that an executor makes in some process.

    Attributes:
        name: `KIND-REST`, shown in logs; execution statistics are kept by kind.
        is_transfer: the task mostly waits for a network, so it needs no core of its own.
        memory_bytes: peak memory of the call, above that of an idle worker.
    """

    name: str
    function: Callable[[Any], Any]
    argument: Any
    is_transfer: bool = False
    memory_bytes: int = 0


class FailureKind(StrEnum):
    """The kinds of failure of a task that an executor gave up on."""

    KILLED = "killed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class TaskFailure:
    """The reason why an executor stopped trying a task.

    Attributes:
        count: workers that died with the task, or attempts that reached the time limit.
        message: the same in words, with the limit that was reached.
    """

    kind: FailureKind
    count: int
    message: str


class Queue(Protocol):
    """A source of tasks; it decides what can start next."""

    def take(self, has_core: bool = True) -> Task | None:
        """Return a task that can start now, or None. None while no task is in flight ends the run.

        Args:
            has_core: False if only a transfer can start now.
        """

    def finish(self, task: Task, result: Any) -> None:
        """Record the result of a task."""

    def withdraw(self) -> Sequence[Task]:
        """Return tasks in flight whose results are no longer needed; they never reach `finish`."""
        return ()

    def fail(self, task: Task, failure: TaskFailure) -> bool:
        """Record that the executor gave up on a task.

        Returns:
            False if the run can't go on without the task's result.
        """
        return False


class Items(Queue):
    """One function over items that are all ready; the iterable is read only as far as needed."""

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> None:
        self._function, self._items = function, enumerate(items)

    def take(self, has_core: bool = True) -> Task | None:
        if has_core:
            for number, item in self._items:
                return Task(f"item-{number}", self._function, item)
        return None

    def finish(self, task: Task, result: Any) -> None:
        pass


@dataclass
class TaskTimes:
    """Times of all tasks of one kind.

    Attributes:
        count: tasks that succeeded.
        seconds: sum over all workers of the tasks' last attempts.
        longest_s: the longest of them.
    """

    count: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0


@dataclass
class ExecutionStats:
    """Statistics that an executor keeps while it runs tasks.

    Attributes:
        stages: times by the kind in task names, such as `convert` and `fetch`.
        retries: attempts beyond the first of each task, for any reason.
        worker_deaths: workers that were lost without leaving in order.
        timeouts: attempts that reached the time limit.
        most_workers, most_threads: largest size of the cluster.
    """

    stages: dict[str, TaskTimes] = field(default_factory=dict)
    retries: int = 0
    worker_deaths: int = 0
    timeouts: int = 0
    most_workers: int = 0
    most_threads: int = 0

    def add(self, task: str, seconds: float) -> None:
        """Count a task that succeeded."""
        times = self.stages.setdefault(task.partition("-")[0], TaskTimes())
        times.count += 1
        times.seconds += seconds
        times.longest_s = max(times.longest_s, seconds)

    def add_size(self, workers: int, threads: int) -> None:
        """Record the current size of the cluster."""
        self.most_workers = max(self.most_workers, workers)
        self.most_threads = max(self.most_threads, threads)


class Executor(Protocol):
    """Runs tasks in one or many processes and yields results in completion order.

    Transient faults are retried. A lasting fault raises RunError; results yielded before stay valid.

    Attributes:
        largest_task_bytes: memory available to one task on the largest worker; None without a limit.
        stats: statistics of all tasks so far.
    """

    largest_task_bytes: int | None
    stats: ExecutionStats

    def execute(self, queue: Queue) -> Generator[Any, None, None]:
        """Run the tasks of a queue until it has none; yield their results."""

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yield the results in completion order."""

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every worker process; return the results by the process's name."""

    def profiled(self, keep: Callable[[bytes], None]) -> contextlib.AbstractContextManager[None]:
        """Pass a performance report of the block, a page of HTML, to `keep` if the executor makes one."""


def run_error(task: str, cause: object) -> RunError:
    """Return the error that ends a run because a task it needs has failed."""
    return RunError(
        f"{task} failed, after retries",
        value=f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else cause,
        remedy="finished volumes are kept; fix the cause (disk, memory, network), run the same again",
    )
