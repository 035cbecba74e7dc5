"""Settings of transfers for tests: waits between attempts that are tiny, and clocks that only waits move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from etl.io import retries
from etl.io.retries import TransferSettings, default_settings

USUAL = TransferSettings()
SHORT_WAITS: dict[str, Any] = {"first_wait_s": 0.001, "longest_wait_s": 0.01, "outage_s": 0.0}
IMPATIENT = replace(USUAL, **SHORT_WAITS)


@contextmanager
def transfers_changed(**changes: Any) -> Iterator[None]:
    """Change some settings of this process's transfers, until the block ends."""
    with mock.patch.object(retries, "_settings", replace(default_settings(), **changes)):
        yield


def clock_of_waits(patch: pytest.MonkeyPatch) -> list[float]:
    """Waits of transfers end at once, and their clock goes on as if they did not; gives the waits."""
    waits: list[float] = []
    start = time.monotonic()
    patch.setattr("etl.io.retries.sleep", waits.append)
    for user in ("etl.io.retries", "etl.staging.fetch"):
        patch.setattr(f"{user}.monotonic", lambda: start + sum(waits))
    return waits
