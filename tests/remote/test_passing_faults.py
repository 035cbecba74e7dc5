"""Faults of a server that pass: the store is the same, byte for byte, as without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from tests.support.http_faults import (
    Cut,
    Fault,
    Request,
    ShortRange,
    Stall,
    Trickle,
    WrongLength,
    busy,
    seeded_faults,
)
from tests.support.remote_release import (
    ARCHIVES,
    CSV,
    VOLUMES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    store_data,
)
from tests.support.stored import config_of

pytestmark = pytest.mark.usefixtures("small_blocks", "impatient")

# Fault; how often in a row it strikes; how many requests go well then.
PASSING: dict[str, tuple[Fault, int, int]] = {
    "cut before the first byte": (Cut(0), 3, 1),
    "cut mid-block": (Cut(100_000), 3, 1),
    "reset mid-block": (Cut(100_000, is_reset=True), 1, 1),
    "500": (busy(500), 4, 1),
    "503": (busy(503), 4, 1),
    "429 with Retry-After": (busy(429, "0"), 4, 1),
    "being made ready": (busy(202), 4, 1),
    "stalled before the header": (Stall(), 1, 2),
    "stalled mid-block": (Stall(100_000), 1, 2),
    "Content-Length too large": (WrongLength(1000), 1, 1),
    "Content-Length too small": (WrongLength(-1), 1, 1),
    "ranges that end early": (ShortRange(100_000), 10, 0),
    "in small pieces": (Trickle(30_000, 0.0001), 10, 0),
}
COSTS_NO_REQUEST = {"Content-Length too large", "in small pieces"}
ALL = [fault for fault, _, _ in PASSING.values()]


def bursts(fault: Fault, failing: int, fine: int) -> Callable[[Request], Fault | None]:
    """At each path: so many requests that go wrong, so many that go well, and so on."""
    counts: Counter[str] = Counter()

    def choose(request: Request) -> Fault | None:
        counts[request.path] += 1
        return fault if (counts[request.path] - 1) % (failing + fine) < failing else None

    return choose


@pytest.mark.slow
@pytest.mark.parametrize("fault", PASSING)
def test_each_alone(
    fault: str,
    staging: str | None,
    served: Served,
    local_store: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if isinstance(PASSING[fault][0], Stall):
        request.getfixturevalue("short_stalls")
    served.server.chance = bursts(*PASSING[fault])
    source = served.source(staging=staging, annotations=str(served.release / CSV))
    done = build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert_same_store(tmp_path / "store", local_store)
    assert_accounts(tmp_path / "store")
    for number in (1, 2, 3):
        # Slices or blocks were struck, not only what the driver looks at.
        needed = sum(number in archives for archives in VOLUMES.values()) if staging is None else 3
        assert len(served.reads(number)) > needed or fault in COSTS_NO_REQUEST


@pytest.mark.slow
@pytest.mark.usefixtures("short_stalls")
@pytest.mark.parametrize(
    "fault", [Cut(500), Cut(500, is_reset=True), Stall(500), WrongLength(10), busy(), busy(429, "0"), Stall()]
)
def test_the_annotations_come_whole(fault: Fault, served: Served, local_store: Path, tmp_path: Path) -> None:
    served.server.faults[f"/{CSV}"] = [fault, fault]
    source = served.source(archives=[str(served.release / name) for name in ARCHIVES])
    build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert served.server.ranges(f"/{CSV}") == 3 * [None]
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
@pytest.mark.usefixtures("short_stalls")
@pytest.mark.parametrize("seed", range(2))
def test_all_together(
    seed: int, staging: str | None, served: Served, local_store: Path, tmp_path: Path
) -> None:
    served.server.chance = seeded_faults(seed, 0.7, ALL)
    source = served.source(staging=staging, annotations=str(served.release / CSV))
    done = build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.slow
def test_after_a_cut_no_byte_travels_twice(served: Served, local_store: Path, tmp_path: Path) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    config = config_of(store_data(tmp_path / "store", source))
    plan = load_plan(config)
    served.server.requests.clear()
    served.server.chance = bursts(Cut(100_000), 3, 1)
    build(config, plan, SerialExecutor())
    assert_same_store(tmp_path / "store", local_store)
    for number in (1, 2, 3):
        at = 0
        for request in (r for r in served.server.requests if r.path.endswith(ARCHIVES[number - 1])):
            assert request.byte_range is not None
            assert request.byte_range[0] == at
            at += request.sent
        assert at == served.bytes(number)
