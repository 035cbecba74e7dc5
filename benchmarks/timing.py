"""Repeated, interleaved timings, and the memory of this process."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds of each repeat of one function, in order."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, float]:
        """Return the median, least and greatest wall seconds, and the median CPU seconds."""
        times = {"median": self.median, "least": min(self.seconds), "greatest": max(self.seconds)}
        return times | ({"cpu": statistics.median(self.cpu_seconds)} if self.cpu_seconds else {})


def timed(function: Callable[[], object]) -> float:
    """Return the wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rounds(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time functions in turn, so that other load on the machine affects all of them equally.

    Each is called once before, untimed, to compile, import and fill the page cache.
    """
    for function in contestants.values():
        function()
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, function in contestants.items():
            start = time.process_time()
            wall[name].append(timed(function))
            cpu[name].append(time.process_time() - start)
    return {name: Timing(tuple(wall[name]), tuple(cpu[name])) for name in contestants}


def ratio(of: Timing, to: Timing) -> float:
    """Return the median over the rounds of one function's time divided by the other's."""
    return statistics.median(a / b for a, b in zip(of.seconds, to.seconds, strict=True))


def cpu_ratio(of: Timing, to: Timing) -> float:
    """Return the same ratio of CPU seconds, which exclude waiting and vary less with other load."""
    return statistics.median(a / b for a, b in zip(of.cpu_seconds, to.cpu_seconds, strict=True))


def peak_mib() -> float:
    """Return the peak resident memory of this process so far.

    getrusage is wrong for this: on Linux a child starts with the peak of the process that forked it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident_mib() -> float:
    """Return the resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def volumes_row(count: int, work: Callable[[], object]) -> dict[str, float]:
    """Return the volumes per second of some work, and the memory of this process before and after it."""
    gc.collect()
    before = resident_mib()
    seconds = timed(work)
    gc.collect()
    return {
        "volumes": count,
        "seconds": seconds,
        "per_second": count / seconds,
        "resident_mib_before": before,
        "resident_mib_after": resident_mib(),
    }
