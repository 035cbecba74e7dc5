"""A release of three volumes and three lesions, and builds of it step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from etl.convert.convert import Converter
from etl.convert.results import Conversion
from etl.core.config import Config
from etl.pipeline.build import load_plan
from etl.plan.plan import Plan
from etl.run.serial import SerialExecutor
from tests.support.tiny_release import csv_row

FIRST, SECOND = "000001_01_01", "000002_01_01"
PRESENT = {FIRST: [3, 4, 5, 7], SECOND: [1, 2]}
ROWS = (
    csv_row(FIRST, 4, (3, 5)),
    csv_row(FIRST, 7, (7, 7), Train_Val_Test="1", Coarse_lesion_type="-1"),
    csv_row(SECOND, 2, (1, 2)),
)


def variant(config: Config, **sections: dict[str, Any]) -> Config:
    data = config.model_dump()
    for section, values in sections.items():
        data[section] |= values
    return Config.model_validate(data)


def converted(config: Config) -> tuple[Plan, list[Conversion]]:
    plan = load_plan(config)
    return plan, list(SerialExecutor().run(Converter(config.store, plan.index.containers), plan.volumes))


def files_of(folder: str, below: str = "") -> dict[str, bytes]:
    base = Path(folder)
    return {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in sorted((base / below).rglob("*"))
        if path.is_file()
    }
