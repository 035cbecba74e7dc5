from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.remote_release import Served
    from tests.support.servers import HttpServer


def chosen(item: pytest.Item) -> dict[str, str]:
    """Return what a test's case takes for each of its parameters; names given together are one."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return {}
    taken = {name: repr(value) for name, value in item.callspec.params.items()}
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0].replace(" ", "").split(",") if isinstance(mark.args[0], str) else mark.args[0]
        for name in names[1:]:
            taken.pop(name)
    return taken


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave every second combination of two or more parameters to the campaign.

    As on a chessboard: a fault stays in one way to read the archives, each way with half of the faults.
    """
    seen: dict[tuple[str, str], list[str]] = {}
    for item in items:
        taken = chosen(item) if item.path.parent == Path(__file__).parent else {}
        places = []
        for name, value in taken.items():
            values = seen.setdefault((item.nodeid.partition("[")[0], name), [])
            if value not in values:
                values.append(value)
            places.append(values.index(value))
        if len(places) > 1 and sum(places) % 2:
            item.add_marker(pytest.mark.campaign)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, four volumes, three archives: two volumes span two archives each. Read only."""
    from etl.phantom import write_phantom
    from tests.support.shared import made_once

    write = partial(write_phantom, patients=2, archives=3, extracted=True)
    return made_once(tmp_path_factory, "remote_release", write)[0]


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


@pytest.fixture(params=["in place", "staged"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The staging folder of archives; None where they are read in place."""
    return str(tmp_path / "staging") if request.param == "staged" else None


@pytest.fixture
def small_blocks() -> Iterator[None]:
    """Archives come in a few blocks each, and their ends are looked at in one of another size."""
    from tests.support.remote_release import BLOCK_BYTES, TAIL_BYTES
    from tests.support.transfers import transfers_changed

    with transfers_changed(block_bytes=BLOCK_BYTES, blocks_a_task=2, tail_bytes=TAIL_BYTES):
        yield
