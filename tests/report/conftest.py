from __future__ import annotations

from pathlib import Path

import pytest

from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.stored import build_store, config_data


@pytest.fixture(scope="session")
def store(phantom: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of two patients of the synthetic release. Read only."""
    folder = tmp_path_factory.mktemp("report") / "store"
    build_store(config_data(phantom[0], folder, select={"patients": [1, 2]}), SerialExecutor())
    return open_store(str(folder))
