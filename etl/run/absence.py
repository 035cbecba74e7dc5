"""No workers: said in the log while it lasts, and the end of a run that it lasts too long for."""

from __future__ import annotations

import logging
import time
from typing import Any

from distributed import Client, Future

from etl.core.errors import RunError
from etl.run.connection import address_of
from etl.run.signals import deferred_interrupt

logger = logging.getLogger(__name__)

FIRST_LINE_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 600.0
LOOK_SECONDS = 1.0


class Absence:
    """How long there has been no worker.

    Args:
        limit_s: how long it may last.
    """

    def __init__(self, client: Client, limit_s: float) -> None:
        self._client, self._limit_s = client, limit_s
        self._since_s: float | None = None
        self._last_look_s = self._next_line_s = 0.0

    def see(self, workers: int) -> None:
        """There are so many now."""
        if workers:
            if self._since_s is not None and self._next_line_s > self._since_s + FIRST_LINE_SECONDS:
                logger.info("there are workers again")
            self._since_s = None
        elif self._since_s is None:
            self._since_s = time.monotonic()
            self._next_line_s = self._since_s + FIRST_LINE_SECONDS

    def check(self) -> None:
        """Look again where there was none, at most every second.

        Raises:
            RunError: there has been none for too long.
        """
        now, since_s = time.monotonic(), self._since_s
        if since_s is None or now - self._last_look_s < LOOK_SECONDS:
            return
        # Word of one that came may have been lost.
        if self._look():
            return
        waited_s = now - since_s
        if now >= self._next_line_s:
            left_s = max(self._limit_s - waited_s, 0)
            logger.warning("no workers: waiting, %.0f s more (limits.wait_for_workers_s)", left_s)
            self._next_line_s = now + min(max(waited_s, FIRST_LINE_SECONDS), LONGEST_PAUSE_SECONDS)
        if waited_s > self._limit_s:
            raise RunError(
                "there are no workers any more",
                where=address_of(self._client),
                value=f"0 workers for {waited_s:.0f} s",
                allowed=f"limits.wait_for_workers_s = {self._limit_s:g}",
                remedy="finished volumes are kept; start workers, run the same again",
            )

    def wait_for(self, future: Future[Any]) -> Any:
        """The result of a task. It looks, as a Ctrl-C in one of Dask's calls leaves a traceback.

        Raises:
            RunError: there has been no worker for too long.
        """
        while not future.done():
            with deferred_interrupt():
                if time.monotonic() - self._last_look_s >= LOOK_SECONDS and self._since_s is None:
                    self._look()
                self.check()
            time.sleep(0.02)
        with deferred_interrupt():
            return future.result()

    def _look(self) -> int:
        self._last_look_s = time.monotonic()
        workers = len(self._client.nthreads())
        self.see(workers)
        return workers
