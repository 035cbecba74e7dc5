from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window, with a profile of its own."""
    from tests.support.browser import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
