"""The order of work: archives to fetch, and volumes that wait for their archives. No I/O, no Dask.

A volume is ready once its archives are staged; one that spans two archives waits for both and for no others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from etl.convert.convert import Converter
from etl.convert.results import Conversion, Lost, reject_slices, reject_volume
from etl.core.rejects import Reason
from etl.plan.plan import PlannedVolume
from etl.run.protocol import FailureKind, Queue, Task, TaskFailure
from etl.staging.fetch import Fetched, RemoteArchive

# Times that a volume waits once more for an archive that is gone from the staging area: another build removes
# it up to twice, when that build begins and after its last volume.
MOST_WAITS_MORE = 4

REASONS = {
    FailureKind.KILLED: Reason.VOLUME_KILLS_WORKER,
    FailureKind.TIMED_OUT: Reason.VOLUME_TIMED_OUT,
}


class Fetches(Queue):
    """Archives to fetch, a few at a time, each in as many tasks as it takes.

    Args:
        archives: in the order in which they are needed.
        fetch: fetches the next part of an archive.
        downloads: most archives in flight.
    """

    def __init__(
        self, archives: Iterable[RemoteArchive], fetch: Callable[[RemoteArchive], Fetched], downloads: int
    ) -> None:
        self._fetch, self._downloads = fetch, downloads
        self._to_start = {archive.url: archive for archive in archives}
        self._to_continue: dict[str, RemoteArchive] = {}
        self._in_flight: set[str] = set()
        self._dropped: set[str] = set()

    def take(self, has_core: bool = True, *, may_start: bool = True) -> Task | None:
        """Return the next fetch, or None.

        Args:
            may_start: False to continue archives that were started only.
        """
        if self._to_continue:
            archive = self._to_continue.pop(next(iter(self._to_continue)))
        elif may_start and self._to_start and len(self._in_flight) < self._downloads:
            archive = self._to_start.pop(next(iter(self._to_start)))
            self._in_flight.add(archive.url)
        else:
            return None
        return Task(f"fetch-{archive.name}", self._fetch, archive, is_transfer=True)

    def finish(self, task: Task, result: Fetched) -> None:
        url = result.archive.url
        if result.is_whole or result.reason is not None or url in self._dropped:
            self._in_flight.discard(url)
        else:
            self._to_continue[url] = result.archive

    def start_again(self, archive: RemoteArchive) -> None:
        """Fetch the archive once more, unless that is under way."""
        if archive.url not in self._in_flight:
            self._to_start = {archive.url: archive} | self._to_start

    def is_waiting(self, archive: RemoteArchive) -> bool:
        """Return True if the fetch of the archive has not started."""
        return archive.url in self._to_start

    def drop(self, archive: RemoteArchive) -> None:
        """Start or continue the archive no more: no volume needs it."""
        self._dropped.add(archive.url)
        self._to_start.pop(archive.url, None)
        if self._to_continue.pop(archive.url, None) is not None:
            self._in_flight.discard(archive.url)


class Conversions(Queue):
    """Volumes to convert, and the archives to fetch for them.

    An archive that is lost rejects the volumes that need it, at once, and no others. One that another build
    removed from the staging area is fetched again.

    Args:
        volumes: in the order of the store.
        archives: archives to fetch, by container number; other containers are read where they lie.
        keep_archives: False to remove each staged archive after its last volume. At most twice `downloads`
            archives are staged then, not counting the partial files of lost ones.
        remove: removes a staged archive, whole or partial; it logs its own errors.

    Attributes:
        rejected: conversions of volumes whose archive was lost or whose task failed.
        unreadable: containers that conversions lost for good.
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
        remove: Callable[[RemoteArchive], object] | None = None,
    ) -> None:
        self._converter, self._keep, self._remove = converter, keep_archives, remove
        self._most_staged = 2 * downloads
        self._archives = archives
        self._numbers = {archive.url: number for number, archive in archives.items()}
        self._ready: deque[PlannedVolume] = deque()
        self._running: set[Task] = set()
        self._withdrawn: list[Task] = []
        self.rejected: list[Conversion] = []
        self.unreadable: set[int] = set()
        self._waits_more: Counter[tuple[str, int]] = Counter()
        # By volume neither converted nor rejected: the archives that it still lacks.
        self._lacks: dict[str, set[int]] = {}
        # By container: its volumes; by archive: the number of volumes that still need it.
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
        needed_archives = dict.fromkeys(number for volume in volumes for number in self._needs(volume))
        self._fetches = Fetches([archives[n] for n in needed_archives], fetch, downloads) if fetch else None

    def take(self, has_core: bool = True) -> Task | None:
        while self._ready and self._ready[0].volume_id not in self._lacks:
            self._ready.popleft()  # rejected since
        task = None
        # Fetches first, so that downloads never pause. If only one task runs at a time, a ready volume goes
        # before archives that other volumes need.
        if self._fetches and (self._running or not self._ready):
            task = self._fetches.take(may_start=self._may_start())
        if task is None and has_core and self._ready:
            volume = self._ready.popleft()
            name = f"convert-{volume.volume_id}"
            task = Task(name, self._converter, volume, memory_bytes=volume.peak_bytes)
        if task is not None:
            self._running.add(task)
        return task

    def finish(self, task: Task, result: Fetched | Conversion | Lost) -> None:
        self._running.remove(task)
        if isinstance(result, Lost):
            if not self._wait_once_more(task.argument, result.container):
                self.unreadable.add(result.container)
                self._reject_users(result.container, result.reason, result.message)
        elif isinstance(result, Fetched):
            self._finish_fetch(task, result)
        else:
            del self._lacks[task.argument.volume_id]
            self._release_archives(task.argument)

    def withdraw(self) -> Sequence[Task]:
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn

    def fail(self, task: Task, failure: TaskFailure) -> bool:
        if task.is_transfer:
            return False
        self._running.remove(task)
        del self._lacks[task.argument.volume_id]
        containers, reason = self._converter.containers, REASONS[failure.kind]
        self.rejected.append(reject_volume(task.argument, containers, reason, failure.message))
        self._release_archives(task.argument)
        return True

    def _finish_fetch(self, task: Task, result: Fetched) -> None:
        assert self._fetches is not None  # it made the task
        self._fetches.finish(task, result)
        number = self._numbers[result.archive.url]
        if number not in self._unserved:  # its volumes were rejected meanwhile
            self._clear(number)
        elif result.reason is not None:
            # The partial file stays, so that the next run continues it.
            self._lost.add(number)
            self._reject_users(number, result.reason, result.message)
        elif result.is_whole:
            for volume in self._users[number]:
                lacks = self._lacks.get(volume.volume_id, set())
                if number in lacks:
                    lacks.discard(number)
                    if not lacks:
                        self._ready.append(volume)

    def _wait_once_more(self, volume: PlannedVolume, number: int) -> bool:
        """Let a volume wait until a staged archive is fetched again; return False if that is no remedy."""
        if self._fetches is None or number not in self._archives or number in self._lost:
            return False
        self._waits_more[volume.volume_id, number] += 1
        if self._waits_more[volume.volume_id, number] > MOST_WAITS_MORE:
            return False
        self._lacks[volume.volume_id].add(number)
        self._fetches.start_again(self._archives[number])
        return True

    def _reject_users(self, container: int, reason: Reason, message: str) -> None:
        """Reject all volumes that need the container and are not converted yet."""
        for volume in self._users[container]:
            if self._lacks.pop(volume.volume_id, None) is None:
                continue
            self._withdrawn += [task for task in self._running if task.argument is volume]
            self.rejected.append(reject_slices(volume, self._converter.containers, reason, message))
            self._release_archives(volume)
        self._running.difference_update(self._withdrawn)

    def _may_start(self) -> bool:
        assert self._fetches is not None
        # If nothing else can run, the bound gives way: a volume may need more archives than it allows.
        if self._keep or not (self._running or self._ready):
            return True
        started = sum(not self._fetches.is_waiting(self._archives[number]) for number in self._unserved)
        return started < self._most_staged

    def _release_archives(self, volume: PlannedVolume) -> None:
        """Count that the volume needs its archives no more."""
        for number in self._needs(volume):
            self._unserved[number] -= 1
            if not self._unserved[number]:
                del self._unserved[number]
                assert self._fetches is not None
                self._fetches.drop(self._archives[number])
                self._clear(number)

    def _clear(self, number: int) -> None:
        if not self._keep and number not in self._lost and self._remove is not None:
            self._remove(self._archives[number])

    def _needs(self, volume: PlannedVolume) -> set[int]:
        return {number for number in volume.container_numbers if number in self._archives}
