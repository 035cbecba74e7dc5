"""Another try, after a wait, for what may pass: lost connections, servers that are busy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Failures in a row, without a byte more in between, after which a place is given up.
ATTEMPTS = 6
# The wait doubles from the first to the longest; a server that names a time (Retry-After) is given more.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 300.0


class BusyError(ConnectionError):
    """The place asks to come back later, in `seconds` where it says when."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(message)


class Attempts:
    """Counts the failures of one transfer, and waits after each.

    The wait doubles each time, with jitter, so that a cluster's workers do not come back all at once.
    """

    def __init__(self) -> None:
        self._failures, self._reached = 0, 0

    def wait_after(self, error: OSError, reached: int = 0) -> None:
        """Wait before the next attempt; a transfer that moves on is given new ones.

        Args:
            reached: how far the transfer is, in any unit that grows.

        Raises:
            OSError: the error given, when it is the last of ATTEMPTS in a row.
        """
        if reached > self._reached:
            self._failures, self._reached = 0, reached
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise error
        wait = min(FIRST_WAIT_SECONDS * 2 ** (self._failures - 1), LONGEST_WAIT_SECONDS)
        asked = min(error.seconds, LONGEST_RETRY_AFTER_SECONDS) if isinstance(error, BusyError) else 0.0
        time.sleep(max(asked, wait * random.uniform(0.5, 1.0)))


def retried(attempt: Callable[[], Result], reached: Callable[[], int] = lambda: 0) -> Result:
    """Call until it works: OSError is tried again after a wait. See `Attempts`.

    Raises:
        OSError: the last of ATTEMPTS in a row.
    """
    attempts = Attempts()
    while True:
        try:
            return attempt()
        except OSError as error:
            attempts.wait_after(error, reached())
