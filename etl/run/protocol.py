"""The one interface between the pipeline and what executes its tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from etl.core.rejects import Reason
from etl.run.execution_stats import Tally

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Task:
    """One call to make somewhere: `function(argument)`.

    Attributes:
        is_transfer: it waits for a network and computes next to nothing, so it need not hold a core.
        memory_bytes: what it holds at its peak, above the empty worker.
    """

    name: str
    function: Callable[[Any], Any]
    argument: Any
    is_transfer: bool = False
    memory_bytes: int = 0


class Work(Protocol):
    """A source of tasks for an executor."""

    def take(self, has_core: bool = True) -> Task | None:
        """A task that can start now; None while there is none. With no task under way, None ends the work.

        Args:
            has_core: False where there is room for transfers only.
        """

    def give(self, task: Task, result: Any) -> None:
        """Take back the result of a task."""

    def withdraw(self) -> Sequence[Task]:
        """Tasks that were taken and whose results nobody wants any more: they are not given back."""
        return ()

    def refuse(self, task: Task, reason: Reason, message: str) -> bool:
        """Go on without the result of a task that takes its workers down, or does not end.

        Returns:
            False where that can't be.
        """
        return False


class Items(Work):
    """One function over items that are all ready; they are taken from the iterable as they are needed."""

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> None:
        self._function, self._items = function, enumerate(items)

    def take(self, has_core: bool = True) -> Task | None:
        if has_core:
            for number, item in self._items:
                return Task(f"item-{number}", self._function, item)
        return None

    def give(self, task: Task, result: Any) -> None:
        pass


class Executor(Protocol):
    """Does tasks somewhere and gives results as they come, in any order.

    It retries what fails; what still fails raises RunError, and results given so far stay good.

    Attributes:
        largest_task_bytes: memory that it has for one task; None without a limit.
        tally: what it has done so far.
    """

    largest_task_bytes: int | None
    tally: Tally

    def work(self, work: Work) -> Generator[Any, None, None]:
        """Do the tasks of `work` until there are none; yields their results."""

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yields the results in any order."""

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every process that does work: its result by the process's name."""

    def profiled(self, keep: Callable[[bytes], None]) -> contextlib.AbstractContextManager[None]:
        """Keep a report on the performance of the block, where there is one to be had."""
