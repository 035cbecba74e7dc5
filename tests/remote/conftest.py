from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.remote_release import Served
    from tests.support.servers import HttpServer


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, four volumes, three archives: two volumes span two archives each. Read only."""
    from etl.phantom import write_phantom

    folder = tmp_path_factory.mktemp("release")
    write_phantom(folder, patients=2, archives=3, extracted=True)
    return folder


@pytest.fixture(scope="session")
def local_store(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store built from the archives as they lie on this disk: what all others are compared with."""
    from etl.run.serial import SerialExecutor
    from tests.support.remote_release import local_source, store_data
    from tests.support.stored import build_store

    store = tmp_path_factory.mktemp("local")
    build_store(store_data(store, local_source(release)), SerialExecutor())
    return store


@pytest.fixture
def served(http_server: HttpServer, release: Path) -> Served:
    """The release on an HTTP server."""
    from tests.support.remote_release import Served

    return Served.of(http_server, release)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives come in a few blocks each, and their ends are looked at in one of another size."""
    from etl.io import retries
    from etl.staging.fetch import Fetcher
    from tests.support.remote_release import BLOCK_BYTES, TAIL_BYTES

    small = partial(Fetcher, block_bytes=BLOCK_BYTES, blocks_a_task=2)
    monkeypatch.setattr("etl.pipeline.staged.Fetcher", small)
    monkeypatch.setattr("etl.io.retries.DEFAULTS", replace(retries.DEFAULTS, tail_bytes=TAIL_BYTES))


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts made tiny in this process; what counts as stalled stays as it is."""
    from etl.io import retries

    short = replace(retries.DEFAULTS, first_wait_s=0.001, longest_wait_s=0.01, outage_s=0.0)
    monkeypatch.setattr("etl.io.retries.DEFAULTS", short)
