"""A process that runs jobs in forks of itself, each of which may be struck at a boundary.

Everything is imported once and nothing runs except the main thread, so that a run costs little more than its
work. Speaks JSON, one line a run: see `Orders`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, environment


@dataclass(frozen=True)
class Orders:
    """One run.

    Attributes:
        arguments: of the job.
        log: file for what it prints.
        store: whose boundaries count.
        strike_at: number of the boundary at which the signal is sent; None to count them only.
        signal: which one.
        extra: what else is wrong with this run, by names in `tests.chaos.conditions`, with a comma between.
        job: which one, by its name in `jobs`.
    """

    arguments: list[str]
    log: str
    store: str
    strike_at: int | None = None
    signal: int = signal.SIGKILL
    extra: str = ""
    job: str = "build_store"


@dataclass(frozen=True)
class Outcome:
    """The end of a run: exit code, or minus the signal's number; the boundaries that it came to."""

    code: int
    boundaries: tuple[str, ...]


class Foundry:
    """Starts runs; see `foundry`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, orders: Orders) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(orders)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the foundry ended"
        answer = json.loads(line)
        return Outcome(answer["code"], tuple(answer["boundaries"]))


@contextlib.contextmanager
def foundry() -> Iterator[Foundry]:
    """A foundry with this process's environment, until the end of the block."""
    command = [sys.executable, "-m", "tests.chaos.foundry"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Foundry(process)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def _run(orders: Orders, boundaries: int) -> None:
    """In the fork: do the job, and write each boundary to a pipe before it is crossed."""
    from tests.chaos.boundaries import watch_boundaries
    from tests.chaos.conditions import CONDITIONS

    log = os.open(orders.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    count = 0

    def on_boundary(name: str) -> None:
        nonlocal count
        os.write(boundaries, f"{name}\n".encode())
        count += 1
        if count - 1 == orders.strike_at:
            os.kill(os.getpid(), orders.signal)

    watch_boundaries(orders.store, on_boundary)
    for extra in filter(None, orders.extra.split(", ")):
        CONDITIONS[extra]()
    sys.argv = [f"jobs/{orders.job}.py", *orders.arguments]
    importlib.import_module(f"jobs.{orders.job}").main.main(orders.arguments, standalone_mode=False)


def _fork(orders: Orders) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            _run(orders, writing)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with open(reading) as lines:
        names = lines.read().splitlines()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "boundaries": names}


def _warm() -> None:
    """Load what every run needs; the numeric kernels too."""
    import numpy as np
    import s3fs  # noqa: F401

    import etl.report.report
    import etl.run.dask  # noqa: F401
    import jobs.build_store
    import jobs.store_versions  # noqa: F401
    from etl.imaging.resample import resample
    from etl.store.volumes import Encoding, encode_levels

    encoding = Encoding((16, 16, 16), "zstd", 1, "bitshuffle", -1024)
    for spacing_mm, shape in (((1.0, 1.0, 1.0), (5, 8, 8)), ((2.0, 2.0, 2.0), (3, 4, 4))):
        planes = resample(
            iter([np.zeros((16, 16), np.int16)] * 3),
            (3, 16, 16),
            (2.0, 0.5, 0.5),
            spacing_mm,
            interpolation="linear",
            antialias=True,
            clip_hu=(-1024, 3071),
        )
        encode_levels(planes, shape, 2, encoding)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(ROOT)))
    _warm()
    assert threading.active_count() == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        print(json.dumps(_fork(Orders(**json.loads(line)))), flush=True)
