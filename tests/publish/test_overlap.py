"""A build while another one runs on the store, with each value of `overlap`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from etl.core.config import Config
from etl.io.opening import open_objects
from etl.store.running import mark_path, running
from etl.store.versions import version_numbers
from tests.support.jobs import call_job
from tests.support.processes import BUILD_STORE, LIMIT_SECONDS, wait_until
from tests.support.processes import running as process_running
from tests.support.s3_server import Bucket
from tests.support.stored import version_names
from tests.support.written_times import move_written

BEFORE = "20000101T000000Z-00000000"
# Names by machines whose clocks are wrong: the store's clock says when a run began.
EITHER = ("20000101T000000Z-00000000", "29990101T000000Z-00000000")


def config_file(config: Config, overlap: str, folder: Path) -> str:
    data = config.model_dump(mode="json") | {"overlap": overlap, "report": False}
    (folder / "build.yaml").write_text(yaml.safe_dump(data))
    return str(folder / "build.yaml")


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def placed(request: pytest.FixtureRequest, config: Config) -> Config:
    """The config of a store on a disk or in a bucket."""
    if request.param == "folder":
        return config
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    return config.model_copy(update={"store": f"{bucket.url}/store"})


@pytest.mark.parametrize("other", EITHER, ids=["its clock is behind", "ahead"])
def test_leave_ends_with_a_code_of_its_own(other: str, placed: Config, tmp_path: Path) -> None:
    objects = open_objects(placed.store)
    with running(objects, other, "build"):
        move_written(objects, mark_path(other), -60)
        done = call_job("build_store", config_file(placed, "leave", tmp_path), code=5)
    assert f"build {other}" in done.stderr
    assert version_numbers(objects) == []


@pytest.mark.parametrize("other", EITHER, ids=["its clock is behind", "ahead"])
@pytest.mark.parametrize("overlap", ["leave", "wait"])
def test_the_later_of_two_gives_way(overlap: str, other: str, placed: Config, tmp_path: Path) -> None:
    objects = open_objects(placed.store)
    with running(objects, other, "build"):
        move_written(objects, mark_path(other), 600)
        call_job("build_store", config_file(placed, overlap, tmp_path))
    assert version_numbers(objects) == [1]


def test_beside_goes_on_and_says_so(config: Config, tmp_path: Path) -> None:
    with running(open_objects(config.store), BEFORE, "build"):
        done = call_job("build_store", config_file(config, "beside", tmp_path))
    assert f"at the same time on this store: build {BEFORE}" in done.stderr


@pytest.mark.campaign
def test_wait_goes_on_when_the_other_has_ended(config: Config, tmp_path: Path) -> None:
    log, store = tmp_path / "log", Path(config.store)
    with running(open_objects(config.store), BEFORE, "build"):
        process = process_running([*BUILD_STORE, config_file(config, "wait", tmp_path)], log)
        waiting = process.__enter__()
        try:
            wait_until(lambda: f"waiting for the end of build {BEFORE}" in log.read_text(), "it waited")
            assert version_names(store) == []
        except BaseException:
            process.__exit__(None, None, None)
            raise
    try:
        assert waiting.wait(LIMIT_SECONDS) == 0, log.read_text()
    finally:
        process.__exit__(None, None, None)
    assert version_names(store) == ["000001.json"]
