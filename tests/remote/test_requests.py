"""Requests to the place of a release: one a volume, and two an archive, by the driver alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.pipeline.build import build, load_plan
from etl.plan.plan import Plan
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from tests.support.remote_release import (
    ARCHIVES,
    BLOCK_BYTES,
    VOLUMES,
    Served,
    assert_same_store,
    build_as_job,
    store_data,
)
from tests.support.stored import config_of

pytestmark = pytest.mark.usefixtures("small_blocks")


def spans(plan: Plan, number: int) -> list[tuple[int, int]]:
    """(first, last byte and one) of each volume's slices in an archive, in the order of the volumes."""
    found = []
    for volume in plan.volumes:
        slices = volume.slices[volume.slices["container"] == number - 1]
        if len(slices):
            found.append((int(slices["offset"].min()), int(slices["end"].max())))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["serial", pytest.param("two workers", marks=pytest.mark.slow)])
def test_in_place_a_volume_is_one_request_for_each_of_its_archives(
    kind: str, served: Served, local_store: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    executor: Executor = SerialExecutor() if kind == "serial" else request.getfixturevalue("two_workers")
    config = config_of(store_data(tmp_path, served.source()))
    plan = load_plan(config)
    planning = len(served.server.requests)
    assert planning == 1 + 2 * len(ARCHIVES)
    build(config, plan, executor)
    # Workers read slices, and nothing but slices: no directory, no head.
    assert len(served.server.requests) - planning == sum(map(len, VOLUMES.values()))
    for number in (1, 2, 3):
        assert served.looks(number) == 2
        reads = [asked for asked in served.reads(number) if asked is not None]
        assert sorted(reads) == spans(plan, number)
        in_series = sum(end - start for start, end in reads)
        assert in_series <= served.bytes(number)
    assert {request.status for request in served.server.requests[1:]} == {206}
    assert_same_store(tmp_path, local_store)


@pytest.mark.slow
def test_staged_each_block_is_one_request(served: Served, local_store: Path, tmp_path: Path) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    for number in (1, 2, 3):
        size = served.bytes(number)
        blocks = [(at, min(at + BLOCK_BYTES, size)) for at in range(0, size, BLOCK_BYTES)]
        assert (served.looks(number), served.reads(number)) == (2, blocks)
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_a_store_that_is_whole_asks_for_directories_only(served: Served, tmp_path: Path) -> None:
    again: list[Callable[[], dict[str, Any]]] = [
        lambda: served.source(),
        lambda: served.source(staging=str(tmp_path / "staging")),
    ]
    build_as_job(store_data(tmp_path / "store", again[0]()), SerialExecutor())
    for source in again:
        served.server.requests.clear()
        done = build_as_job(store_data(tmp_path / "store", source()), SerialExecutor())
        assert (done.converted, done.reused, done.published.is_new) == (0, len(VOLUMES), False)
        assert len(served.server.requests) == 1 + 2 * len(ARCHIVES)
    assert not (tmp_path / "staging").exists() or not list((tmp_path / "staging").iterdir())


def test_only_the_archives_of_what_is_selected_are_fetched(served: Served, tmp_path: Path) -> None:
    data = store_data(
        tmp_path / "store", served.source(staging=str(tmp_path / "staging")), select={"patients": [1]}
    )
    build_as_job(data, SerialExecutor())
    assert [bool(served.reads(number)) for number in (1, 2, 3)] == [True, False, False]
    assert [path.name.split(".")[0] for path in (tmp_path / "staging").glob("*.zip")] == ["Images_png_01"]


@pytest.mark.slow
def test_connections_are_kept(served: Served, tmp_path: Path) -> None:
    build_as_job(store_data(tmp_path, served.source()), SerialExecutor())
    serial = {request.connection for request in served.server.requests[7:]}
    assert len(serial) <= 2
