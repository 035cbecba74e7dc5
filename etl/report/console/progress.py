"""Progress of a build: a live bar on a terminal, plain lines with times in a log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from etl.convert.convert import Conversion
from etl.plan.plan import Plan
from etl.staging.fetch import Fetched, RemoteArchive

logger = logging.getLogger(__name__)

LOG_SECONDS = 10.0


class BuildProgress:
    """Counts what comes in: archives fetched, volumes converted, rates, time left, rejects."""

    def __init__(self, console: Console) -> None:
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
        self._passing: _Fetching | None = None
        self._fetching: _Fetching | None = None
        self._converting: _Converting | None = None
        self._knows_wanted = False
        self._tasks: dict[str, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._live:
            self._write_lines()

    def expect(self, archives: Iterable[RemoteArchive], *, directories: bool = False) -> None:
        """These archives will be fetched, or pass by for their directories."""
        sizes = {archive.url: archive.bytes or 0 for archive in archives}
        if sizes and directories:
            self._passing = _Fetching("directories read")
            self._passing.expect(sizes)
        elif sizes:
            self._fetching = self._fetching or _Fetching("archives staged")
            self._fetching.expect(sizes)

    def start(self, plan: Plan) -> None:
        """This plan will be built; its volumes come in one by one."""
        self._converting, self._knows_wanted = _Converting(plan), False
        if self._live:
            self._show("converting", self._converting)

    def add(self, conversion: Conversion) -> None:
        """Take one conversion into account."""
        assert self._converting is not None  # started
        self._converting.add(conversion)
        faults = Counter((reject.reason, reject.message) for reject in conversion.rejects)
        for (reason, message), count in faults.items():
            first = next(r for r in conversion.rejects if (r.reason, r.message) == (reason, message))
            more = f" and {count - 1} more" if count > 1 else ""
            logger.warning("rejected %s%s: %s: %s", first.found_in, more, reason, message)
        self._show("converting", self._converting)

    def add_fetch(self, fetched: Fetched) -> None:
        """Take one step of an archive into account."""
        if self._converting is not None and not self._knows_wanted:
            # Not before: only now is it known which volumes the store has already.
            self.expect(self._converting.archives_wanted())
            self._knows_wanted = True
        part = self._passing if fetched.is_directory else self._fetching
        assert part is not None  # expected, or wanted by the plan
        part.add(fetched)
        if fetched.reason is not None:
            logger.warning("%s can't be had: %s: %s", fetched.archive.name, fetched.reason, fetched.message)
        elif fetched.is_whole and fetched.bytes_now:
            done = "passed by, its directory is kept" if fetched.is_directory else "is staged"
            logger.info("%s %s", fetched.archive.name, done)
        self._show("passing" if fetched.is_directory else "fetching", part)

    def _show(self, name: str, part: _Fetching | _Converting) -> None:
        if self._live:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(part.status("\n"), total=part.total)
            self._bar.update(
                self._tasks[name], completed=part.done, total=part.total, description=part.status("\n")
            )
        elif time.monotonic() - self._last_line >= LOG_SECONDS:
            self._write_lines()

    def _write_lines(self) -> None:
        self._last_line = time.monotonic()
        for part in (self._passing, self._fetching, self._converting):
            if part is not None:
                left = part.seconds_left()
                logger.info("%s%s", part.status(), f", about {left:.0f} s left" if left else "")


class _Part:
    """A share of the work: how much of `total` is `done`, since when."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self._before = total, 0, 0
        self._start = time.monotonic()

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-3)

    def seconds_left(self) -> float | None:
        """None before anything came in, and at the end."""
        came = self.done - self._before
        return (
            self._seconds / came * (self.total - self.done) if came > 0 and self.done < self.total else None
        )


class _Fetching(_Part):
    def __init__(self, what: str) -> None:
        super().__init__(0)
        self._what = what
        self._sizes: dict[str, int] = {}
        self._there: dict[str, int] = {}
        self._whole: set[str] = set()
        self._bytes_now = 0

    def expect(self, archive_bytes: Mapping[str, int]) -> None:
        self._sizes |= archive_bytes
        self.total = sum(self._sizes.values())

    def add(self, fetched: Fetched) -> None:
        url = fetched.archive.url
        self._before += max(0, fetched.bytes_there - fetched.bytes_now - self._there.get(url, 0))
        self._there[url] = fetched.bytes_there
        self._bytes_now += fetched.bytes_now
        if fetched.is_whole:
            self._whole.add(url)
        self.done = sum(self._there.values())

    def status(self, middle: str = ", ") -> str:
        return (
            f"{len(self._whole)}/{len(self._sizes)} {self._what}{middle}"
            f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB, "
            f"{self._bytes_now / 1e6 / self._seconds:.1f} MB/s"
        )


class _Converting(_Part):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.slice_count)
        self._plan, self._rejects = plan, len(plan.rejects)
        self._waiting = {v.volume_id: v.container_numbers for v in plan.volumes}
        self._volumes, self._reused = len(plan.volumes), 0
        self._slices = self._bytes = 0

    def add(self, conversion: Conversion) -> None:
        self._waiting.pop(conversion.planned_id, None)
        self.done += conversion.slice_count
        self._rejects += len(conversion.rejects)
        if conversion.converted:
            self._slices += conversion.slice_count
            self._bytes += conversion.source_bytes
        else:
            self._before += conversion.slice_count
            self._reused += bool(conversion.built)

    def archives_wanted(self) -> list[RemoteArchive]:
        """The remote archives of the volumes that are still to come."""
        numbers = set().union(*self._waiting.values())
        return [archive for number, archive in self._plan.index.remote.items() if number in numbers]

    def status(self, middle: str = ", ") -> str:
        """The counts; in two lines beside the bar, or it would not fit on 80 columns."""
        came = self._volumes - len(self._waiting)
        return (
            f"{came}/{self._volumes} volumes ({self._reused} reused), {self._rejects} rejects{middle}"
            f"{self._slices / self._seconds:.0f} slices/s, {self._bytes / 1e6 / self._seconds:.1f} MB/s"
        )
