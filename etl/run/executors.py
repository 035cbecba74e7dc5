"""Where work is done: one task after the other here, or on a Dask cluster within a bounded window."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from distributed import Client, Future, as_completed, secede
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from etl.errors import EtlError, RunError
from etl.run.interrupts import deferred_interrupt
from etl.work import Items, Task, Work

Item = TypeVar("Item")
Result = TypeVar("Result")

# Transient faults of a disk or a network pass within a retry or two; what fails more often is reported.
RETRIES = 2
# Futures in flight for each thread: enough that no worker waits for the driver, few enough that the
# scheduler's memory does not grow with the release.
WINDOW_PER_THREAD = 3


class SerialExecutor:
    """One task after the other, in this process: the oracle of the others."""

    def work(self, work: Work) -> Generator[Any, None, None]:
        """Do all tasks; yields their results."""
        while (task := work.take()) is not None:
            for attempt in range(RETRIES + 1):
                try:
                    result = task.function(task.argument)
                except (OSError, MemoryError) as error:
                    if attempt == RETRIES:
                        raise _failed(task.name, error) from error
                else:
                    work.give(task, result)
                    yield result
                    break

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yields the results."""
        return self.work(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every process that does work: its result by the process's name."""
        return {socket.gethostname(): function()}


class DaskExecutor:
    """Tasks on a Dask cluster, a few a thread at a time; results are taken and released as they come."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def work(self, work: Work) -> Generator[Any, None, None]:
        """Do all tasks; yields their results in the order in which they come."""
        client, run = self._client, uuid.uuid4().hex[:8]
        window = WINDOW_PER_THREAD * max(sum(client.nthreads().values()), 1)
        held: dict[Future[Any], Task] = {}
        pending = as_completed(loop=client.loop)

        def fill(cores: int) -> None:
            computing = sum(not task.is_transfer for task in held.values())
            while (task := work.take(has_core=computing < cores)) is not None:
                key = f"{task.name}-{run}-{uuid.uuid4().hex[:8]}"
                call = (_transfer, task.function) if task.is_transfer else (task.function,)
                future = client.submit(
                    *call,
                    task.argument,
                    key=key,
                    pure=False,
                    retries=RETRIES,
                    # Before what waits for a core already: a transfer takes none.
                    priority=int(task.is_transfer),
                )
                held[future] = task
                pending.add(future)
                computing += not task.is_transfer

        def result_of(future: Future[Any]) -> Any:
            task = held[future]
            try:
                return future.result()
            except (OSError, KilledWorker, MemoryError) as error:
                raise _failed(task.name, error) from error
            except CancelledError as error:
                raise RunError(
                    "the connection to the scheduler was lost",
                    value=str(error),
                    remedy="finished volumes are kept; start the cluster anew, run the same again",
                ) from error

        def drop_withdrawn() -> None:
            withdrawn = set(work.withdraw())
            dropped = [future for future, task in held.items() if task in withdrawn]
            if dropped:
                client.cancel(dropped)
            for future in dropped:
                del held[future]

        def take(batch: Iterable[Future[Any]]) -> list[Any]:
            done = [future for future in batch if future in held]
            try:
                # All at once: a round trip each is most of what a short task costs.
                results = client.gather(done)
            except Exception:  # one of them failed; asked one by one they say which
                results = [result_of(future) for future in done]
            taken = []
            for future, result in zip(done, results, strict=True):
                if future in held:  # else the result before it made it needless
                    task = held.pop(future)
                    future.release()
                    work.give(task, result)
                    drop_withdrawn()
                    taken.append(result)
            return taken

        try:
            with deferred_interrupt():
                fill(window)
            for batch in pending.batches():
                with deferred_interrupt():
                    taken = take(batch)
                    fill(window - len(taken))
                for waiting, result in zip(reversed(range(len(taken))), taken, strict=True):
                    with deferred_interrupt():
                        fill(window - waiting)
                    yield result
        finally:
            if held:
                with deferred_interrupt():
                    client.cancel(list(held))

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """Call a function for each item; yields the results in the order in which they come."""
        return self.work(Items(function, items))

    def everywhere(self, function: Callable[[], Result]) -> dict[str, Result]:
        """Call a function once in every worker: its result by the worker's address."""
        with deferred_interrupt():
            answers = self._client.run(function, on_error="return")
            here = {
                worker: answer
                for worker, answer in answers.items()
                if not isinstance(answer, CommClosedError)
            }
            # An adaptive cluster that has scaled down to nothing starts a worker for a task only.
            return here or {"the first worker": self._client.submit(function, pure=False).result()}


def _transfer(function: Callable[[Item], Result], item: Item) -> Result:
    """Leave the worker's threads to what computes, however long the network takes."""
    secede()
    return function(item)


def _failed(task: str, error: BaseException) -> EtlError:
    return RunError(
        f"{task} failed, after retries",
        value=f"{type(error).__name__}: {error}",
        remedy="finished volumes are kept; mend the cause (disk, memory, network), run the same again",
    )
