"""A staging area that can't be read or tidied up: that costs room, never a run that needs nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.io.local import LocalStaging
from etl.run.serial import SerialExecutor
from jobs.build_store import main
from tests.support.remote_release import (
    ARCHIVES,
    VOLUMES,
    Served,
    assert_same_store,
    build_as_job,
    build_by_command,
    published_bytes,
    store_data,
)
from tests.support.stored import version_names, write_config

pytestmark = pytest.mark.usefixtures("small_blocks")


def removals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "can't be removed" in r.getMessage()]


@pytest.mark.slow
def test_a_whole_store_needs_no_staging_area(
    served: Served, local_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    staging = tmp_path / "staging"
    data = store_data(tmp_path / "store", served.source(staging=str(staging)), report=False)
    build_as_job(data, SerialExecutor())
    staging.rename(tmp_path / "elsewhere")
    staging.touch()
    data["source"]["keep_archives"] = False
    done = CliRunner().invoke(main, [write_config(tmp_path, data)])
    assert done.exit_code == 0, done.output
    (line,) = removals(caplog)
    for words in (ARCHIVES[0], "source.staging", str(staging), "Not a directory", "by hand"):
        assert words in line
    assert published_bytes(tmp_path / "store") == published_bytes(local_store)


def test_an_incomplete_one_does_and_says_so_before_any_work(served: Served, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.touch()
    data = store_data(tmp_path / "store", served.source(staging=str(staging), keep_archives=False))
    assert "source.staging" in build_by_command(tmp_path, data, code=2).stderr
    assert version_names(tmp_path / "store") == []


@pytest.mark.slow
def test_an_archive_that_can_not_be_removed_stays_and_the_run_goes_on(
    served: Served,
    local_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    staging = tmp_path / "staging"
    data = store_data(tmp_path / "store", served.source(staging=str(staging), keep_archives=False))

    def refuse(area: LocalStaging, name: str) -> None:
        raise PermissionError(13, "Permission denied", area.url(name))

    with monkeypatch.context() as patch:
        patch.setattr(LocalStaging, "remove", refuse)
        assert build_as_job(data, SerialExecutor()).converted == len(VOLUMES)
    assert [line.split()[0] for line in sorted(removals(caplog))] == list(ARCHIVES)
    assert len(list(staging.glob("*.zip"))) == len(ARCHIVES)
    assert_same_store(tmp_path / "store", local_store)
    assert build_as_job(data, SerialExecutor()).reused == len(VOLUMES)
    assert list(staging.glob("*.zip")) == []
