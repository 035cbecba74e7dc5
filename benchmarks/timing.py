"""Repeated, interleaved timings and the memory of this process."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Timing:
    """Wall seconds of repeats of one thing, in the order in which they were taken, and CPU seconds."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def to_json(self) -> dict[str, float]:
        """Median, least and greatest; the median of the CPU's."""
        times = {"median": self.median, "least": min(self.seconds), "greatest": max(self.seconds)}
        return times | ({"cpu": statistics.median(self.cpu_seconds)} if self.cpu_seconds else {})


def timed(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rounds(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Time functions in turn, so that whatever else the machine does meets all of them alike.

    Each is called once before, untimed: what it compiles, imports or reads into the page cache is there then.
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
    """Median over the rounds of one's time divided by the other's in the same round."""
    return statistics.median(a / b for a, b in zip(of.seconds, to.seconds, strict=True))


def cpu_ratio(of: Timing, to: Timing) -> float:
    """The same of CPU seconds, which other work on the machine changes less; waiting is not in them."""
    return statistics.median(a / b for a, b in zip(of.cpu_seconds, to.cpu_seconds, strict=True))


def peak_mib() -> float:
    """The most memory that this process has had resident so far.

    Not what getrusage says: on Linux a child starts with the peak of the process that forked it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident_mib() -> float:
    """The memory that this process has resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB
