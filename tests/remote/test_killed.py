"""A build that is killed while it downloads, from a server with every fault there is: it goes on from where
it was, and the store is in the end what it would have been."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.remote.test_passing_faults import ALL, bursts
from tests.support.http_faults import PAGE, Fault, NoRange, Request, Trickle, seeded_faults
from tests.support.processes import LIMIT_SECONDS, running, wait_until
from tests.support.remote_release import (
    ARCHIVES,
    TAIL_BYTES,
    Served,
    assert_accounts,
    assert_same_store,
    store_data,
)
from tests.support.stored import version_names, write_config

pytestmark = pytest.mark.campaign
JOB = [sys.executable, "-m", "tests.support.impatient_job"]
KILLS = 5
SLOWLY = Trickle(16_384, 0.0005)


def slow_or_faulty(served: Served, seed: int) -> Callable[[Request], Fault | None]:
    """Blocks come slowly or with any fault; heads and directories are refused now and then."""
    sizes = {f"/{name}": served.bytes(number) for number, name in enumerate(ARCHIVES, 1)}
    of_blocks = seeded_faults(seed, 0.4, [*ALL, *ALL, *ALL, *ALL, PAGE, NoRange()])
    of_looks = bursts(ALL[0], 1, 1)

    def choose(request: Request) -> Fault | None:
        size = sizes.get(request.path)
        if size is None or request.byte_range in ((0, 4), (size - TAIL_BYTES, size)):
            return of_looks(request)
        return of_blocks(request) or SLOWLY

    return choose


def bytes_there(staging: Path, served: Served) -> dict[int, int]:
    """Return the bytes that each archive has in the staging folder."""
    found = dict.fromkeys((1, 2, 3), 0)
    for number, name in enumerate(ARCHIVES, 1):
        parts = list(staging.rglob(f"{name.removesuffix('.zip')}.*"))
        assert len(parts) <= 1
        for path in parts:
            content = path.read_bytes()
            # Whatever is there is right, to the last byte.
            assert (served.release / name).read_bytes().startswith(content)
            found[number] = len(content)
    return found


def assert_nothing_came_twice(served: Served, before: dict[int, int]) -> None:
    """Assert that this run requested nothing that was in the staging folder before it."""
    for number, there in before.items():
        reads = served.reads(number)
        assert all(asked is not None and asked[0] >= there for asked in reads), (number, there, reads)
        if there == served.bytes(number):
            assert reads == []


@pytest.mark.parametrize("seed", [1])
def test_killed_at_five_moments_of_the_download(
    seed: int, served: Served, local_store: Path, tmp_path: Path
) -> None:
    store, staging = tmp_path / "store", tmp_path / "staging"
    data = store_data(store, served.source(staging=str(staging)))
    command = [*JOB, write_config(tmp_path, data)]
    dice = random.Random(seed)
    served.server.chance = slow_or_faulty(served, seed)
    total = sum(served.bytes(number) for number in (1, 2, 3))
    log = tmp_path / "log"

    kills = 0
    for _ in range(20):
        before = bytes_there(staging, served)
        served.server.requests.clear()
        enough = dice.uniform(0.05, 0.15) * total
        with running(command, log) as process:
            wait_until(
                lambda: sum(r.sent for r in served.server.requests) >= enough or process.poll() is not None,  # noqa: B023
                "enough bytes had come",
            )
            process.kill()
            process.wait()
        # A web page in the middle costs a run its archive: it may end by itself, with nothing published.
        assert process.returncode in (-9, 3), log.read_text()
        assert_nothing_came_twice(served, before)
        assert version_names(store) == []
        kills += process.returncode == -9
        if kills == KILLS:
            break
    assert kills == KILLS
    assert 0 < sum(bytes_there(staging, served).values()) < total

    for _ in range(20):
        before = bytes_there(staging, served)
        served.server.requests.clear()
        with running(command, log) as process:
            code = process.wait(LIMIT_SECONDS)
        assert_nothing_came_twice(served, before)
        if code == 0:
            break
        assert code == 3, log.read_text()
        assert "archive_unavailable" in log.read_text()
    assert version_names(store) == ["000001.json"]
    assert_same_store(store, local_store)
    assert_accounts(store)
    assert sum(bytes_there(staging, served).values()) == total
