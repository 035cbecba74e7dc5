"""Faults of the machine of one run, put in place in its own process."""

from __future__ import annotations

import datetime
import functools
import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace


def clock_going_backwards() -> None:
    """Every look at the wall clock gives an hour less than the one before."""
    start, hours = time.time(), itertools.count(1)
    time.time = lambda: start - 3600.0 * next(hours)

    class Backwards(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Backwards:
            return cls.fromtimestamp(time.time(), tz)

    shown = SimpleNamespace(**{**vars(datetime), "datetime": Backwards})
    for name, module in list(sys.modules.items()):
        if name.startswith("etl.") and getattr(module, "datetime", None) is datetime:
            module.datetime = shown  # type: ignore[attr-defined]


def impatience() -> None:
    """The S3 driver waits a second for an answer, and attempts follow each other soon."""
    import s3fs

    from etl.io import retries

    s3fs.S3FileSystem.read_timeout = 1
    retries._settings = retries.TransferSettings(first_wait_s=0.01, longest_wait_s=0.1, outage_s=0.0)


def serial_derivation() -> None:
    """Derived tables are computed in this process, and each volume has a file of its own."""
    import etl.run.clusters
    from etl.pipeline import derive
    from etl.run.cluster_kinds import Serial

    etl.run.clusters.chosen_cluster = lambda name: Serial(kind="serial")
    derive.derive = functools.partial(derive.derive, volumes_a_part=1)


CONDITIONS: dict[str, Callable[[], None]] = {
    "clock going backwards": clock_going_backwards,
    "impatience": impatience,
    "serial derivation": serial_derivation,
}
