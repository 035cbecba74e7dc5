"""A worker keeps the memory that its tasks free."""

from __future__ import annotations

import os
import resource

import numpy as np
import pytest

from etl.run.cluster_kinds import Local, Size
from etl.run.clusters import connect

ARRAYS, ARRAY_BYTES = 200, 1 << 20


def page_faults(item: int) -> int:
    """Return the page faults of a task that fills one array after the other."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ARRAYS):
        np.ones(ARRAY_BYTES, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def has_dasks_threshold(item: int) -> bool:
    return os.environ.get("MALLOC_TRIM_THRESHOLD_") == "65536"


@pytest.mark.campaign
def test_an_array_takes_the_memory_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with connect(Local(kind="local", workers=Size(minimum=1, maximum=1))) as executor:
        assert list(executor.run(has_dasks_threshold, [0])) == [True]
        faults = list(executor.run(page_faults, range(3)))
    # Without kept memory, each page of each array is a fault.
    assert faults[-1] < ARRAYS * ARRAY_BYTES // resource.getpagesize() // 10
