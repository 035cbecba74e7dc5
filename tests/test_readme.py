"""What the README shows works, against a store built from the demo's config."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from etl.config import Config
from etl.config_file import load_config
from etl.run.executors import SerialExecutor
from tests.processes import ROOT, run
from tests.stored import build_store, config_data

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(phantom: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store where the README has it."""
    folder = tmp_path_factory.mktemp("readme")
    data = config_data(phantom[0], folder / "build" / "store", select={"patients": [1, 2]})
    build_store(data, SerialExecutor())
    return folder


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) < 150


def test_the_two_commands_come_first() -> None:
    assert re.findall(r"^    (\S.*?)(?:  |$)", README, re.MULTILINE)[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("number", range(2))
def test_its_python_runs(folder: Path, number: int) -> None:
    snippet = blocks("python")[number] + "\nassert voxels_hu.dtype == 'int16' and len(lesions)\n"
    done = run([sys.executable, "-c", snippet], cwd=folder)
    assert done.returncode == 0, done.stderr


def test_its_config_is_one(tmp_path: Path) -> None:
    (example,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(example)
    assert load_config(tmp_path / "mine.yaml").store == "/data/deeplesion-store"


def test_the_table_of_keys_names_every_key_there_is() -> None:
    named = set(re.findall(r"`(?:[a-z]+\.)?([a-z_]+)`", README))
    for section in ("volume", "select", "limits"):
        keys = set(Config.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
        assert keys - named == set()


@pytest.mark.parametrize("name", ["demo", "nih"])
def test_the_configs_that_come_along_are_right(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "conf" / f"{name}.yaml", tmp_path)
    config = load_config(tmp_path / f"{name}.yaml")
    assert yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())["store"] == config.store
