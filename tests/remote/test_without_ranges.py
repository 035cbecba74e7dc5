"""Servers that send an archive whole or not at all: what is fetched when, and what lies there at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import OverlapError, SourceError
from etl.io.opening import open_objects
from etl.pipeline.build import build, load_plan, stage_unread
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store.running import running
from tests.remote.test_pipeline import Watch
from tests.support.http_faults import Cut, Request, busy
from tests.support.remote_release import (
    ARCHIVES,
    VOLUMES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    build_by_command,
    receipts,
    store_data,
)
from tests.support.spoiling import STRUCK, TOUCHED, UNTOUCHED, reasons
from tests.support.stored import config_of, version_names

pytestmark = pytest.mark.usefixtures("small_blocks", "impatient")


@pytest.fixture
def data(served: Served, tmp_path: Path) -> dict[str, Any]:
    """Archives are not kept, and come one at a time."""
    served.server.has_ranges = False
    source = served.source(staging=str(tmp_path / "staging"), keep_archives=False, downloads=1)
    return store_data(tmp_path / "store", source)


def passes(served: Served) -> list[int]:
    """Return the number of requests for each archive as a whole."""
    return [served.server.ranges(f"/{name}").count(None) for name in ARCHIVES]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["serial", pytest.param("two workers", marks=pytest.mark.slow)])
def test_what_is_not_kept_never_lies_there_at_once_and_travels_twice(
    kind: str,
    served: Served,
    data: dict[str, Any],
    local_store: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    executor: Executor = SerialExecutor() if kind == "serial" else request.getfixturevalue("two_workers")
    watch = Watch(tmp_path / "store", tmp_path / "staging")
    served.server.chance = lambda asked: None if asked.byte_range or ".csv" in asked.path else watch(asked)
    build_as_job(data, executor)
    assert passes(served) == [2, 2, 2]
    assert watch.most_staged <= 2 < len(ARCHIVES)
    assert watch.staged() == set()
    left = sorted(path.name for path in (tmp_path / "staging").rglob("*") if path.is_file())
    assert [name.split(".")[0] for name in left] == [name.removesuffix(".zip") for name in ARCHIVES]
    assert all(name.endswith(".directory") for name in left)
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_their_directories_are_read_once(
    served: Served, data: dict[str, Any], local_store: Path, tmp_path: Path
) -> None:
    build_as_job(data | {"select": {"patients": [1]}}, SerialExecutor())
    assert passes(served) == [2, 1, 1]
    build_as_job(data, SerialExecutor())
    assert passes(served) == [3, 2, 2]
    done = build_as_job(data, SerialExecutor())
    assert (done.reused, passes(served)) == (len(VOLUMES), [3, 2, 2])
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_plan_tells_that_they_travel_twice(served: Served, data: dict[str, Any], tmp_path: Path) -> None:
    plan = build_by_command(tmp_path, data, "--plan").stdout
    assert "the content of 3 archives" in plan
    assert "only their directories are kept, and they are fetched again for their volumes" in plan
    build_by_command(tmp_path, data)
    plan = build_by_command(tmp_path, data, "--plan", "--set", "volume.spacing_mm=4.0").stdout
    assert "not known yet" not in plan
    assert "4: 4 to convert" in plan


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_one_that_can_not_be_had_costs_itself_only(
    keep: bool, served: Served, data: dict[str, Any], local_store: Path, tmp_path: Path
) -> None:
    data["source"]["keep_archives"] = keep
    data["limits"] = {"rejects": 1.0, "lost_archives": 1}

    def refuse(request: Request) -> Any:
        return busy() if request.path == STRUCK and request.byte_range is None else None

    served.server.chance = refuse
    build_as_job(data, SerialExecutor())
    assert reasons(tmp_path / "store", "archive") == {"archive_unavailable": 1}
    assert receipts(tmp_path / "store") >= UNTOUCHED
    assert_accounts(tmp_path / "store")
    served.mend()
    served.server.has_ranges = False
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(TOUCHED), len(UNTOUCHED))
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.parametrize("keep", [True, False])
def test_a_server_that_goes_away_ends_with_2(
    keep: bool, served: Served, data: dict[str, Any], tmp_path: Path
) -> None:
    data["source"]["keep_archives"] = keep
    served.server.chance = lambda request: (
        None if request.byte_range or ".csv" in request.path else Cut(0, is_reset=True)
    )
    done = build_by_command(tmp_path, data, code=2)
    for words in ("there is nothing to build", f"{ARCHIVES[0]}: archive_unavailable"):
        assert words in done.stderr
    assert version_names(tmp_path / "store") == []


@pytest.mark.slow
def test_nothing_is_fetched_while_another_build_runs(
    served: Served, data: dict[str, Any], tmp_path: Path
) -> None:
    with (
        running(open_objects(tmp_path / "store"), "20000101T000000Z-00000000", "build"),
        pytest.raises(OverlapError),
    ):
        build_as_job(data | {"overlap": "leave"}, SerialExecutor())
    assert passes(served) == [0, 0, 0]


def test_a_plan_with_archives_that_were_not_read_is_not_built(data: dict[str, Any], tmp_path: Path) -> None:
    config = config_of(data)
    plan = load_plan(config)
    assert len(plan.index.unread) == len(ARCHIVES)
    with pytest.raises(SourceError, match="not all archives were read before planning") as caught:
        build(config, plan, SerialExecutor())
    assert ARCHIVES[0] in str(caught.value)
    assert not (tmp_path / "store").exists()
    assert build(config, stage_unread(config, plan, SerialExecutor()), SerialExecutor()).converted == 4
