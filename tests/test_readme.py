"""The README's code and configs work, with a store of the demo's config."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from etl.core.config import Config
from etl.core.config_file import load_config
from etl.release.sources import ANNOTATIONS_SHA256
from etl.run.serial import SerialExecutor
from tests.support.processes import ROOT, run
from tests.support.stored import build_store, config_data

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(phantom: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store at the README's path."""
    folder = tmp_path_factory.mktemp("readme")
    data = config_data(phantom[0], folder / "build" / "store", select={"patients": [1, 2]})
    build_store(data, SerialExecutor())
    return folder


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) < 150


def test_the_two_commands_come_first() -> None:
    assert re.findall(r"^    (\S.*?)(?:  |$)", README, re.MULTILINE)[:2] == ["make demo", "make test"]


def test_its_python_runs(folder: Path) -> None:
    (block,) = blocks("python")
    snippet = block + "\nassert voxels_hu.dtype == 'int16' and len(lesions)\n"
    snippet += "assert lesions.index.is_unique and set(lesions.split) <= {'train', 'val', 'test'}\n"
    done = run([sys.executable, "-c", snippet], cwd=folder)
    assert done.returncode == 0, done.stderr


def test_its_config_is_one(tmp_path: Path) -> None:
    (example,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(example)
    assert load_config(tmp_path / "mine.yaml").store == "/data/deeplesion-store"


def ways() -> dict[str, dict[str, Any]]:
    """Return the rows of the table of the four ways: name and lines of `source:`."""
    (table,) = re.findall(r"^\| the release is .*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    rows = [row.strip("|").split("|") for row in table.splitlines()]
    return {name.strip(): yaml.safe_load("\n".join(re.findall(r"`(.*?)`", lines))) for name, lines in rows}


@pytest.mark.parametrize("way", ways())
def test_the_lines_of_each_way_are_a_source(way: str, tmp_path: Path) -> None:
    lines = ways()[way]
    assert 1 <= len(lines) <= 3
    source = {"annotations": "/data/DeepLesion/DL_info.csv"} | lines
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"store": "store", "source": source}))
    loaded = load_config(tmp_path / "mine.yaml").source.model_dump(mode="json")
    assert {key: loaded[key] for key in lines} == lines


def test_all_four_ways_are_there() -> None:
    keys = [set(lines) for lines in ways().values()]
    assert keys == [{"archives", "staging", "keep_archives"}, {"archives"}, {"archives"}, {"images"}]


def test_the_config_of_the_official_release_is_its_first_way() -> None:
    """It needs no file of this machine."""
    source = load_config(ROOT / "conf" / "nih.yaml").source
    assert source.archives is not None
    assert [file.url for file in source.archives] == ["official"]
    assert source.annotations.url.startswith("https://")
    assert (source.annotations.sha256, source.keep_archives) == (ANNOTATIONS_SHA256, False)


def test_the_table_of_keys_names_every_key_there_is() -> None:
    named = set(re.findall(r"`(?:[a-z]+\.)?([a-z_]+)`", README))
    for section in ("volume", "select", "limits"):
        keys = set(Config.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]
        assert keys - named == set()


@pytest.mark.parametrize("name", ["demo", "mine", "nih"])
def test_the_configs_that_come_along_are_right(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "conf" / f"{name}.yaml", tmp_path)
    config = load_config(tmp_path / f"{name}.yaml")
    assert yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())["store"] == config.store
