"""Progress counts real results: next to a bar on a terminal, in plain lines in a log."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from etl.core.config import Config
from etl.phantom import PhantomTruth
from etl.pipeline.build import build, load_plan
from etl.report.console.progress import BuildProgress
from etl.run.serial import SerialExecutor
from tests.support.stored import config_data, config_of


@pytest.fixture
def config(phantom: tuple[Path, PhantomTruth], tmp_path: Path) -> Config:
    return config_of(config_data(phantom[0], tmp_path / "store", select={"patients": [2]}))


def built_with(config: Config, console: Console, log_interval_s: float = 10.0) -> None:
    plan = load_plan(config)
    with BuildProgress(console, log_interval_s) as shown:
        build(config, plan, SerialExecutor(), shown)


def on_terminal(config: Config, width: int) -> str:
    screen = io.StringIO()
    built_with(config, Console(file=screen, force_terminal=True, width=width, color_system=None))
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 120])
def test_bar_shows_every_count_in_80_columns(config: Config, width: int) -> None:
    *_, last, bar = on_terminal(config, width).rstrip().splitlines()
    counts = last.rsplit("\r", 1)[-1]
    assert re.match(r"3/3 volumes \(0 reused\), 1 reject +━+ +100% left 0:00:00$", counts), counts
    assert re.match(r"\d+ slices/s, \d+\.\d MB/s *$", bar), bar


def test_bar_shows_what_was_reused(config: Config) -> None:
    build(config, load_plan(config), SerialExecutor())
    shown = on_terminal(config, 80)
    assert "3/3 volumes (3 reused), 1 reject" in shown
    assert "slices/s" not in shown


def test_log_has_a_line_a_volume_when_they_take_long(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="etl.report.console.progress"):
        built_with(config, Console(file=io.StringIO()), log_interval_s=0.0)
    lines = [record.getMessage() for record in caplog.records if record.name == "etl.report.console.progress"]
    assert [line.split(" ")[0] for line in lines] == ["1/3", "2/3", "3/3", "publishing:", "3/3"]
    for line in lines[:2]:
        pattern = r"./3 volumes \(0 reused\), 1 reject, \d+ slices/s, \d+\.\d MB/s, about \d+ s left"
        assert re.fullmatch(pattern, line), line
    assert "left" not in lines[2] + lines[3]


def test_log_is_quiet_when_all_is_quick(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="etl.report.console.progress"):
        built_with(config, Console(file=io.StringIO()), log_interval_s=3600.0)
    lines = [record.getMessage() for record in caplog.records if record.name == "etl.report.console.progress"]
    assert len(lines) == 2
    assert lines[0].startswith("publishing")
    assert lines[1].startswith("3/3 volumes")
