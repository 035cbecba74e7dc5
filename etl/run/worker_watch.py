"""The watch for a cluster that has lost all its workers."""

from __future__ import annotations

import logging
import time
from typing import Any

from distributed import Client, Future

from etl.core.errors import RunError
from etl.run.connection import address_of, scheduler_calls

logger = logging.getLogger(__name__)


class WorkerWatch:
    """Logs while the cluster has no workers, and aborts the run after a time limit.

    Args:
        limit_s: longest time without workers.
        first_warning_s: time without workers before the first warning; later ones come ever more rarely.
        poll_s: interval between two questions to the scheduler.
        longest_pause_s: longest time between two warnings.

    Raises:
        RunError: the connection to the scheduler is lost.
    """

    def __init__(
        self,
        client: Client,
        limit_s: float,
        *,
        first_warning_s: float = 3.0,
        poll_s: float = 1.0,
        longest_pause_s: float = 600.0,
    ) -> None:
        self._client, self._limit_s = client, limit_s
        with scheduler_calls(client):
            self._address = address_of(client)
        self._first_warning_s, self._poll_s, self._longest_pause_s = first_warning_s, poll_s, longest_pause_s
        self._since_s: float | None = None
        self._has_warned = False
        self._last_poll_s = self._next_warning_s = 0.0

    def update(self, workers: int) -> None:
        """Record the current number of workers."""
        if workers:
            if self._since_s is not None and self._has_warned:
                logger.info("there are workers again")
            self._since_s, self._has_warned = None, False
        elif self._since_s is None:
            self._since_s = time.monotonic()
            self._next_warning_s = self._since_s + self._first_warning_s

    def check(self) -> None:
        """Poll the scheduler while there are no workers: the event of one that joined may have been lost.

        Raises:
            RunError: there have been no workers for longer than the limit, or the scheduler is lost.
        """
        now, since_s = time.monotonic(), self._since_s
        if since_s is None or now - self._last_poll_s < self._poll_s or self._poll():
            return
        waited_s = now - since_s
        if now >= self._next_warning_s:
            left_s = max(self._limit_s - waited_s, 0)
            logger.warning("no workers: waiting %.0f s more (limits.wait_for_workers_s)", left_s)
            self._has_warned = True
            self._next_warning_s = now + min(max(waited_s, self._first_warning_s), self._longest_pause_s)
        if waited_s > self._limit_s:
            raise RunError(
                "the cluster has no workers any more",
                where=self._address,
                value=f"0 workers for {waited_s:.0f} s",
                allowed=f"limits.wait_for_workers_s = {self._limit_s:g}",
                remedy="finished volumes are kept; start workers, run the same again",
            )

    def wait_for(self, future: Future[Any]) -> Any:
        """Return the result of a future. It polls: a Ctrl-C inside a call of Dask leaves a traceback.

        Raises:
            RunError: there have been no workers for longer than the limit, or the scheduler is lost.
        """
        while not future.done():
            with scheduler_calls(self._client):
                if time.monotonic() - self._last_poll_s >= self._poll_s and self._since_s is None:
                    self._poll()
                self.check()
            time.sleep(0.02)
        with scheduler_calls(self._client):
            return future.result()

    def _poll(self) -> int:
        self._last_poll_s = time.monotonic()
        with scheduler_calls(self._client):
            workers = len(self._client.nthreads())
        self.update(workers)
        return workers
