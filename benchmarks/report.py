"""The results as text, and the estimate for the whole release."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Size of the official release; voxels at 1 mm.
RELEASE_SLICES = 928_020
RELEASE_VOXELS = 274e9
_HEADLINES: tuple[tuple[str, str, str], ...] = (
    ("times_tuned", "times as fast as a tuned script (OpenCV, SimpleITK, zarr-python)", "4 or more"),
    ("times_today", "times as fast as the usual route by .nii.gz files", "12 or more"),
    ("times_floor", "times the minimum: inflate, copy once, compress", "1.3 or less"),
    ("cpu_times_tuned", "CPU time: times as fast as the tuned script", ""),
    ("cpu_times_today", "CPU time: times as fast as the usual route", ""),
    ("cpu_times_floor", "CPU time: times the minimum", ""),
    ("antialiased_cubic_over_linear", "cubic with antialiasing, times linear", "2 or less"),
    ("masks_over_conversion", "body masks, share of a conversion", "0.1 or less"),
    ("times_best_png_library", "decoder: times as fast as the best PNG library", "1.5 or more"),
    ("speedup_2_workers", "speedup of two workers, including driver and scheduler", "1.85 or more"),
    ("plan_seconds", "seconds to plan the whole release", "10 or less"),
    ("plan_peak_mib", "MiB, peak while planning it", "1024 or less"),
    (
        "empty_volumes_per_second",
        "volumes per second through the executor, not converted",
        "300 or more",
    ),
    (
        "empty_derivations_per_second",
        "volumes per second of a derived table without rows",
        "300 or more",
    ),
    ("task_memory_over_output", "memory of a task, times its output", "3 or less"),
    ("task_memory_over_plan", "memory of a task, times the plan's estimate", "1.3 or less"),
    ("plan_over_task_memory", "the plan's estimate, times the memory of a task", "1.3 or less"),
    ("largest_process_mib", "MiB, worker that converts the largest volume", "2048 or less"),
    ("search_ms_32735", "ms, the nearest of 32,735 embeddings of 256 numbers", ""),
    ("search_ms_1000000", "ms, the nearest of a million", ""),
    ("embedding_read_ms_50", "ms to read and resample the surroundings of a lesion", ""),
    ("embedding_small_ms", "ms to embed them with the net small", ""),
    ("release_core_hours", "core-hours for the whole release, computation only", ""),
)


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and Python of this machine."""
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
    """Return core-hours for the whole release, and hours by number of cores; empty if a part is missing.

    The model of a volume's time: decoding of its slices, plus a time proportional to its voxels.
    """
    if not {"decoding_ms_per_slice", "seconds"} <= set(figures):
        return {}
    per_slice = figures["decoding_ms_per_slice"]["decode: ours"] / 1000
    rest = figures["seconds"]["default"]["median"] - figures["slice_count"] * per_slice
    hours = (RELEASE_SLICES * per_slice + RELEASE_VOXELS * rest / figures["voxels"]) / 3600
    by_cores = {str(cores): hours / cores for cores in (2, 16, 64)}
    return {"release_core_hours": hours, "release_hours_by_cores": by_cores}


def benchmark_text(figures: Mapping[str, Any]) -> str:
    """Return all results as tables."""
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
    head = f"{'seconds per volume':20}{'median':>10}{'least':>10}{'greatest':>10}{'CPU':>10}"
    return [head, *(f"{name:20}" + "".join(f"{t[k]:10.3f}" for k in t) for name, t in times.items())]


def _named(head: str, form: str) -> Callable[[Mapping[str, float]], list[str]]:
    return lambda values: [head, *(f"{name:30}{value:{form}}" for name, value in values.items())]


def _empty(rows: list[Mapping[str, float]]) -> list[str]:
    head = f"{'volumes':>10}{'seconds':>10}{'per second':>11}{'MiB before':>12}{'MiB after':>12}"
    return [
        head,
        *(
            f"{row['volumes']:10}{row['seconds']:10.1f}{row['per_second']:11.0f}"
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


def _layouts(rows: list[Mapping[str, Any]]) -> list[str]:
    head = f"{'layout':32}{'MB':>8}{'slab ms':>10}{'crop ms':>10}{'volume ms':>11}"
    return [
        head,
        *(
            f"{row['layout']:32}{row['bytes'] / 1e6:8.2f}{row['slab_ms']:10.1f}{row['crop_64_mm_ms']:10.1f}"
            f"{row['volume_ms']:11.1f}"
            for row in rows
        ),
    ]


def _reading(rows: list[Mapping[str, Any]]) -> list[str]:
    names = [name for name in rows[0] if name not in ("chunk", "bytes")]
    head = f"{'reads per CPU second':24}" + "".join(f"{'x'.join(map(str, row['chunk'])):>12}" for row in rows)
    return [
        head,
        f"{'bytes, MB':24}" + "".join(f"{row['bytes'] / 1e6:12.2f}" for row in rows),
        *(f"{name:24}" + "".join(f"{row.get(name, float('nan')):12.1f}" for row in rows) for name in names),
    ]


_TABLES: Mapping[str, Callable[[Any], list[str]]] = {
    "seconds": _seconds,
    "decoding_ms_per_slice": _named("ms per slice", "10.3f"),
    "empty_volumes": _empty,
    "empty_derivations": _empty,
    "task_memory": _memory,
    "release_hours_by_cores": _named("hours for the release, by cores", "10.2f"),
    "crops_per_second": _named("crops per second, one process", "10.1f"),
    "crops_per_second_2_loaders": _named("crops per second, two loaders", "10.1f"),
    "codecs": _codecs,
    "scoring_ms_per_slice": _named("ms to score a slice", "10.2f"),
    "scoring_hours_by_cores": _named("hours to score the release, by cores", "10.2f"),
    "masks": _named("masks and labels", "10.1f"),
    "reading": _reading,
    "reading_s3": _named("crops from S3, 20 ms a request", "10.1f"),
    "sample_cost": _named("a sample of LesionCrops", "10.3f"),
    "loader_samples_per_second": _named("samples per second, DataLoader", "10.2f"),
    "processes_without_sending": _named("samples per second of processes that send nothing", "10.2f"),
    "slab_layouts": _layouts,
}
