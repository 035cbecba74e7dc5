"""Progress of a build: a live bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from etl.convert import Conversion
from etl.plan import Plan

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0


def start_logging() -> Console:
    """Log to standard error: with times, plain in a file, beside the live bar on a terminal."""
    # Not what FORCE_COLOR and the like claim: a log file stays free of control codes.
    console = Console(stderr=True, force_terminal=sys.stderr.isatty())
    if console.is_interactive:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S", highlighter=None
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("distributed", "asyncio", "tornado"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return console


class BuildProgress:
    """Counts conversions as they come: volumes, slices/s, MB/s, time left, rejects."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._volumes, self._slices = len(plan.volumes), plan.slice_count
        self._rejects = len(plan.rejects)
        self._done = self._slices_done = self._reused = 0
        self._converted_slices = self._converted_bytes = 0
        self._start = self._last_line = time.monotonic()
        self._live = console.is_interactive
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._task: TaskID = self._bar.add_task(self._status("\n"), total=self._slices)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._live:
            logger.info("%s", self._status())

    def add(self, conversion: Conversion) -> None:
        """Take one conversion into account."""
        self._done += 1
        self._slices_done += conversion.slice_count
        self._rejects += len(conversion.rejects)
        if conversion.converted:
            self._converted_slices += conversion.slice_count
            self._converted_bytes += conversion.source_bytes
        else:
            self._reused += 1
        for reject in conversion.rejects:
            logger.warning("rejected %s: %s: %s", reject.found_in, reject.reason, reject.message)
        now = time.monotonic()
        if self._live:
            self._bar.update(self._task, advance=conversion.slice_count, description=self._status("\n"))
        elif now - self._last_line >= LOG_SECONDS:
            self._last_line = now
            left = (now - self._start) / self._slices_done * (self._slices - self._slices_done)
            logger.info("%s, about %.0f s left", self._status(), left)

    def _status(self, middle: str = ", ") -> str:
        """The counts; in two lines beside the bar, or it would not fit on 80 columns."""
        seconds = max(time.monotonic() - self._start, 1e-3)
        return (
            f"{self._done}/{self._volumes} volumes ({self._reused} reused), {self._rejects} rejects{middle}"
            f"{self._converted_slices / seconds:.0f} slices/s, "
            f"{self._converted_bytes / 1e6 / seconds:.1f} MB/s"
        )
