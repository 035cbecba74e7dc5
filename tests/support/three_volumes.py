"""A release of three volumes and three lesions, and builds of it step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from etl.convert.convert import Converter
from etl.convert.results import Conversion
from etl.core.config import Config
from etl.io.opening import open_objects
from etl.pipeline.build import load_plan
from etl.plan.plan import Plan
from etl.run.serial import SerialExecutor
from etl.store import open_store
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.support.tiny_release import Present, build_serial, csv_row, tiny_config, write_release, written

FIRST, SECOND = "000001_01_01", "000002_01_01"
PRESENT = {FIRST: [3, 4, 5, 7], SECOND: [1, 2]}
ROWS = (
    csv_row(FIRST, 4, (3, 5)),
    csv_row(FIRST, 7, (7, 7), Train_Val_Test="1", Coarse_lesion_type="-1"),
    csv_row(SECOND, 2, (1, 2)),
)


def built(
    folder: Path, present: Present = PRESENT, rows: Iterable[Mapping[str, str]] = ROWS, **sections: Any
) -> Config:
    """Write the release into a folder, build a store of it in `folder/store`, and return the config."""
    write_release(folder, present, rows)
    config = tiny_config(folder, folder / "store", **sections)
    build_serial(config)
    return config


def built_three_times(folder: Path, store: str = "") -> Config:
    """Return the config of a store, in `folder/store` by default, of three versions that share no volume."""
    config = written(folder, PRESENT, ROWS)
    config = config.model_copy(update={"store": store or config.store})
    for spacing in (1.0, 2.0, 4.0):
        build_serial(variant(config, volume={"spacing_mm": spacing}))
    return config


def problems(config: Config) -> list[str]:
    """Return what verification finds in the current version, as `where: what`."""
    number = open_store(config.store).version["version"]
    return [f"{p.where}: {p.what}" for p in verify(open_objects(config.store), number).problems]


def assert_whole(store: str, *numbers: int) -> None:
    """Check that the store has these versions and no others, and that each verifies."""
    objects = open_objects(store)
    assert version_numbers(objects) == [*numbers]
    assert [verify(objects, number).problems for number in numbers] == [()] * len(numbers)


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
