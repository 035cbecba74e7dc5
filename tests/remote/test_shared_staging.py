"""A staging area that several builds share, or workers in other working folders."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from etl.pipeline.build import build, load_plan
from etl.pipeline.callback import Callback
from etl.run.protocol import Queue
from etl.run.serial import SerialExecutor
from etl.staging.fetch import Fetched
from tests.support.remote_release import Served, assert_same_store, build_as_job, store_data
from tests.support.stored import config_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_blocks")]


class OtherBuild(Callback):
    """Another build runs, from its beginning to its end, each time an archive of this one is staged."""

    def __init__(self, data: dict[str, Any], times: int) -> None:
        self._data, self.times = data, times

    def on_fetch(self, fetched: Fetched) -> None:
        if fetched.is_whole and self.times:
            self.times -= 1
            build_as_job(self._data, SerialExecutor())


@pytest.mark.parametrize("keep", [True, False])
def test_an_archive_that_another_build_removed_is_fetched_again(
    keep: bool, served: Served, local_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = served.source(staging=str(tmp_path / "staging"), keep_archives=keep)
    other = store_data(
        tmp_path / "other",
        source | {"keep_archives": False},
        select={"patients": [2]},
        volume={"spacing_mm": 4.0},
    )
    config = config_of(store_data(tmp_path / "store", source))
    callback = OtherBuild(other, times=2)
    with caplog.at_level("INFO"):
        done = build(config, load_plan(config), SerialExecutor(), callback)
    assert (done.converted, callback.times) == (4, 0)
    assert "Images_png_01.zip is no longer in the staging area, and is fetched again" in caplog.text
    assert_same_store(tmp_path / "store", local_store)
    assert len(list((tmp_path / "staging").glob("*.zip"))) == (3 if keep else 0)


class Elsewhere(SerialExecutor):
    """Tasks run in another working folder, as those of `dask worker` may."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def execute(self, queue: Queue) -> Generator[Any, None, None]:
        results = super().execute(queue)
        while True:
            with contextlib.chdir(self._folder):
                result = next(results, None)
            if result is None:
                return
            yield result

    def everywhere(self, function: Callable[[], Any]) -> dict[str, Any]:
        with contextlib.chdir(self._folder):
            return super().everywhere(function)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_relative_place_is_the_same_for_workers_in_another_folder(
    has_ranges: bool, served: Served, local_store: Path, tmp_path: Path
) -> None:
    served.server.has_ranges = has_ranges
    (tmp_path / "worker").mkdir()
    with contextlib.chdir(tmp_path):
        data = store_data(Path("store"), served.source(staging="staging", keep_archives=False))
        assert build_as_job(data, Elsewhere(tmp_path / "worker")).converted == 4
    assert_same_store(tmp_path / "store", local_store)
    assert list((tmp_path / "worker").iterdir()) == []
