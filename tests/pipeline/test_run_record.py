"""The record of a run: written however it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl.convert.results import Conversion
from etl.core.errors import GuardError, RunError
from etl.pipeline.build import build, load_plan
from etl.pipeline.callback import Callback
from etl.run.protocol import TaskTimes
from etl.run.serial import SerialExecutor
from tests.support.tiny_release import build_serial, csv_row, written

SERIES = "000001_01_01"
PRESENT = {SERIES: [1, 2, 4]}
ROWS = [csv_row(SERIES, 2, (1, 4)), csv_row(SERIES, 9, (1, 4))]


def record_of(store: Path) -> dict[str, Any]:
    (path,) = (store / "runs").iterdir()
    data = json.loads(path.read_bytes())
    assert path.name == f"{data['run_id']}.json"
    return dict(data)


def test_of_a_run_that_published(tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    version = build_serial(config).published.version
    record = record_of(tmp_path / "store")
    assert record["run_id"] == version["run_id"]
    assert (record["exit_code"], record["error"], record["version"], record["is_new"]) == (0, None, 1, True)
    assert record["volumes"] == {"planned": 2, "converted": 2, "reused": 0}
    assert record["slices_converted"] == 3
    assert record["tasks"]["convert"]["count"] == 2
    assert set(record["seconds_by_stage"]) == {"reuse", "work", "publish"}
    assert record["slices_per_s"] == pytest.approx(3 / record["seconds_by_stage"]["work"])
    assert (record["retries"], record["worker_deaths"], record["most_workers"]) == (0, 0, 1)
    assert record["config"] == config.resolved()
    assert record["environment"]["zarr"] == version["code"]["zarr"]


def test_of_a_run_that_a_guard_stopped(tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS, limits={"rejects": 0.0})
    with pytest.raises(GuardError):
        build_serial(config)
    record = record_of(tmp_path / "store")
    assert (record["exit_code"], record["version"]) == (3, None)
    assert record["error"].startswith("GuardError: too many rows are rejected")
    assert record["volumes"]["converted"] == 0


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ZeroDivisionError("bug"), 1)])
def test_of_a_run_that_was_stopped(error: BaseException, code: int, tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS)

    class Stop(Callback):
        def on_conversion(self, conversion: Conversion) -> None:
            raise error

    with pytest.raises(type(error)):
        build(config, load_plan(config), SerialExecutor(), Stop())
    assert record_of(tmp_path / "store")["exit_code"] == code


def test_of_a_run_whose_disk_fails(tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    plan = load_plan(config)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "volumes").write_bytes(b"no folder")
    executor = SerialExecutor()
    with pytest.raises(RunError):
        build(config, plan, executor)
    record = record_of(tmp_path / "store")
    assert (record["exit_code"], record["retries"]) == (4, 2)
    assert executor.stats.stages.get("convert", TaskTimes()).count == record["volumes"]["converted"] == 0
