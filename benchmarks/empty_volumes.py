"""Throughput of the real executor for many planned volumes with an empty conversion."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.release_size import FULL, make_csv, make_index, make_runs
from benchmarks.timing import peak_mib, volumes_row
from etl.convert.convert import Converter
from etl.convert.results import Conversion
from etl.core.config import Config
from etl.pipeline.queue import Conversions
from etl.plan.plan import Plan, PlannedVolume, make_plan
from etl.release.annotations import parse_annotations
from etl.release.names import SeriesKey
from etl.run.cluster_kinds import Local
from etl.run.clusters import connect
from etl.run.protocol import Executor

COUNTS = (2_000, 20_000, 200_000)


class EmptyConverter(Converter):
    """A converter with the real interface that builds nothing."""

    def __call__(self, planned: PlannedVolume) -> Conversion:
        return Conversion(planned.volume_id, (), 0, (), len(planned.slices), planned.source_bytes)


def planned(folder: Path, part: float) -> Plan:
    """Return the plan of a part of a release of the official size."""
    size = FULL.scaled(part)
    runs = make_runs(size)
    config = Config.model_validate(
        {"store": str(folder / "store"), "source": {"annotations": "DL_info.csv", "images": str(folder)}}
    )
    return make_plan(parse_annotations(make_csv(runs, size.lesions), "DL_info.csv"), make_index(runs), config)


def measure(folder: Path, counts: Sequence[int] = COUNTS, part: float = 0.1) -> dict[str, Any]:
    """Measure volumes per second, and the memory of driver and scheduler, by number of volumes.

    Args:
        counts: numbers of volumes; the first also runs once before, untimed.
        part: share of the official release to plan; its volumes are repeated under other series names.
    """
    plan = planned(folder, part)
    converter = EmptyConverter(str(folder / "store"), plan.index.containers)
    rows = []
    with connect(Local(kind="local")) as executor:
        workers = len(executor.everywhere(os.getpid))
        for count in (counts[0], *counts):
            repeated = zip(range(count), itertools.cycle(plan.volumes), strict=False)
            chosen = [replace(volume, series=SeriesKey(number, 1, 1)) for number, volume in repeated]
            rows.append(volumes_row(count, partial(_run, executor, chosen, converter)))
    table = rows[1:]
    nearest = min(table, key=lambda row: abs(row["volumes"] - FULL.runs))
    return {
        "workers": workers,
        "empty_volumes_per_second": nearest["per_second"],
        "empty_volumes": table,
        "peak_mib": peak_mib(),
    }


def _run(executor: Executor, volumes: Sequence[PlannedVolume], converter: Converter) -> None:
    done = sum(1 for _ in executor.execute(Conversions(volumes, converter, {})))
    if done != len(volumes):
        raise ValueError(f"{done} conversions were returned for {len(volumes)} volumes")
