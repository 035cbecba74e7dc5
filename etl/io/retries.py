"""Retry what may pass, such as lost connections and busy servers, after a wait and within a budget."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from typing import TypeVar

from etl.core.urls import host_of
from etl.io.places import BlobError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class TransferSettings:
    """Times, rates and sizes of transfers.

    Attributes:
        attempts: attempts without a new byte before an operation fails that has no seconds to spend.
        outage_s: seconds without a new byte that the transfer of an archive outlasts: a restart of the
            server, or a line that is cut for a while.
        remember_s: seconds for which a host that used up `outage_s` gets no further budget. Else 56 archives
            of a dead server would each wait that long.
        log_every_s: seconds between two log lines about one silent host.
        first_wait_s, longest_wait_s: seconds before another attempt, doubling from the first to the longest.
        longest_retry_after_s: most seconds that a server's Retry-After is followed.
        connect_s: seconds until a connection must stand.
        stall_s: seconds without a byte, or with fewer than `least_bytes_per_s`, after which a connection has
            stalled.
        least_bytes_per_s: slowest rate that does not count as a stall.
        tail_bytes: bytes read at once from an archive's end. The directory of an official archive, about
            16,600 members, takes under 2 MiB.
        block_bytes: bytes of one request for an archive that is staged. Large enough that a request's latency
            does not count; a bucket takes no parts below 5 MiB.
        blocks_a_task: requests of one task, which then gives its thread back to conversions.
    """

    attempts: int = 6
    outage_s: float = 600.0
    remember_s: float = 3600.0
    log_every_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 300.0
    connect_s: float = 20.0
    stall_s: float = 60.0
    least_bytes_per_s: float = 1024.0
    tail_bytes: int = 4 << 20
    block_bytes: int = 8 << 20
    blocks_a_task: int = 8


_settings = TransferSettings()

# Hosts that used up their budget and did not answer since, with the time when they did.
_exhausted: dict[str, float] = {}


def default_settings() -> TransferSettings:
    """Return the settings of transfers that are given none."""
    return _settings


class BusyError(ConnectionError):
    """The place asks to come back later, in `seconds` where it says when."""

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        self.seconds = seconds
        super().__init__(message)


@dataclass(frozen=True)
class RetryBudget:
    """Time that one operation may spend on a place that gives nothing new.

    Attributes:
        seconds: from the first failure; 0 for `settings.attempts` attempts, which take some seconds.
        host: `https://host`. An exhausted budget is remembered by host, in this process.
        settings: times of the waits.
    """

    seconds: float = 0.0
    host: str = ""
    settings: TransferSettings = field(default_factory=default_settings)

    @property
    def remaining(self) -> float:
        """Seconds left; 0 if this host already exhausted its budget."""
        exhausted_at = _exhausted.get(self.host)
        is_known = exhausted_at is not None and monotonic() - exhausted_at < self.settings.remember_s
        return 0.0 if is_known else self.seconds

    @property
    def until_next_log(self) -> RetryBudget:
        """The part of this budget that may be spent before a log line is due."""
        return replace(self, seconds=min(self.seconds, self.settings.log_every_s))

    def restore(self) -> None:
        """Forget that the host exhausted its budget: it answers."""
        _exhausted.pop(self.host, None)

    def is_exhausted(self, silent_s: float) -> bool:
        """Return whether so many silent seconds use up this budget; remember the host if they do."""
        if silent_s < self.remaining:
            return False
        if self.host and silent_s >= self.settings.outage_s:
            _exhausted[self.host] = monotonic()
        return True


def archive_budget(url: str, settings: TransferSettings | None = None) -> RetryBudget:
    """Return the retry budget for this archive's host."""
    settings = settings or default_settings()
    return RetryBudget(settings.outage_s, host_of(url), settings)


class Attempts:
    """Failures of one operation; waits after each.

    The wait doubles each time, with jitter, so that a cluster's workers do not come back all at once.
    """

    def __init__(self, budget: RetryBudget) -> None:
        self._budget, self._failures, self._reached = budget, 0, 0
        self._since = self._logged = 0.0

    def wait_after(self, error: OSError, reached: int = 0) -> None:
        """Wait before the next attempt. Progress restores the whole budget.

        Args:
            reached: progress of the operation, in any unit that grows.

        Raises:
            OSError: the error given, when the budget is used up.
        """
        now, settings = monotonic(), self._budget.settings
        if reached > self._reached or not self._failures:
            self._failures, self._reached, self._since, self._logged = 0, reached, now, now
        self._failures += 1
        silent_s = now - self._since
        # A stalling server takes minutes for a few attempts, a refused connection no time at all.
        least_attempts = 2 if self._budget.remaining else settings.attempts
        if self._failures >= least_attempts and self._budget.is_exhausted(silent_s):
            raise error
        if now - self._logged >= settings.log_every_s:
            self._logged = now
            logger.warning("%s", silence_message(str(error), silent_s, self._budget.seconds))
        wait_s = min(settings.first_wait_s * 2 ** (self._failures - 1), settings.longest_wait_s)
        asked_s = min(error.seconds, settings.longest_retry_after_s) if isinstance(error, BusyError) else 0.0
        sleep(max(asked_s, wait_s * random.uniform(0.5, 1.0)))


def silence_message(why: str, silent_s: float, budget_s: float) -> str:
    """Return the log line about a place that gives nothing for so long."""
    return f"no bytes for {silent_s / 60:.0f} min, retrying until {budget_s / 60:.0f} min have passed: {why}"


def _is_passing(error: OSError) -> bool:
    return not isinstance(error, BlobError)


def retried(
    attempt: Callable[[], Result],
    budget: RetryBudget,
    reached: Callable[[], int] = lambda: 0,
    may_pass: Callable[[OSError], bool] = _is_passing,
) -> Result:
    """Call `attempt` until it returns, waiting after each OSError that may pass. See `Attempts`.

    Raises:
        OSError: one that does not pass, or the last one when the budget is used up.
    """
    attempts = Attempts(budget)
    while True:
        try:
            result = attempt()
        except OSError as error:
            if not may_pass(error):
                raise
            attempts.wait_after(error, reached())
        else:
            budget.restore()
            return result
