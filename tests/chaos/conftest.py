from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.chaos.arena import Arena, arena


@pytest.fixture(scope="session", params=["disk", pytest.param("S3", marks=pytest.mark.campaign)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """An arena of either kind, for all files: each test takes a new store in it."""
    url = request.getfixturevalue("s3_server") if request.param == "S3" else ""
    with arena(request.param, tmp_path_factory.mktemp(request.param.lower()), url) as made:
        yield made


@pytest.fixture(autouse=True)
def paused_after_each_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """The arena lives as long as the tests of all files; its reader uses no CPU between tests."""
    yield
    if "place" in request.fixturenames:
        request.getfixturevalue("place").watch.pause()


@dataclass
class Tally:
    """The attempts at a fault, and those that the store did not survive."""

    tried: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """One time; what fails is noted, so that the others are tried too."""
        self.tried += 1
        try:
            yield
        except AssertionError as error:
            self.lost.append(f"{what}: {error}"[:2000])


TallyOf = Callable[[str, str], AbstractContextManager[Tally]]


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> TallyOf:
    """Counts the times of one fault on one kind of store, for the table; fails if any was lost."""

    @contextmanager
    def counted(fault: str, kind: str) -> Iterator[Tally]:
        count = Tally()
        yield count
        record_property("chaos", (fault, kind, count.tried, count.tried - len(count.lost)))
        assert count.tried
        assert not count.lost, "\n\n".join(count.lost)

    return counted
