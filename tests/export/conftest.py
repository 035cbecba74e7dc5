from __future__ import annotations

from pathlib import Path

import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.stored import build_store, config_data


@pytest.fixture(scope="session")
def demo_store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the whole synthetic release at 1 mm. Read only."""
    root = tmp_path_factory.mktemp("demo") / "store"
    build_store(config_data(phantom[0], root), SerialExecutor())
    return open_store(str(root))
