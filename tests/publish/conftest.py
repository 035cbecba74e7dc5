from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.config import Config
from tests.support.three_volumes import PRESENT, ROWS
from tests.support.tiny_release import tiny_config, write_release


@pytest.fixture
def release(tmp_path: Path) -> Path:
    write_release(tmp_path / "release", PRESENT, ROWS)
    return tmp_path / "release"


@pytest.fixture
def config(release: Path, tmp_path: Path) -> Config:
    return tiny_config(release, tmp_path / "store")
