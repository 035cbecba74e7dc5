"""The release's server is away for some minutes in the middle of a build: the build waits, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.io.retries import default_settings
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from tests.support.http_faults import busy
from tests.support.remote_release import VOLUMES, Served, assert_same_store, store_data
from tests.support.stored import config_of
from tests.support.transfers import clock_of_waits

pytestmark = pytest.mark.usefixtures("small_blocks")
AWAY_SECONDS = 450


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits end at once, and the clock goes on as if they did not."""
    return clock_of_waits(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["in place", "staged"])
def test_the_store_is_the_same_and_the_log_says_what_was_waited_for(
    way: str,
    served: Served,
    local_store: Path,
    tmp_path: Path,
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    staging = str(tmp_path / "staging") if way == "staged" else None
    config = config_of(store_data(tmp_path / "store", served.source(staging=staging)))
    plan = load_plan(config)
    served.server.chance = lambda request: busy(503) if sum(clock) < AWAY_SECONDS else None
    assert build(config, plan, SerialExecutor()).converted == len(VOLUMES)
    assert_same_store(tmp_path / "store", local_store)
    lines = [record.getMessage() for record in caplog.records if "no bytes for" in record.getMessage()]
    assert len(lines) > 3
    assert all("Images_png_01.zip: the server answers 503" in line for line in lines)


def test_nobody_waits_for_a_plan(
    served: Served, tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    served.server.chance = lambda request: busy(503) if request.path.endswith("_02.zip") else None
    plan = load_plan(config_of(store_data(tmp_path / "store", served.source())))
    assert [reject.reason for reject in plan.rejects if reject.found_in == "Images_png_02.zip"] == [
        "archive_unavailable"
    ]
    assert sum(clock) < default_settings().log_every_s
