"""Progress of builds, verifications and exports: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from etl.convert.results import Conversion
from etl.core.counted import counted
from etl.pipeline.callback import Callback
from etl.plan.plan import Plan
from etl.staging.fetch import Fetched, RemoteArchive

if TYPE_CHECKING:
    from etl.verify.volume import VolumeCheck

logger = logging.getLogger(__name__)


class Work:
    """An amount of work: `done` of `total` in any unit, of which `before` was done earlier."""

    def __init__(self, total: int = 0) -> None:
        self.total, self.done, self.before = total, 0, 0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-3)

    def seconds_left(self) -> float | None:
        """Return the estimate by the rate so far; None before any work was done, and at the end."""
        now = self.done - self.before
        return self.seconds / now * (self.total - self.done) if now > 0 and self.done < self.total else None

    def status(self, separator: str = ", ") -> str:
        """Return the counts; a newline as separator keeps the text next to the bar within 80 columns."""
        raise NotImplementedError


class LiveProgress:
    """Shows each work as a bar on a terminal, or logs its counts every `log_interval_s` seconds."""

    def __init__(self, console: Console, log_interval_s: float = 10.0) -> None:
        self._is_live = console.is_interactive
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._is_live,
        )
        self._log_interval_s = log_interval_s
        self._tasks: dict[Work, TaskID] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._is_live:
            self._write_lines()

    def _works(self) -> list[Work]:
        raise NotImplementedError

    def _show(self, work: Work) -> None:
        if self._is_live:
            if work not in self._tasks:
                self._tasks[work] = self._bar.add_task(work.status("\n"))
            self._bar.update(
                self._tasks[work], completed=work.done, total=work.total, description=work.status("\n")
            )
        elif time.monotonic() - self._last_line >= self._log_interval_s:
            self._write_lines()

    def _write_lines(self) -> None:
        self._last_line = time.monotonic()
        for work in self._works():
            left = work.seconds_left()
            logger.info("%s%s", work.status(), f", about {left:.0f} s left" if left else "")


class BuildProgress(LiveProgress, Callback):
    """Counts archives fetched, volumes converted and reused, rejects, rates and time left."""

    def __init__(self, console: Console, log_interval_s: float = 10.0) -> None:
        super().__init__(console, log_interval_s)
        self._directories: _Fetching | None = None
        self._fetching: _Fetching | None = None
        self._converting: _Converting | None = None
        self._knows_wanted = False

    def on_unread(self, archives: Iterable[RemoteArchive], *, directories_only: bool = False) -> None:
        """Add archives to those that will be fetched, or read once for their directories only."""
        sizes = {archive.url: archive.bytes or 0 for archive in archives}
        if sizes and directories_only:
            self._directories = _Fetching("directories read")
            self._directories.expect(sizes)
        elif sizes:
            self._fetching = self._fetching or _Fetching("archives staged")
            self._fetching.expect(sizes)

    def on_plan(self, plan: Plan) -> None:
        """Begin to count the volumes of a plan."""
        self._converting, self._knows_wanted = _Converting(plan), False
        if self._is_live:
            self._show(self._converting)

    def on_conversion(self, conversion: Conversion) -> None:
        """Count one conversion and log its rejects."""
        assert self._converting is not None  # started
        self._converting.add(conversion)
        faults = Counter((reject.reason, reject.message) for reject in conversion.rejects)
        for (reason, message), count in faults.items():
            first = next(r for r in conversion.rejects if (r.reason, r.message) == (reason, message))
            more = f" and {count - 1} more" if count > 1 else ""
            logger.warning("rejected %s%s: %s: %s", first.found_in, more, reason, message)
        self._show(self._converting)

    def on_fetch(self, fetched: Fetched) -> None:
        """Count one step of fetching an archive, and log its end."""
        if self._converting is not None and not self._knows_wanted:
            # Which volumes the store already has is known only now.
            self.on_unread(self._converting.archives_wanted())
            self._knows_wanted = True
        work = self._directories if fetched.is_directory else self._fetching
        assert work is not None  # expected, or wanted by the plan
        work.add(fetched)
        if fetched.reason is not None:
            logger.warning(
                "%s could not be fetched: %s: %s", fetched.archive.name, fetched.reason, fetched.message
            )
        elif fetched.is_whole and fetched.bytes_now:
            done = "was read for its directory, which is kept" if fetched.is_directory else "is staged"
            logger.info("%s %s", fetched.archive.name, done)
        self._show(work)

    def on_stage(self, name: str) -> None:
        """Log that publishing starts: it takes a while after the last conversion."""
        if name == "publish":
            logger.info("publishing: writing tables and the version")

    def _works(self) -> list[Work]:
        works = (self._directories, self._fetching, self._converting)
        return [work for work in works if work is not None]


class VerifyProgress(LiveProgress):
    """Counts the volumes that were read, and those with faults."""

    def __init__(self, console: Console, log_interval_s: float = 10.0) -> None:
        super().__init__(console, log_interval_s)
        self._verifying = _Verifying()

    def add(self, check: VolumeCheck, total: int) -> None:
        """Count one volume of `total`."""
        self._verifying.add(check, total)
        self._show(self._verifying)

    def _works(self) -> list[Work]:
        return [self._verifying] if self._verifying.total else []


class ExportProgress(LiveProgress):
    """Counts the files that were written."""

    def __init__(self, console: Console, log_interval_s: float = 10.0) -> None:
        super().__init__(console, log_interval_s)
        self._writing = _Writing()

    def add(self, file_bytes: int, total: int) -> None:
        """Count one file of `total`."""
        self._writing.add(file_bytes, total)
        self._show(self._writing)

    def _works(self) -> list[Work]:
        return [self._writing] if self._writing.total else []


class _Verifying(Work):
    def __init__(self) -> None:
        super().__init__()
        self._bytes = self._faulty = 0

    def add(self, check: VolumeCheck, total: int) -> None:
        self.total = total
        self.done += 1
        self._bytes += check.bytes
        self._faulty += bool(check.problems)

    def status(self, separator: str = ", ") -> str:
        return (
            f"{self.done:,}/{counted(self.total, 'volume')}, {self._faulty:,} with faults{separator}"
            f"{self._bytes / 1e9:.2f} GB, {self._bytes / 1e6 / self.seconds:.1f} MB/s"
        )


class _Writing(Work):
    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def add(self, file_bytes: int, total: int) -> None:
        self.total = total
        self.done += 1
        self._bytes += file_bytes

    def status(self, separator: str = ", ") -> str:
        return f"{self.done:,}/{counted(self.total, 'file')}{separator}{self._bytes / 1e9:.2f} GB"


class _Fetching(Work):
    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self._sizes: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self._complete: set[str] = set()
        self._bytes_now = 0

    def expect(self, archive_bytes: Mapping[str, int]) -> None:
        self._sizes |= archive_bytes
        self.total = sum(self._sizes.values())

    def add(self, fetched: Fetched) -> None:
        url = fetched.archive.url
        self.before += max(0, fetched.bytes_there - fetched.bytes_now - self._present.get(url, 0))
        self._present[url] = fetched.bytes_there
        self._bytes_now += fetched.bytes_now
        if fetched.is_whole:
            self._complete.add(url)
        self.done = sum(self._present.values())

    def status(self, separator: str = ", ") -> str:
        return (
            f"{len(self._complete)}/{len(self._sizes)} {self._label}{separator}"
            f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB, "
            f"{self._bytes_now / 1e6 / self.seconds:.1f} MB/s"
        )


class _Converting(Work):
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
            self.before += conversion.slice_count
            self._reused += bool(conversion.built)

    def archives_wanted(self) -> list[RemoteArchive]:
        """Return the remote archives of the volumes that are not built yet."""
        numbers = set().union(*self._waiting.values())
        return [archive for number, archive in self._plan.index.remote.items() if number in numbers]

    def status(self, separator: str = ", ") -> str:
        finished = self._volumes - len(self._waiting)
        counts = (
            f"{finished}/{counted(self._volumes, 'volume')} ({self._reused} reused), "
            f"{counted(self._rejects, 'reject')}"
        )
        if not self._slices:
            return counts
        slices, megabytes = self._slices / self.seconds, self._bytes / 1e6 / self.seconds
        return f"{counts}{separator}{slices:.0f} slices/s, {megabytes:.1f} MB/s"
