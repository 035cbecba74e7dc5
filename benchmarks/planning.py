"""Time and memory to plan a release of the official size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.release_size import FULL, make_csv, make_index, make_runs
from benchmarks.timing import peak_mib, timed
from etl.core.config import Config
from etl.plan.plan import Plan, make_plan
from etl.release.annotations import parse_annotations


def measure(folder: Path, part: float = 1.0) -> dict[str, Any]:
    """Measure the seconds from the CSV's bytes and the slice index to the plan, and the peak memory.

    The memory is that of the whole process, including the synthetic release, so call this once per process.
    """
    size = FULL.scaled(part) if part < 1 else FULL
    runs = make_runs(size)
    index, data = make_index(runs), make_csv(runs, size.lesions)
    config = Config.model_validate(
        {"store": str(folder / "store"), "source": {"annotations": "DL_info.csv", "images": str(folder)}}
    )
    plans: list[Plan] = []
    seconds = timed(lambda: plans.append(make_plan(parse_annotations(data, "DL_info.csv"), index, config)))
    (plan,) = plans
    return {
        "plan_seconds": seconds,
        "plan_peak_mib": peak_mib(),
        "volumes": len(plan.volumes),
        "slices": plan.slice_count,
        "rows": plan.annotations.row_count,
        "rejects": len(plan.rejects),
        "output_voxels": sum(volume.output_bytes for volume in plan.volumes) // 2,
    }
