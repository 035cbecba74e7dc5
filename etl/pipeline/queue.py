"""What is to be done next: archives to fetch, and volumes that wait for theirs. No I/O, no Dask.

A volume is ready as soon as its archives are there; one that spans two archives waits for both. Nothing waits
for the whole.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from etl.convert.convert import Conversion, Converter, Lost
from etl.core.rejects import Reason
from etl.plan.plan import PlannedVolume
from etl.run.protocol import Task, Work
from etl.staging.fetch import Fetched, RemoteArchive


class Fetches(Work):
    """Archives to fetch, a few at a time, each in as many tasks as it takes.

    Args:
        archives: in the order in which they are wanted.
        fetch: one step of an archive's way.
        downloads: archives under way at the same time.
    """

    def __init__(
        self, archives: Iterable[RemoteArchive], fetch: Callable[[RemoteArchive], Fetched], downloads: int
    ) -> None:
        self._fetch, self._downloads = fetch, downloads
        self._to_start = {archive.url: archive for archive in archives}
        self._to_continue: dict[str, RemoteArchive] = {}
        self._under_way: set[str] = set()
        self._dropped: set[str] = set()

    def take(self, has_core: bool = True, *, may_start: bool = True) -> Task | None:
        """Args: may_start: False to go on with what was begun only."""
        if self._to_continue:
            archive = self._to_continue.pop(next(iter(self._to_continue)))
        elif may_start and self._to_start and len(self._under_way) < self._downloads:
            archive = self._to_start.pop(next(iter(self._to_start)))
            self._under_way.add(archive.url)
        else:
            return None
        return Task(f"fetch-{archive.name}", self._fetch, archive, is_transfer=True)

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


class Conversions(Work):
    """Volumes to convert, and the archives that have to be fetched for them.

    An archive that can't be had costs the volumes that need it, at once, and no others.

    Args:
        volumes: in the order of the store.
        archives: what has to be fetched, by container number; other containers are there already.
        keep_archives: False to have each staged archive removed after its last volume. No more than twice
            `downloads` archives lie in the staging area then, and what has come of those that can't be had.
        remove: removes a staged archive, whole or in part; where that fails, it says so itself.

    Attributes:
        refused: conversions of volumes whose archive could not be had, or that no worker could convert.
    """

    def __init__(
        self,
        volumes: Sequence[PlannedVolume],
        converter: Converter,
        archives: Mapping[int, RemoteArchive],
        fetch: Callable[[RemoteArchive], Fetched] | None = None,
        *,
        downloads: int = 1,
        keep_archives: bool = True,
        remove: Callable[[RemoteArchive], object] = lambda archive: None,
    ) -> None:
        self._converter, self._keep, self._remove = converter, keep_archives, remove
        self._most_staged = 2 * downloads
        self._archives = archives
        self._numbers = {archive.url: number for number, archive in archives.items()}
        self._ready: deque[PlannedVolume] = deque()
        self._running: set[Task] = set()
        self._withdrawn: list[Task] = []
        self.refused: list[Conversion] = []
        # Volumes neither converted nor refused with the archives that each still lacks, the volumes of each
        # container, how many volumes each archive has to serve, and the archives that could not be had.
        self._lacks: dict[str, set[int]] = {}
        self._users: dict[int, list[PlannedVolume]] = {}
        self._unserved: Counter[int] = Counter()
        self._lost: set[int] = set()
        for volume in volumes:
            for number in volume.container_numbers:
                self._users.setdefault(number, []).append(volume)
            self._lacks[volume.volume_id] = needed = self._needs(volume)
            self._unserved.update(needed)
            if not needed:
                self._ready.append(volume)
        wanted = dict.fromkeys(number for volume in volumes for number in self._needs(volume))
        self._fetches = Fetches([archives[n] for n in wanted], fetch, downloads) if fetch else None

    def take(self, has_core: bool = True) -> Task | None:
        while self._ready and self._ready[0].volume_id not in self._lacks:
            self._ready.popleft()  # refused in the meantime
        task = None
        # Downloads first, so that they never pause; but one task at a time, a volume that is ready does not
        # wait for archives that others need.
        if self._fetches and (self._running or not self._ready):
            task = self._fetches.take(may_start=self._may_start())
        if task is None and has_core and self._ready:
            volume = self._ready.popleft()
            memory_bytes = self._converter.memory_bytes(volume)
            task = Task(f"convert-{volume.volume_id}", self._converter, volume, memory_bytes=memory_bytes)
        if task is not None:
            self._running.add(task)
        return task

    def give(self, task: Task, result: Fetched | Conversion | Lost) -> None:
        self._running.remove(task)
        if isinstance(result, Lost):
            self._refuse(result.container, result.reason, result.message)
        elif isinstance(result, Fetched):
            self._give_fetched(task, result)
        else:
            del self._lacks[task.argument.volume_id]
            self._serve(task.argument)

    def withdraw(self) -> Sequence[Task]:
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn

    def refuse(self, task: Task, reason: Reason, message: str) -> bool:
        if task.is_transfer:
            return False
        self._running.remove(task)
        del self._lacks[task.argument.volume_id]
        self.refused.append(self._converter.reject(task.argument, reason, message))
        self._serve(task.argument)
        return True

    def _give_fetched(self, task: Task, result: Fetched) -> None:
        assert self._fetches is not None  # it gave the task
        self._fetches.give(task, result)
        number = self._numbers[result.archive.url]
        if number not in self._unserved:  # its volumes were refused meanwhile
            self._clear(number)
        elif result.reason is not None:
            # What has come of it stays, for the next run to go on with.
            self._lost.add(number)
            self._refuse(number, result.reason, result.message)
        elif result.is_whole:
            for volume in self._users[number]:
                lacks = self._lacks.get(volume.volume_id)
                if lacks is not None:
                    lacks.discard(number)
                    if not lacks:
                        self._ready.append(volume)

    def _refuse(self, container: int, reason: Reason, message: str) -> None:
        """Refuse all volumes that need the container and are not converted yet."""
        for volume in self._users[container]:
            if self._lacks.pop(volume.volume_id, None) is None:
                continue
            self._withdrawn += [task for task in self._running if task.argument is volume]
            self.refused.append(self._converter.refuse(volume, reason, message))
            self._serve(volume)
        self._running.difference_update(self._withdrawn)

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
                self._clear(number)

    def _clear(self, number: int) -> None:
        if not self._keep and number not in self._lost:
            self._remove(self._archives[number])

    def _needs(self, volume: PlannedVolume) -> set[int]:
        return {number for number in volume.container_numbers if number in self._archives}
