from __future__ import annotations

from pathlib import Path

import pytest

from etl.phantom import PhantomTruth
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store
from tests.support.shared import made_once
from tests.support.stored import build_store, config_data


@pytest.fixture(scope="session")
def demo_store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the whole synthetic release at 2 mm. Read only."""

    def build(folder: Path) -> None:
        build_store(config_data(phantom[0], folder, volume={"spacing_mm": 2.0}), SerialExecutor())

    root, _ = made_once(tmp_path_factory, "demo_store", build)
    return open_store(str(root))
