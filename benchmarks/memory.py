"""The memory of a task, compared with the plan's estimate and with the size of its output."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.sample import SPACING_ZYX_MM, convert, make_sample
from benchmarks.timing import MIB, peak_mib, resident_mib
from etl.core.config import Volume


@dataclass(frozen=True)
class Case:
    """A volume to convert: number of slices, their spacing in mm (z, y, x), parameters, zip or folder."""

    slices: int
    spacing_zyx_mm: tuple[float, float, float]
    volume: Volume
    in_archive: bool = False


CASES: Mapping[str, Case] = {
    "median": Case(43, SPACING_ZYX_MM, Volume()),
    "fine": Case(300, (1.0, 0.8, 0.8), Volume()),
    "native": Case(120, (1.0, 0.8, 0.8), Volume(spacing_mm="native")),
    "cubic": Case(120, (2.0, 0.8, 0.8), Volume(interpolation="cubic")),
    # 003463_01_01, slices 103 to 628: the most voxels of the release at 1 mm, 88.9 million.
    "largest": Case(526, (1.0, 0.8027, 0.8027), Volume()),
    "median, zip": Case(43, SPACING_ZYX_MM, Volume(), in_archive=True),
    "fine, zip": Case(300, (1.0, 0.8, 0.8), Volume(), in_archive=True),
    "largest, zip": Case(526, (1.0, 0.8027, 0.8027), Volume(), in_archive=True),
}


def measure(folder: Path, cases: Mapping[str, Case] = CASES) -> dict[str, Any]:
    """Measure the peak memory of each conversion, each in a new process."""
    table = {}
    for name, case in cases.items():
        # Spawned like Dask's workers; a fork would start with this process's memory.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            table[name] = pool.submit(measure_case, folder, case).result()
    return {
        "task_memory_over_output": max(row["over_output"] for row in table.values()),
        "task_memory_over_plan": max(row["over_plan"] for row in table.values()),
        "plan_over_task_memory": max(1 / row["over_plan"] for row in table.values()),
        "largest_process_mib": max(row["process_peak_mib"] for row in table.values()),
        "task_memory": table,
    }


def measure_case(folder: Path, case: Case) -> dict[str, float]:
    """Convert one case in this fresh process and return its memory."""
    store = folder / "store"
    for count in (3, case.slices):
        sample = make_sample(folder, case.volume, count, case.spacing_zyx_mm, in_archive=case.in_archive)
        shutil.rmtree(store, ignore_errors=True)
        before = resident_mib()
        convert(sample, case.volume, store)
    task = peak_mib() - before
    output = sample.planned.output_bytes / MIB
    planned = sample.planned.peak_bytes / MIB
    return {
        "voxels": sample.planned.output_bytes / 2,
        "output_mib": output,
        "planned_mib": planned,
        "task_mib": task,
        "process_peak_mib": peak_mib(),
        "over_output": task / output,
        "over_plan": task / planned,
    }
