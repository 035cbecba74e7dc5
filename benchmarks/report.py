"""The benchmark's figures as text, and what they say of the whole release."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Of the official release; voxels at 1 mm.
RELEASE_SLICES = 928_020
RELEASE_VOXELS = 274e9
_HEADLINES: tuple[tuple[str, str, str], ...] = (
    ("times_tuned", "times as fast as a tuned script (OpenCV, SimpleITK, zarr-python)", "4 or more"),
    ("times_today", "times as fast as by way of .nii.gz files", "12 or more"),
    ("times_floor", "times the floor: inflate, copy once, compress", "1.3 or less"),
    ("cpu_times_tuned", "the first of these in CPU time", ""),
    ("cpu_times_today", "the second", ""),
    ("cpu_times_floor", "the third", ""),
    ("antialiased_cubic_over_linear", "times linear: cubic with antialiasing", "2 or less"),
    ("masks_over_conversion", "of a conversion: measuring the masks of the body", "0.1 or less"),
    ("times_best_png_library", "times as fast as the best library for PNG", "1.5 or more"),
    ("speedup_2_workers", "times one worker: two, driver and scheduler included", "1.85 or more"),
    ("plan_seconds", "seconds to plan the whole release", "10 or less"),
    ("plan_peak_mib", "MiB at most while planning it", "1024 or less"),
    ("empty_volumes_per_second", "volumes a second through the executor, converting nothing", "300 or more"),
    ("task_memory_over_output", "times its output: the memory of a task", "3 or less"),
    ("task_memory_over_plan", "times what the plan says: the memory of a task", "1.3 or less"),
    ("plan_over_task_memory", "times the memory of a task: what the plan says", "1.3 or less"),
    ("largest_process_mib", "MiB of a worker that converts the largest volume", "2048 or less"),
    ("release_core_hours", "core-hours for the whole release, pixels alone", ""),
)


def machine() -> dict[str, Any]:
    """The machine that the figures were taken on: processor, cores, memory, Python."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def estimate(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Core-hours for the whole release, and hours on some numbers of cores. Empty without what it is from.

    A volume costs its slices' decoding and, for the rest, time in proportion to its voxels.
    """
    if not {"decoding_ms_per_slice", "seconds"} <= set(figures):
        return {}
    per_slice = figures["decoding_ms_per_slice"]["decode: ours"] / 1000
    rest = figures["seconds"]["default"]["median"] - figures["slice_count"] * per_slice
    hours = (RELEASE_SLICES * per_slice + RELEASE_VOXELS * rest / figures["voxels"]) / 3600
    by_cores = {str(cores): hours / cores for cores in (2, 16, 64)}
    return {"release_core_hours": hours, "release_hours_by_cores": by_cores}


def benchmark_text(figures: Mapping[str, Any]) -> str:
    """All figures that there are, as tables."""
    place = figures["machine"]
    lines = [f"{place['cpu']}, {place['cores']} cores, {place['memory_gib']} GiB, Python {place['python']}"]
    if "slices" in figures:
        lines.append(f"slices: {figures['slices']}")
    lines.append("")
    for name, meaning, aim in _HEADLINES:
        if name in figures:
            lines.append(f"{figures[name]:10.2f}  {meaning}" + (f" (aim: {aim})" if aim else ""))
    for name, table in _TABLES.items():
        if name in figures:
            lines += ["", *table(figures[name])]
    return "\n".join(lines)


def _seconds(times: Mapping[str, Mapping[str, float]]) -> list[str]:
    head = f"{'seconds a volume':20}{'median':>10}{'least':>10}{'greatest':>10}{'CPU':>10}"
    return [head, *(f"{name:20}" + "".join(f"{t[k]:10.3f}" for k in t) for name, t in times.items())]


def _named(head: str, form: str) -> Callable[[Mapping[str, float]], list[str]]:
    return lambda values: [head, *(f"{name:30}{value:{form}}" for name, value in values.items())]


def _empty(rows: list[Mapping[str, float]]) -> list[str]:
    head = f"{'volumes':>10}{'seconds':>10}{'a second':>10}{'MiB before':>12}{'MiB after':>12}"
    return [
        head,
        *(
            f"{row['volumes']:10}{row['seconds']:10.1f}{row['per_second']:10.0f}"
            f"{row['resident_mib_before']:12.0f}{row['resident_mib_after']:12.0f}"
            for row in rows
        ),
    ]


def _memory(cases: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = ("output_mib", "planned_mib", "task_mib", "process_peak_mib", "over_output", "over_plan")
    head = f"{'memory':14}" + "".join(f"{name:>18}" for name in names)
    return [head, *(f"{case:14}" + "".join(f"{row[n]:18.2f}" for n in names) for case, row in cases.items())]


def _codecs(rows: list[Mapping[str, Any]]) -> list[str]:
    head = f"{'codec':22}{'chunk':16}{'ratio':>8}{'encode s':>10}{'decode s':>10}{'crop ms':>10}"
    return [
        head,
        *(
            f"{row['codec']:22}{'x'.join(map(str, row['chunk'])):16}{row['ratio']:8.2f}"
            f"{row['encode_seconds']:10.3f}{row['decode_seconds']:10.3f}{1e3 * row['crop_seconds']:10.1f}"
            for row in rows
        ),
    ]


_TABLES: Mapping[str, Callable[[Any], list[str]]] = {
    "seconds": _seconds,
    "decoding_ms_per_slice": _named("ms a slice", "10.3f"),
    "empty_volumes": _empty,
    "task_memory": _memory,
    "release_hours_by_cores": _named("hours for the release, by cores", "10.2f"),
    "crops_per_second": _named("crops a second, one process", "10.1f"),
    "crops_per_second_2_loaders": _named("crops a second, two loaders", "10.1f"),
    "codecs": _codecs,
}
