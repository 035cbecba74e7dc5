"""Running marks: each job that changes a store has an object there, renewed by a heartbeat while it runs.

    .running/<run_id>.json    user, host, start; written before anything else, removed at the end

A build adds objects and names them at its end; a prune deletes what no version names, so they exclude each
other. Each writes its mark first and reads the others' marks next, so of two that start at once at least one
sees the other: a prune then refuses, a build waits. Concurrent builds are harmless.

A mark without a heartbeat for 15 minutes is dead. All times are the store's own, so no machine's clock
matters: the age of a mark is the time of the reader's own mark, just written, minus its time. A run began
when its mark was first written; the first heartbeat records that time in the mark.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

from etl.io.places import Objects
from etl.store.layout import RUNNING, to_json
from etl.store.sealed import parse_json
from etl.store.versions import now_text, writable

logger = logging.getLogger(__name__)

DEAD_SECONDS = 15 * 60.0

Kind = Literal["build", "rollback", "tables", "tag", "prune"]


@dataclass(frozen=True)
class Mark:
    """The mark of one running job.

    Attributes:
        run_id: name of the run.
        kind: its work: build, rollback, tables (a job that adds some), tag or prune.
        host, process, user: where it runs, and the user who started it.
        since: ISO 8601, by the clock of its own machine; for people only.
        began_s: by the store's clock, in seconds since 1970; None in a mark that was not renewed yet.
    """

    run_id: str
    kind: str
    host: str
    process: int
    user: str
    since: str
    began_s: float | None = None

    def __str__(self) -> str:
        who = f"{self.user} on {self.host}, process {self.process}"
        return f"{self.kind} {self.run_id} ({who}, since {self.since})"


def mark_path(run_id: str) -> str:
    """Return the path of a run's mark, relative to the store."""
    return f"{RUNNING}/{run_id}.json"


class Running:
    """This run's own mark while it exists; `running` creates it."""

    def __init__(self, objects: Objects, run_id: str, kind: Kind) -> None:
        self.mark = Mark(run_id, kind, socket.gethostname(), os.getpid(), _user(), now_text())
        self._objects, self._path = objects, mark_path(run_id)
        self._lock = threading.Lock()
        self._has_lapsed = False
        self._write()

    def renew(self) -> float:
        """Write the mark again; return the time of that by the store's clock, in seconds since 1970.

        Raises:
            OSError: the mark can't be written.
        """
        with self._lock:
            before = self._written_s()
            if self.mark.began_s is None:
                self.mark = replace(self.mark, began_s=before)
            self._write()
            after = self._written_s()
            # It was dead to others if they removed it, or could have seen it older than this limit.
            if before is None or after is None or after - before > DEAD_SECONDS:
                self._has_lapsed = True
            if after is None:
                raise OSError(f"{self._objects.root}/{self._path} was removed")
            return after

    def lapsed(self) -> bool:
        """Renew the mark; return True if it was dead since the last call, so that a prune may have run.

        Raises:
            OSError: the mark can't be written.
        """
        self.renew()
        lapsed, self._has_lapsed = self._has_lapsed, False
        return lapsed

    def others(self) -> list[Mark]:
        """Return the marks of all other running jobs of the store.

        Raises:
            OSError: the store can't be read or written.
        """
        return [mark for mark, age_s in self._ages() if age_s <= DEAD_SECONDS]

    def remove_dead(self) -> None:
        """Delete the marks of runs that ended without doing so; a run that was only suspended notices.

        Raises:
            OSError: the store can't be read or written.
        """
        for mark, age_s in self._ages():
            if age_s > DEAD_SECONDS:
                self._objects.remove(mark_path(mark.run_id))

    def earlier(self, kind: Kind) -> list[Mark]:
        """Return concurrent runs of this kind that began before this one, by the store's clock.

        If two began at the same time, within the clock's resolution, the name of the run decides.

        Raises:
            StoreError: the store can't be read or written.
        """
        with writable(self._objects):
            others = self._concurrent(kind)
            return [mark for mark in others if _order(mark) < _order(self.mark)]

    def wait_for(self, kind: Kind, *, only_earlier: bool = False, poll_s: float = 5.0) -> None:
        """Wait until no other run of this kind is active, and log each one that is waited for.

        Args:
            only_earlier: True ignores runs that began after this one, because they may wait for it.
            poll_s: seconds between two looks.

        Raises:
            StoreError: the store can't be read or written.
        """
        look = self.earlier if only_earlier else self._concurrent
        logged: set[str] = set()
        with writable(self._objects):
            while found := look(kind):
                for mark in found:
                    if mark.run_id not in logged:
                        logged.add(mark.run_id)
                        logger.info("waiting for the end of %s", mark)
                time.sleep(poll_s)

    def _concurrent(self, kind: Kind) -> list[Mark]:
        return [mark for mark in self.others() if mark.kind == kind]

    def _ages(self) -> Iterator[tuple[Mark, float]]:
        now_s = self.renew()
        for name, item in self._objects.listed(RUNNING).items():
            if name.endswith(".json") and f"{RUNNING}/{name}" != self._path:
                with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                    mark = _read_mark(self._objects, name)
                    if mark.began_s is None:
                        mark = replace(mark, began_s=item.written_s)
                    yield mark, now_s - item.written_s

    def _write(self) -> None:
        self._objects.write(self._path, to_json(asdict(self.mark)))

    def _written_s(self) -> float | None:
        item = self._objects.listed(RUNNING).get(self._path.removeprefix(f"{RUNNING}/"))
        return item.written_s if item else None


def marks_by_clock(objects: Objects) -> list[Mark]:
    """Return the marks of running jobs by this machine's clock, for a job that can't write a mark of its own.

    Raises:
        OSError: the store can't be read.
    """
    now_s = time.time()
    return [
        _read_mark(objects, name)
        for name, item in objects.listed(RUNNING).items()
        if name.endswith(".json") and now_s - item.written_s <= DEAD_SECONDS
    ]


def _read_mark(objects: Objects, name: str) -> Mark:
    data = objects.read(f"{RUNNING}/{name}")
    run_id = name.removesuffix(".json")
    try:
        return Mark(**(parse_json(data) | {"run_id": run_id}))
    except (ValueError, TypeError):  # written by another version of this package, or damaged
        return Mark(run_id, "run", "unknown", 0, "unknown", "unknown")


@contextlib.contextmanager
def running(objects: Objects, run_id: str, kind: Kind, renew_s: float = 60.0) -> Iterator[Running]:
    """Keep a mark in the store while the block runs: written first, renewed by a heartbeat, removed last.

    Renewals that fail are logged and don't stop the run; ask `lapsed` before relying on what was there.

    Args:
        renew_s: seconds between two heartbeats.

    Raises:
        StoreError: the mark can't be written.
    """
    with writable(objects):
        own = Running(objects, run_id, kind)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(renew_s):
            try:
                own.renew()
            except OSError as error:
                logger.warning("the mark of this run can't be renewed: %s", error)

    thread = threading.Thread(target=keep, name=f"mark {run_id}", daemon=True)
    thread.start()
    try:
        yield own
    finally:
        ended.set()
        thread.join()
        try:
            objects.remove(mark_path(run_id))
        except OSError as error:
            logger.warning("the mark of this run can't be removed and lapses in 15 minutes: %s", error)


def _order(mark: Mark) -> tuple[float, str]:
    # Only a mark that somebody else removed before its first renewal has no time.
    return (mark.began_s if mark.began_s is not None else math.inf, mark.run_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this number, as in many containers
        return str(os.getuid())
