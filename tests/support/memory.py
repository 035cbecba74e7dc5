"""Memory that a call allocates."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def traced_peak_bytes(call: Callable[[], object], runs: int = 3) -> int:
    """Return the most bytes that a call holds at once, the least of some runs.

    `tracemalloc` counts the allocations of every thread of the process: event loops that an earlier test
    started add to one run or another, and never take away.
    """
    peaks = []
    for _ in range(runs):
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)
