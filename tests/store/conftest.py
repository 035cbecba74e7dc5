from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etl.core.config import Config


@pytest.fixture
def three_versions(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Config:
    """Return the config of a store of three versions without a common volume, copied from one built once."""
    from tests.support.shared import made_once
    from tests.support.three_volumes import built_three_times

    folder, config = made_once(tmp_path_factory, "three_versions", built_three_times)
    shutil.copytree(folder / "store", tmp_path / "store")
    copied: Config = config.model_copy(update={"store": str(tmp_path / "store")})
    return copied
