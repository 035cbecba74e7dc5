"""Progress of a verification: a live bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from etl.report.console.progress import LOG_SECONDS
from etl.verify.volume import VolumeCheck

logger = logging.getLogger(__name__)


class VerifyProgress:
    """Counts the volumes that were read, and what was wrong with them."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_interactive)
        self._task = self._bar.add_task("verifying", total=None)
        self._is_live = console.is_interactive
        self._volumes = self._bytes = self._wrong = 0
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def add(self, check: VolumeCheck, total: int) -> None:
        """Take one volume of `total` into account."""
        self._volumes += 1
        self._bytes += check.bytes
        self._wrong += bool(check.problems)
        now = time.monotonic()
        seconds = max(now - self._start, 1e-3)
        status = (
            f"{self._volumes:,}/{total:,} volumes, {self._wrong:,} wrong, {self._bytes / 1e9:.2f} GB, "
            f"{self._bytes / 1e6 / seconds:.1f} MB/s"
        )
        if self._is_live:
            self._bar.update(self._task, completed=self._volumes, total=total, description=status)
        elif now - self._last_line >= LOG_SECONDS:
            self._last_line = now
            left = seconds / self._volumes * (total - self._volumes)
            logger.info("%s, about %.0f s left", status, left)
