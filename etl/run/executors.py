"""Where conversions run: one after the other here, or on a Dask cluster within a bounded window."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from typing import TypeVar

from distributed import Client, Future, as_completed
from distributed.scheduler import KilledWorker

from etl.errors import EtlError, RunError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Transient faults of a disk or a network pass within a retry or two; what fails more often is reported.
RETRIES = 2
# Futures in flight for each thread: enough that no worker waits for the driver, few enough that the
# scheduler's memory does not grow with the release.
WINDOW_PER_THREAD = 3


class SerialExecutor:
    """One item after the other, in this process: the oracle of the others."""

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        for item in items:
            for attempt in range(RETRIES + 1):
                try:
                    result = function(item)
                except (OSError, MemoryError) as error:
                    if attempt == RETRIES:
                        raise _failed(error) from error
                else:
                    yield result
                    break


class DaskExecutor:
    """Tasks on a Dask cluster, a few a thread at a time; results are taken and released as they come."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        client = self._client
        run = uuid.uuid4().hex[:8]
        numbered = enumerate(items)
        held: set[Future[Result]] = set()

        def submit(count: int) -> list[Future[Result]]:
            futures = [
                client.submit(function, item, key=f"convert-{run}-{number}", pure=False, retries=RETRIES)
                for number, item in itertools.islice(numbered, count)
            ]
            held.update(futures)
            return futures

        threads = max(sum(client.nthreads().values()), 1)
        pending = as_completed(submit(WINDOW_PER_THREAD * threads), loop=client.loop)
        try:
            for future in pending:
                try:
                    result = future.result()
                except (OSError, KilledWorker, MemoryError) as error:
                    raise _failed(error) from error
                except CancelledError as error:
                    raise RunError(
                        "the connection to the scheduler was lost",
                        value=str(error),
                        remedy="finished volumes are kept; start the cluster anew, run the same again",
                    ) from error
                held.discard(future)
                future.release()
                for new in submit(1):
                    pending.add(new)
                yield result
        finally:
            if held:
                client.cancel(list(held))


def _failed(error: BaseException) -> EtlError:
    return RunError(
        "a volume could not be built, after retries",
        value=f"{type(error).__name__}: {error}",
        remedy="finished volumes are kept; mend the cause (disk, memory, network), run the same again",
    )
