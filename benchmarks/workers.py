"""One worker against two: the same volumes through the real executor, including driver and scheduler."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.sample import SLICES, Sample, make_sample
from benchmarks.timing import Timing, ratio
from etl.convert.convert import Converter
from etl.core.config import Volume
from etl.pipeline.queue import Conversions
from etl.plan.plan import PlannedVolume
from etl.release.names import SeriesKey
from etl.run.cluster_kinds import Local, Size
from etl.run.clusters import connect


def measure(folder: Path, repeats: int = 5, volumes: int = 16, slices: int = SLICES) -> dict[str, Any]:
    """Measure the speedup of two workers over one for `volumes` volumes."""
    sample = make_sample(folder, Volume(), slices)
    planned = [replace(sample.planned, series=SeriesKey(n, 1, 1)) for n in range(1, volumes + 1)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers, taken in seconds.items():
            taken.append(_seconds(folder / "store", sample, planned, workers))
    times = {workers: Timing(tuple(taken)) for workers, taken in seconds.items()}
    return {
        "speedup_2_workers": ratio(times[1], times[2]),
        "volumes": volumes,
        "seconds_by_workers": {str(workers): timing.to_json() for workers, timing in times.items()},
    }


def _seconds(store: Path, sample: Sample, planned: list[PlannedVolume], workers: int) -> float:
    with connect(Local(kind="local", workers=Size(minimum=workers, maximum=workers))) as executor:
        # The first, untimed run makes every worker import and compile its code.
        for part in (planned[: 2 * workers], planned):
            shutil.rmtree(store, ignore_errors=True)
            converter = Converter(str(store), sample.containers)
            start = time.perf_counter()
            for _ in executor.execute(Conversions(part, converter, {})):
                pass
            seconds = time.perf_counter() - start
    return seconds
