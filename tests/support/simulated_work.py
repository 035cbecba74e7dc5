"""An executor and a world for `etl.pipeline.queue`: results in any order; nothing is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etl.convert.convert import Converter
from etl.convert.results import Conversion, Lost
from etl.core.config import Volume
from etl.core.rejects import Reason
from etl.pipeline.queue import Conversions
from etl.plan.plan import PlannedVolume
from etl.release.index import SLICE_DTYPE, Container
from etl.release.names import SeriesKey
from etl.run.protocol import Task
from etl.staging.fetch import Fetched, Fetcher, RemoteArchive


def archive(number: int) -> RemoteArchive:
    return RemoteArchive(f"https://host/{number}.zip", f"{number}.zip", 100)


def planned(number: int, containers: Iterable[int]) -> PlannedVolume:
    """A volume with one slice in each container."""
    where = sorted(containers)
    slices = np.zeros(len(where), SLICE_DTYPE)
    slices["patient"], slices["study"], slices["series"] = number + 1, 1, 1
    slices["index"], slices["container"] = range(1, len(where) + 1), where
    shape, spacing_mm = (len(where), 8, 8), (1.0, 1.0, 1.0)
    return PlannedVolume(
        SeriesKey(number + 1, 1, 1),
        slices,
        shape,
        spacing_mm,
        shape,
        spacing_mm,
        Volume(),
        0,
        f"{number:016x}",
    )


CONTAINERS = tuple(Container(f"/{n}.zip", f"{n}.zip", True, 100, 1, "ab") for n in range(20))
CONVERTER = Converter("/store", CONTAINERS)
FETCHER = Fetcher("/staging")


@dataclass
class Case:
    """Volumes, and what happens to their archives.

    Attributes:
        needs: the containers of each volume.
        steps: tasks that it takes to fetch each remote archive; others are there already.
        failing: archives that can't be fetched, which the last task of each finds.
        unreadable: containers that are there, as it seems, and can't be read by the volumes.
        removed: archives that another build removes from the staging area, and how many times.
    """

    needs: list[set[int]]
    steps: dict[int, int]
    failing: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    downloads: int = 1
    keep: bool = True
    removed: dict[int, int] = field(default_factory=dict)

    def remote_needs(self, volume: int) -> set[int]:
        return {number for number in self.needs[volume] if number in self.steps}


class Run:
    """Plays an executor and the world; checks what must hold at every moment.

    Attributes:
        names: of the tasks, in the order in which they were taken.
        converted: numbers of the volumes, in the order in which results were given.
        most_staged: archives that lay in the staging area at the same time, whole or in part, but for what
            had come of those that failed.
        gave_way: archives begun beyond twice `downloads`.
    """

    def __init__(self, case: Case, choose: Callable[[int], int], window: int) -> None:
        """Args: window: tasks that compute at once; 1: one task of any kind, as the serial executor does."""
        self.case = case
        self.names: list[str] = []
        self.converted: list[int] = []
        self.most_staged = self.gave_way = 0
        self.staged: set[int] = set()
        self.failed: set[int] = set()
        self.under_way: set[int] = set()
        self.steps_done: Counter[int] = Counter()
        self.to_remove = Counter(case.removed)
        self.held: list[Task] = []
        archives = {number: archive(number) for number in case.steps}
        volumes = [planned(number, needs) for number, needs in enumerate(case.needs)]
        self.work = Conversions(
            volumes,
            CONVERTER,
            archives,
            FETCHER,
            downloads=case.downloads,
            keep_archives=case.keep,
            remove=self._remove,
        )
        self._run(choose, window)

    @property
    def refused(self) -> list[int]:
        return [int(conversion.planned_id[:6]) - 1 for conversion in self.work.rejected]

    @property
    def _vanishing(self) -> set[int]:
        return self.case.removed.keys() | self.case.unreadable

    def whole(self) -> set[int]:
        return {n for n in self.staged if self.steps_done[n] == self.case.steps[n]} - self.case.failing

    def _run(self, choose: Callable[[int], int], window: int) -> None:
        while True:
            while (window > 1 or not self.held) and (
                task := self.work.take(has_core=self._computing() < window)
            ) is not None:
                self._taken(task)
            if self._computing() < window > 1:
                self._nothing_waits_that_could_start()
            if not self.held:
                self._nothing_waits_that_could_start()
                return
            task = self.held.pop(choose(len(self.held)))
            self.work.finish(task, self._result(task))
            withdrawn = self.work.withdraw()
            assert all(task in self.held and not task.is_transfer for task in withdrawn)
            self.held = [task for task in self.held if task not in withdrawn]

    def _computing(self) -> int:
        return sum(not task.is_transfer for task in self.held)

    def _taken(self, task: Task) -> None:
        self.names.append(task.name)
        if task.function is FETCHER:
            number = int(task.argument.name.removesuffix(".zip"))
            assert number not in self.whole(), "it is there"
            assert all(task.argument is not other.argument for other in self.held), "taken twice"
            if number not in self.under_way:
                if not self.case.keep and len(self.staged - self.failed) >= 2 * self.case.downloads:
                    self.gave_way += 1
                    assert not self.held, "something else could have moved on"
                    assert not self.ready()
                self.under_way.add(number)
                self.staged.add(number)
                self.most_staged = max(self.most_staged, len(self.staged - self.failed))
            assert len({other.argument.url for other in [*self.held, task] if other.function is FETCHER}) <= (
                self.case.downloads
            )
            assert len(self.under_way & self._needed()) <= self.case.downloads
        else:
            assert task.function is CONVERTER
            number = task.argument.series.patient - 1
            assert self.case.remote_needs(number) <= self.whole() | self._vanishing
        self.held.append(task)

    def ready(self) -> set[int]:
        """Volumes whose archives are all there, and that are neither converted nor under way."""
        begun = {*self.converted, *self.refused, *(self._volume(t) for t in self.held)}
        return {
            number
            for number in range(len(self.case.needs))
            if number not in begun and self.case.remote_needs(number) <= self.whole()
        }

    def _needed(self) -> set[int]:
        """Archives of volumes that are neither converted nor refused."""
        over = {*self.converted, *self.refused}
        return {n for v, needs in enumerate(self.case.needs) if v not in over for n in needs}

    def _nothing_waits_that_could_start(self) -> None:
        assert self.ready() == set()

    @staticmethod
    def _volume(task: Task) -> int:
        return -1 if task.function is FETCHER else task.argument.series.patient - 1

    def _result(self, task: Task) -> Any:
        if task.function is not FETCHER:
            number = self._volume(task)
            for archive_number in self.case.remote_needs(number) & self.whole():
                if archive_number in self.case.unreadable or self.to_remove[archive_number]:
                    self.to_remove[archive_number] -= 1
                    self.steps_done[archive_number] = 0
                    self.staged.discard(archive_number)
            gone = self.case.remote_needs(number) - self.whole()
            assert gone <= self._vanishing, "an archive was removed under it"
            lost = self.case.needs[number] & self.case.unreadable | gone
            if lost:
                return Lost(min(lost), Reason.ARCHIVE_UNAVAILABLE, "it is silent")
            self.converted.append(number)
            return Conversion(task.argument.volume_id, (), 1, (), 1, 1)
        number = int(task.argument.name.removesuffix(".zip"))
        self.steps_done[number] += 1
        self.staged.add(number)  # also where it was removed meanwhile
        done = self.steps_done[number]
        is_last = done == self.case.steps[number]
        if is_last:
            self.under_way.discard(number)
        if is_last and number in self.case.failing:
            self.failed.add(number)
            return Fetched(task.argument, done, 1, False, Reason.ARCHIVE_CHANGED, "it changed")
        return Fetched(task.argument, done, 1, is_last)

    def _remove(self, removed: RemoteArchive) -> None:
        number = int(removed.name.removesuffix(".zip"))
        assert not self.case.keep
        over = {*self.converted, *self.refused}
        users = {n for n in range(len(self.case.needs)) if number in self.case.needs[n]}
        # Those that this very step refuses are not listed yet.
        lost = {n for n in users if self.case.needs[n] & (self.case.failing | self.case.unreadable)}
        assert users <= over | lost
        self.staged.discard(number)
        self.under_way.discard(number)
