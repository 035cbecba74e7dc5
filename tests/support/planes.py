"""The table `planes` of a store of three volumes: computed, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from etl.core.config import Config
from etl.pipeline.derive import Derivations, derive
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store import open_store
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND
from tests.support.tiny_release import written
from tests.support.toy_derivations import plane_means

V1, V2, V3 = f"{FIRST}_003-005", f"{FIRST}_007-007", f"{SECOND}_001-002"


def planes_config(folder: Path) -> Config:
    """Write the release into a folder, and return the config of a store of it that is not built yet."""
    return written(folder, PRESENT, ROWS)


def run(
    config: Config,
    executor: Executor | None = None,
    most: float = 0.01,
    volumes_a_part: int = 32,
    limit: int | None = None,
    **options: Any,
) -> Derivations:
    return derive(
        open_store(config.store),
        plane_means(**options),
        executor or SerialExecutor(),
        most_rejects=most,
        limit=limit,
        volumes_a_part=volumes_a_part,
    )


def rows(config: Config, table: str = "planes") -> list[tuple[Any, ...]]:
    frame = open_store(config.store).table(table)
    return [tuple(row) for row in frame.itertuples(index=False)]


def coverage(config: Config) -> dict[str, int]:
    found: dict[str, int] = open_store(config.store).version["added_tables"]["planes"]["coverage"]
    return found
