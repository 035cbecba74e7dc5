"""A small store, built once a module and copied for each test that damages it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from etl.core.config import Config
from etl.core.config_file import load_config
from etl.phantom import write_phantom
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The config of a store that is built: two patients, coarse voxels, two levels."""
    base = tmp_path_factory.mktemp("verify")
    write_phantom(base / "phantom", patients=2, archives=1)
    text = yaml.safe_dump(
        {
            "store": str(base / "store"),
            "source": {
                "annotations": str(base / "phantom/DL_info.csv"),
                "archives": [str(base / "phantom/Images_png_01.zip")],
            },
            "volume": {"spacing_mm": 4.0, "pyramid_levels": 2},
            "limits": {"rejects": 0.1},
            "cluster": "serial",
        }
    )
    (base / "config.yaml").write_text(text)
    config = load_config(base / "config.yaml")
    build(config, load_plan(config), SerialExecutor())
    return config


@pytest.fixture
def store(config: Config, tmp_path: Path) -> Path:
    """A copy of the store, to damage."""
    return Path(shutil.copytree(config.store, tmp_path / "store"))
