"""`--plan` on a release that lies elsewhere: the exact plan, from the archives' ends; nothing is written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from etl.core.counted import bytes_text
from etl.io.opening import open_staging
from etl.pipeline.build import load_plan
from tests.support.http_faults import busy
from tests.support.remote_release import (
    ARCHIVES,
    CSV,
    TAIL_BYTES,
    VOLUMES,
    Served,
    build_by_command,
    local_source,
    receipts,
    store_data,
)
from tests.support.stored import config_of

pytestmark = pytest.mark.usefixtures("small_blocks", "impatient")


def printed_plan(tmp_path: Path, source: dict[str, Any], *arguments: str) -> list[str]:
    done = build_by_command(tmp_path, store_data(tmp_path / "store", source), "--plan", *arguments)
    # What is free on the disk changes meanwhile.
    return [line for line in done.stdout.splitlines() if not line.startswith("free at")]


def what_is_built(plan: list[str]) -> list[str]:
    """Return a plan without the lines that name the archives' places."""
    return [line for line in plan if not line.startswith(("to fetch", "peak memory in all"))]


@pytest.mark.parametrize("staging", [None, "staging"], ids=["in place", "staged"])
def test_plan_of_a_server_is_that_of_the_disk_and_downloads_nothing(
    staging: str | None, served: Served, tmp_path: Path
) -> None:
    local = printed_plan(tmp_path, local_source(served.release))
    place = None if staging is None else str(tmp_path / staging)
    plan = printed_plan(tmp_path, served.source(staging=place))
    assert what_is_built(plan) == what_is_built(local)
    assert [line.split()[0] for line in plan[: len(VOLUMES)]] == list(VOLUMES)
    (to_fetch,) = (line for line in plan if line.startswith("to fetch"))
    if place is None:
        assert to_fetch.endswith("nothing: 3 remote archives read in place, by range")
    else:
        size = sum(served.bytes(number) for number in (1, 2, 3)) / 1e6
        assert to_fetch.endswith(f"{size:.1f} MB of 3 archives into {place}")
    assert not any(line.startswith("to fetch") for line in local)

    # A look at the head and one at the directory for each archive, and the CSV.
    asked = served.server.requests
    assert len(asked) == 1 + 2 * len(ARCHIVES)
    assert [served.server.ranges(f"/{CSV}")] == [[None]]
    for number in (1, 2, 3):
        assert (served.looks(number), served.reads(number)) == (2, [])
    sent = sum(request.sent for request in asked if request.path != f"/{CSV}")
    assert sent == len(ARCHIVES) * (4 + TAIL_BYTES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


def test_plan_survives_a_busy_server(served: Served, tmp_path: Path) -> None:
    calm = printed_plan(tmp_path, served.source())
    for name in (CSV, *ARCHIVES):
        served.server.faults[f"/{name}"] = [busy(), busy(500), None, busy(429)]
    assert printed_plan(tmp_path, served.source()) == calm


@pytest.mark.slow
def test_plan_tells_what_is_fetched_for_what_the_store_lacks(served: Served, tmp_path: Path) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    data = store_data(tmp_path / "store", source)
    build_by_command(tmp_path, data, "--set", 'select.series=["000002_01_01"]')
    plan = printed_plan(tmp_path, source)
    assert "volumes             4: 2 to convert, 2 to reuse" in plan
    (to_fetch,) = (line for line in plan if line.startswith("to fetch"))
    size = (served.bytes(1) + served.bytes(3)) / 1e6
    staging = tmp_path / "staging"
    assert to_fetch.endswith(f"nothing of 2 archives into {staging}; {size:.1f} MB is there already")
    shutil.rmtree(staging)
    (to_fetch,) = (line for line in printed_plan(tmp_path, source) if line.startswith("to fetch"))
    assert to_fetch.endswith(f"{size:.1f} MB of 2 archives into {staging}")
    assert receipts(tmp_path / "store") == {name for name in VOLUMES if name.startswith("000002_01_01")}


@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_plan_tells_what_is_staged_already(
    kind: str, served: Served, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    staging = str(tmp_path / "staging")
    if kind == "bucket":
        staging = f"{request.getfixturevalue('s3_bucket').url}/staging"
    source = served.source(staging=staging)
    area, plan = open_staging(staging), load_plan(config_of(store_data(tmp_path / "store", source)))
    whole, begun, size = plan.index.remote[0], plan.index.remote[1], served.bytes(1)
    area.append(whole.staged_name, 0, served.server.files[f"/{ARCHIVES[0]}"])
    area.finish(whole.staged_name, size)
    area.append(begun.staged_name, 0, served.server.files[f"/{ARCHIVES[1]}"][:1_000_000])
    (line,) = (line for line in printed_plan(tmp_path, source) if line.startswith("to fetch"))
    in_all, there = sum(served.bytes(number) for number in (1, 2, 3)), size + 1_000_000
    assert f"{bytes_text(in_all - there)} of 3 archives into {staging}" in line
    assert line.endswith(f"; {bytes_text(there)} is there already")


def test_a_staging_area_that_can_not_be_read_ends_a_plan_with_2(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    source = served.source(staging=str(tmp_path / "file" / "staging"))
    done = build_by_command(tmp_path, store_data(tmp_path / "store", source), "--plan", code=2)
    assert "where:   source.staging" in done.stderr


@pytest.mark.slow
def test_plan_tells_what_a_server_without_ranges_leaves_open(served: Served, tmp_path: Path) -> None:
    served.server.has_ranges = False
    source = served.source(staging=str(tmp_path / "staging"))
    plan = "\n".join(printed_plan(tmp_path, source))
    size = sum(served.bytes(number) for number in (1, 2, 3)) / 1e6
    assert f"the content of 3 archives ({', '.join(ARCHIVES)}; {size:.1f} MB)" in plan
    assert "does not answer ranges" in plan
    assert re.search(r"^volumes +0: 0 to convert, 0 to reuse$", plan, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]
    # The server sends each archive whole; nobody waits for it.
    assert [request.byte_range for request in served.server.requests] == [None] + 3 * [(0, 4)]

    done = build_by_command(tmp_path, store_data(tmp_path / "store", source))
    assert "volumes  4: converted 4, reused 0" in done.stdout.splitlines()
    after = printed_plan(tmp_path, source)
    assert "volumes             4: 0 to convert, 4 to reuse" in after
    assert not any(line.startswith("not known yet") for line in after)


def test_what_is_on_the_disk_is_planned_while_a_server_leaves_the_rest_open(
    served: Served, tmp_path: Path
) -> None:
    served.server.has_ranges = False
    archives = [str(served.release / ARCHIVES[0]), *served.source()["archives"][1:]]
    plan = printed_plan(tmp_path, served.source(archives=archives, staging=str(tmp_path / "staging")))
    assert any(line.startswith("000001_01_01_103-115  convert") for line in plan)
    assert any(line.startswith("not known yet") and "the content of 2 archives" in line for line in plan)


def test_a_server_without_ranges_can_not_be_read_in_place(served: Served, tmp_path: Path) -> None:
    served.server.has_ranges = False
    done = build_by_command(tmp_path, store_data(tmp_path / "store", served.source()), code=2)
    for words in ("gives no ranges", "source.staging", f"{served.server.url}/{ARCHIVES[0]}"):
        assert words in done.stderr
    assert not (tmp_path / "store").exists()
