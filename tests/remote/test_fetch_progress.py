"""Progress covers the way of the archives too: how many, how much, how fast, how long still."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from etl.core.counted import bytes_text
from etl.pipeline.build import build, load_plan, stage_unread
from etl.report.console.progress import BuildProgress
from etl.run.serial import SerialExecutor
from tests.support.http_faults import Answer
from tests.support.remote_release import ARCHIVES, Served, store_data
from tests.support.stored import config_of

pytestmark = pytest.mark.usefixtures("small_blocks", "impatient")


def built_with(console: Console, served: Served, folder: Path, log_interval_s: float = 0.0) -> None:
    source = served.source(staging=str(folder / "staging"))
    config = config_of(store_data(folder / "store", source, limits={"rejects": 1.0, "lost_archives": 1}))
    plan = load_plan(config)
    with BuildProgress(console, log_interval_s) as shown:
        plan = stage_unread(config, plan, SerialExecutor(), shown)
        build(config, plan, SerialExecutor(), shown)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "etl.report.console.progress"]


def gigabytes(served: Served) -> str:
    return f"{sum(served.bytes(number) for number in (1, 2, 3)) / 1e9:.2f}"


@pytest.fixture
def every_line(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="etl.report.console.progress")
    return caplog


@pytest.mark.slow
@pytest.mark.parametrize("has_ranges", [True, False])
def test_log_tells_archives_bytes_and_rates(
    has_ranges: bool, served: Served, every_line: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    served.server.has_ranges = has_ranges
    built_with(Console(file=io.StringIO()), served, tmp_path)
    logged = lines(every_line)
    assert [line for line in logged if line.endswith("is staged")] == [
        f"{name} is staged" for name in ARCHIVES
    ]
    staged = [line for line in logged if "archives staged" in line]
    pattern = r"(\d)/3 archives staged, (\d\.\d\d) of (\d\.\d\d) GB, \d+\.\d MB/s(, about \d+ s left)?"
    matches = [re.fullmatch(pattern, line) for line in staged]
    assert all(matches), staged
    counts = [int(match[1]) for match in matches if match]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0 if has_ranges else 1, 3)
    assert {match[3] for match in matches if match} == {gigabytes(served)}
    first, last = matches[0], matches[-1]
    assert first is not None
    assert last is not None
    assert last[2] == last[3]
    assert first[4]
    assert not last[4]
    if not has_ranges:
        # Fetched before planning, and there when the volumes convert: counted once.
        assert counts == [1, 2] + [3] * (len(counts) - 2)
    assert any(re.match(r"4/4 volumes \(0 reused\)", line) for line in logged)


@pytest.mark.slow
def test_bar_tells_the_same_in_80_columns(served: Served, tmp_path: Path) -> None:
    screen = io.StringIO()
    built_with(Console(file=screen, force_terminal=True, width=80, color_system=None), served, tmp_path)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    size = gigabytes(served)
    *_, fetching, fetched, converting, converted = shown.rstrip().splitlines()
    whole = (fetching.rsplit("\r", 1)[-1], fetched, converting, converted)
    assert sum("3/3 archives staged" in line for line in whole) == 1, whole
    assert sum("4/4 volumes (0 reused)" in line for line in whole) == 1, whole
    assert any(re.match(rf"{size} of {size} GB, \d+\.\d MB/s *$", line) for line in whole), whole
    assert max(map(len, whole)) <= 80


@pytest.mark.slow
def test_what_was_there_counts_as_there_but_not_as_speed(
    served: Served, every_line: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    built_with(Console(file=io.StringIO()), served, tmp_path)
    every_line.clear()
    (tmp_path / "store").rename(tmp_path / "old")
    built_with(Console(file=io.StringIO()), served, tmp_path)
    logged = lines(every_line)
    size = gigabytes(served)
    assert f"3/3 archives staged, {size} of {size} GB, 0.0 MB/s" in logged
    assert not any(line.endswith("is staged") for line in logged)


def test_an_archive_that_can_not_be_had_is_told_at_once(
    served: Served, every_line: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    config = config_of(store_data(tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 1}))
    plan = load_plan(config)
    served.server.faults[f"/{ARCHIVES[1]}"] = [Answer(403)]
    with BuildProgress(Console(file=io.StringIO()), log_interval_s=0.0) as shown:
        build(config, plan, SerialExecutor(), shown)
    logged = lines(every_line)
    url = f"{served.server.url}/{ARCHIVES[1]}"
    assert (
        f"{ARCHIVES[1]} could not be fetched: archive_unavailable: {url}: the server answers 403 Forbidden"
        in logged
    )
    assert [line for line in logged if line.startswith("rejected ")] == [
        f"rejected {ARCHIVES[0]}: 000002_01_01/020.png and 12 more: archive_unavailable: "
        f"{url}: the server answers 403 Forbidden",
        f"rejected {ARCHIVES[1]}: 000002_01_01/034.png and 11 more: archive_unavailable: "
        f"{url}: the server answers 403 Forbidden",
    ]
    assert any(line.startswith("2/3 archives staged") for line in logged)
    assert logged[-1].startswith("4/4 volumes")


def test_sizes_are_told_as_disks_are_sold() -> None:
    assert bytes_text(238_116_019_288) == "238.1 GB"
    assert bytes_text(999) == "999 B"
    assert bytes_text(1_500_000_000_000) == "1.50 TB"
