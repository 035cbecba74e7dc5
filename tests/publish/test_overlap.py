"""A build while another one is at work on the store: a process each, as `overlap` has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from etl.config import Config
from etl.store.objects import open_objects
from etl.store.running import running
from tests.processes import BUILD_STORE, run, wait_until
from tests.processes import running as process_running
from tests.stored import version_names

pytestmark = pytest.mark.slow
BEFORE, AFTER = "20000101T000000Z-00000000", "29990101T000000Z-00000000"


def command(config: Config, overlap: str, folder: Path) -> list[str]:
    data = config.model_dump(mode="json") | {"overlap": overlap}
    (folder / "build.yaml").write_text(yaml.safe_dump(data))
    return [*BUILD_STORE, str(folder / "build.yaml")]


def test_leave_ends_with_a_code_of_its_own(config: Config, tmp_path: Path) -> None:
    with running(open_objects(config.store), BEFORE, "build"):
        done = run(command(config, "leave", tmp_path))
    assert done.returncode == 5
    assert f"build {BEFORE}" in done.stderr
    assert version_names(Path(config.store)) == []


@pytest.mark.parametrize("overlap", ["leave", "wait"])
def test_the_later_of_two_gives_way(overlap: str, config: Config, tmp_path: Path) -> None:
    with running(open_objects(config.store), AFTER, "build"):
        done = run(command(config, overlap, tmp_path))
    assert done.returncode == 0, done.stderr


def test_beside_goes_on_and_says_so(config: Config, tmp_path: Path) -> None:
    with running(open_objects(config.store), BEFORE, "build"):
        done = run(command(config, "beside", tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"beside this run there is build {BEFORE}" in done.stderr


def test_wait_goes_on_when_the_other_has_ended(config: Config, tmp_path: Path) -> None:
    log, store = tmp_path / "log", Path(config.store)
    with running(open_objects(config.store), BEFORE, "build"):
        process = process_running(command(config, "wait", tmp_path), log)
        waiting = process.__enter__()
        try:
            wait_until(lambda: f"waiting for the end of build {BEFORE}" in log.read_text(), "it waited")
            assert version_names(store) == []
        except BaseException:
            process.__exit__(None, None, None)
            raise
    try:
        assert waiting.wait(120) == 0, log.read_text()
    finally:
        process.__exit__(None, None, None)
    assert version_names(store) == ["000001.json"]
