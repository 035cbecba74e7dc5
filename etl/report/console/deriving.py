"""Progress of a derived table: volumes done, rejects, rate and time left."""

from __future__ import annotations

import logging

from rich.console import Console

from etl.pipeline.derived_parts import Derived
from etl.report.console.progress import LiveProgress, Work

logger = logging.getLogger(__name__)


class DeriveProgress(LiveProgress):
    """Counts the volumes that have rows, and logs each reject."""

    def __init__(self, console: Console, log_interval_s: float = 10.0) -> None:
        super().__init__(console, log_interval_s)
        self._deriving = _Deriving()

    def start(self, present: int, total: int) -> None:
        """Begin with the volumes that have rows already, of all."""
        self._deriving = _Deriving(present, total)

    def add(self, derived: Derived) -> None:
        """Count the volumes of one task."""
        for reject in derived.rejects:
            logger.warning("rejected %s: %s: %s", reject.volume_id, reject.reason, reject.message)
        self._deriving.add(derived)
        self._show(self._deriving)

    def _works(self) -> list[Work]:
        return [self._deriving] if self._deriving.total else []


class _Deriving(Work):
    def __init__(self, present: int = 0, total: int = 0) -> None:
        super().__init__(total)
        self.done = self.before = present
        self._rejects = 0

    def add(self, derived: Derived) -> None:
        self.done += len(derived.volume_ids) + len(derived.rejects)
        self._rejects += len(derived.rejects)

    def status(self, separator: str = ", ") -> str:
        rate = (self.done - self.before) / self.seconds
        return (
            f"{self.done:,}/{self.total:,} volumes ({self.before:,} before), "
            f"{self._rejects:,} rejects{separator}{rate:.1f} volumes/s"
        )
