"""Another try, after a wait, for what may pass: lost connections, servers that are busy."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Failures in a row, without a byte more, after which a place is given up where somebody may be waiting.
ATTEMPTS = 6
# Nobody waits for a transfer of archives: it outlasts a restart of the server, or a line cut for a while.
PATIENCE_SECONDS = 600.0
# How often the log says that a place is waited for.
TELL_SECONDS = 60.0
# The wait doubles from the first to the longest; a server that names a time (Retry-After) is given more.
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 300.0

# Places that were silent for PATIENCE_SECONDS and did not answer since, and when that was; for so long it
# counts. Or 56 archives of a server that is gone would be waited for one after the other.
REMEMBERED_SECONDS = 3600.0
_silent: dict[str, float] = {}


class BusyError(ConnectionError):
    """The place asks to come back later, in `seconds` where it says when."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(message)


@dataclass(frozen=True)
class Patience:
    """How long a place is waited for that gives nothing new.

    Attributes:
        seconds: from the first failure; 0 for ATTEMPTS attempts, which take some seconds.
        place: whose silence is remembered, `https://host`; the next one in this process does not wait for it.
    """

    seconds: float = 0.0
    place: str = ""

    @property
    def seconds_now(self) -> float:
        """None of them where all were spent on the place before, and it did not answer since."""
        given_up = _silent.get(self.place)
        is_known = given_up is not None and monotonic() - given_up < REMEMBERED_SECONDS
        return 0.0 if is_known else self.seconds

    def answered(self) -> None:
        """The place gives what it is asked for."""
        _silent.pop(self.place, None)

    def is_spent(self, silent_seconds: float) -> bool:
        """Has the place been silent for so long that it is given up? It is remembered."""
        if silent_seconds < self.seconds_now:
            return False
        if self.place and silent_seconds >= PATIENCE_SECONDS:
            _silent[self.place] = monotonic()
        return True

    @property
    def for_a_while(self) -> Patience:
        """As much of it as is spent before somebody is told."""
        return Patience(min(self.seconds, TELL_SECONDS), self.place)


QUICK = Patience()


def long_patience(place: str) -> Patience:
    """For the transfer of an archive from a place."""
    return Patience(PATIENCE_SECONDS, place)


class Attempts:
    """Counts the failures of one transfer, and waits after each.

    The wait doubles each time, with jitter, so that a cluster's workers do not come back all at once.
    """

    def __init__(self, patience: Patience = QUICK) -> None:
        self._patience, self._failures, self._reached = patience, 0, 0
        self._since = self._told = 0.0

    def wait_after(self, error: OSError, reached: int = 0) -> None:
        """Wait before the next attempt; a transfer that moves on is given new ones.

        Args:
            reached: how far the transfer is, in any unit that grows.

        Raises:
            OSError: the error given, when the patience is at its end.
        """
        now = monotonic()
        if reached > self._reached or not self._failures:
            self._failures, self._reached, self._since, self._told = 0, reached, now, now
        self._failures += 1
        silent = now - self._since
        # A server that stalls takes minutes for a few attempts, one that refuses a connection none.
        if self._failures >= (2 if self._patience.seconds_now else ATTEMPTS) and self._patience.is_spent(
            silent
        ):
            raise error
        if now - self._told >= TELL_SECONDS:
            self._told = now
            logger.warning("%s", waiting(str(error), silent, self._patience.seconds))
        wait = min(FIRST_WAIT_SECONDS * 2 ** (self._failures - 1), LONGEST_WAIT_SECONDS)
        asked = min(error.seconds, LONGEST_RETRY_AFTER_SECONDS) if isinstance(error, BusyError) else 0.0
        sleep(max(asked, wait * random.uniform(0.5, 1.0)))


def waiting(why: str, silent_seconds: float, patience_seconds: float) -> str:
    """What the log says of a place that is waited for."""
    return (
        f"nothing new for {silent_seconds / 60:.0f} min: {why}; asked again until it has been "
        f"{patience_seconds / 60:.0f} min"
    )


def retried(
    attempt: Callable[[], Result], reached: Callable[[], int] = lambda: 0, patience: Patience = QUICK
) -> Result:
    """Call until it works: OSError is tried again after a wait. See `Attempts`.

    Raises:
        OSError: the last one, when the patience is at its end.
    """
    attempts = Attempts(patience)
    while True:
        try:
            result = attempt()
        except OSError as error:
            attempts.wait_after(error, reached())
        else:
            patience.answered()
            return result
