"""What is to be done next: archives to fetch, and volumes that wait for theirs. No I/O, no Dask.

A volume is ready as soon as its archives are there; one that spans two archives waits for both. Nothing waits
for the whole.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from etl.convert import Conversion, Converter
from etl.plan import PlannedVolume
from etl.release.staging import Fetched, Fetcher, RemoteArchive


@dataclass(frozen=True, eq=False)
class Task:
    """One call to make somewhere: `function(argument)`."""

    name: str
    function: Callable[[Any], Any]
    argument: Any


class Work(Protocol):
    """A source of tasks for an executor."""

    def take(self) -> Task | None:
        """A task that can start now; None while there is none. With no task under way, None ends the work."""

    def give(self, task: Task, result: Any) -> None:
        """Take back the result of a task."""


class Items:
    """One function over items that are all ready; they are taken from the iterable as they are needed."""

    def __init__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> None:
        self._function, self._items = function, enumerate(items)

    def take(self) -> Task | None:
        for number, item in self._items:
            return Task(f"item-{number}", self._function, item)
        return None

    def give(self, task: Task, result: Any) -> None:
        pass


class Fetches:
    """Archives to fetch, a few at a time, each in as many tasks as it takes.

    Args:
        archives: in the order in which they are wanted.
        downloads: archives under way at the same time.
    """

    def __init__(self, archives: Iterable[RemoteArchive], fetcher: Fetcher, downloads: int) -> None:
        self._fetcher, self._downloads = fetcher, downloads
        self._to_start = {archive.url: archive for archive in archives}
        self._to_continue: dict[str, RemoteArchive] = {}
        self._under_way: set[str] = set()
        self._dropped: set[str] = set()

    def take(self, *, may_start: bool = True) -> Task | None:
        """Args: may_start: False to go on with what was begun only."""
        if self._to_continue:
            archive = self._to_continue.pop(next(iter(self._to_continue)))
        elif may_start and self._to_start and len(self._under_way) < self._downloads:
            archive = self._to_start.pop(next(iter(self._to_start)))
            self._under_way.add(archive.url)
        else:
            return None
        return Task(f"fetch-{archive.name}", self._fetcher, archive)

    def give(self, task: Task, result: Fetched) -> None:
        url = result.archive.url
        if result.is_whole or result.reason is not None or url in self._dropped:
            self._under_way.discard(url)
        else:
            self._to_continue[url] = result.archive

    def is_waiting(self, archive: RemoteArchive) -> bool:
        """It was not begun yet."""
        return archive.url in self._to_start

    def drop(self, archive: RemoteArchive) -> None:
        """Nobody needs it any more: it is not begun, or not continued."""
        self._dropped.add(archive.url)
        self._to_start.pop(archive.url, None)
        if self._to_continue.pop(archive.url, None) is not None:
            self._under_way.discard(archive.url)


class Conversions:
    """Volumes to convert, and the archives that have to be fetched for them.

    Args:
        volumes: in the order of the store.
        archives: what has to be fetched, by container number; other containers are there already.
        keep_archives: False to have each staged archive removed after its last volume. No more than twice
            `downloads` archives lie in the staging area then.
        remove: removes a staged archive.

    Attributes:
        refused: conversions of volumes whose archive could not be had.
    """

    def __init__(
        self,
        volumes: Sequence[PlannedVolume],
        converter: Converter,
        archives: Mapping[int, RemoteArchive],
        fetcher: Fetcher | None = None,
        *,
        downloads: int = 1,
        keep_archives: bool = True,
        remove: Callable[[RemoteArchive], None] = lambda archive: None,
    ) -> None:
        self._converter, self._keep, self._remove = converter, keep_archives, remove
        self._most_staged = 2 * downloads
        self._archives = archives
        self._numbers = {archive.url: number for number, archive in archives.items()}
        self._ready: deque[PlannedVolume] = deque()
        self._running = 0
        self.refused: list[Conversion] = []
        # What each volume still lacks, who waits for each archive, and how many volumes each has to serve.
        self._lacks: dict[str, set[int]] = {}
        self._waiting: dict[int, list[PlannedVolume]] = {}
        self._unserved: Counter[int] = Counter()
        for volume in volumes:
            self._lacks[volume.volume_id] = needed = self._needs(volume)
            self._unserved.update(needed)
            for number in needed:
                self._waiting.setdefault(number, []).append(volume)
            if not needed:
                self._ready.append(volume)
        wanted = [archives[number] for number in self._waiting]
        self._fetches = Fetches(wanted, fetcher, downloads) if fetcher else None

    def take(self) -> Task | None:
        task = None
        # Downloads first, so that they never pause; but one task at a time, a volume that is ready does not
        # wait for archives that others need.
        if self._fetches and (self._running or not self._ready):
            task = self._fetches.take(may_start=self._may_start())
        if task is None and self._ready:
            volume = self._ready.popleft()
            task = Task(f"convert-{volume.volume_id}", self._converter, volume)
        self._running += task is not None
        return task

    def give(self, task: Task, result: Any) -> None:
        self._running -= 1
        if not isinstance(result, Fetched):
            self._serve(task.argument)
            return
        assert self._fetches is not None  # it gave the task
        self._fetches.give(task, result)
        if result.reason is not None:
            for volume in self._waiting.pop(self._numbers[result.archive.url]):
                if self._lacks.pop(volume.volume_id, None):
                    self.refused.append(self._converter.refuse(volume, result.reason, result.message))
                    self._serve(volume)
        elif result.is_whole:
            number = self._numbers[result.archive.url]
            for volume in self._waiting.pop(number):
                lacks = self._lacks.get(volume.volume_id)
                if lacks is not None:  # else another of its archives could not be had
                    lacks.discard(number)
                    if not lacks:
                        self._ready.append(volume)
            if number not in self._unserved and not self._keep:  # its volumes were refused meanwhile
                self._remove(result.archive)

    def _may_start(self) -> bool:
        assert self._fetches is not None
        # A volume may need more archives than the bound lets in: then it gives way, or nothing would move.
        if self._keep or not (self._running or self._ready):
            return True
        begun = sum(not self._fetches.is_waiting(self._archives[number]) for number in self._unserved)
        return begun < self._most_staged

    def _serve(self, volume: PlannedVolume) -> None:
        """The volume needs its archives no more."""
        for number in self._needs(volume):
            self._unserved[number] -= 1
            if not self._unserved[number]:
                del self._unserved[number]
                assert self._fetches is not None
                self._fetches.drop(self._archives[number])
                if not self._keep:
                    self._remove(self._archives[number])

    def _needs(self, volume: PlannedVolume) -> set[int]:
        return {number for number in set(volume.slices["container"].tolist()) if number in self._archives}
