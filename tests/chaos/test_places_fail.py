"""The place of the store fails, or is not as a build left it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.io.opening import open_objects
from etl.store.versions import version_numbers
from tests.chaos.arena import LONG, Arena
from tests.chaos.conftest import TallyOf
from tests.support.faulty_s3 import S3Fault, S3Request, seeded
from tests.support.small_disks import mounted, remount

pytestmark = pytest.mark.slow


def after_writes(number: int, fault: S3Fault) -> object:
    """A bucket that takes so many changes and refuses all others."""
    taken = 0

    def choose(request: S3Request) -> S3Fault | None:
        nonlocal taken
        taken += request.writes
        return fault if request.writes and taken > number else None

    return choose


@pytest.fixture
def small_disk(place: Arena, tmp_path: Path) -> Iterator[Path]:
    """The folder of a small file system, in which the arena's new stores lie for one test."""
    if place.kind != "disk":
        pytest.skip("a bucket has no disk of its own that could be full")
    before = place.place
    with mounted(tmp_path / "disk", "32m"):
        place.place = str(tmp_path / "disk")
        base = open_objects(f"{place.place}/base")
        for name, data in place.base.items():
            base.write(name, data)
        yield tmp_path / "disk"
        place.place = before
        place.watch.move_to(f"{before}/base")


def assert_stopped_in_order(place: Arena, code: int) -> None:
    """Assert that the run failed with one error message and no traceback."""
    assert code in (2, 4), place.log()
    assert "error: " in place.log()
    assert "Traceback" not in place.log()


def test_disk_full_in_the_middle(place: Arena, small_disk: Path, tally: TallyOf) -> None:
    with tally("disk full in the middle", place.kind) as count:
        for free in range(0, 96 << 10, (4 << 10) if LONG else (16 << 10)):
            with count.attempt(f"{free} bytes free"):
                store = place.fresh()
                filler = small_disk / "filler"
                filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - free)))
                outcome = place.run(store)
                if outcome.code:
                    assert_stopped_in_order(place, outcome.code)
                filler.unlink()
                place.assert_survived(store)


def test_read_only_store(place: Arena, tally: TallyOf, request: pytest.FixtureRequest) -> None:
    with tally("the store can be read only", place.kind) as count, count.attempt("from the start"):
        if place.kind == "disk":
            folder = request.getfixturevalue("small_disk")
            store = place.fresh()
            remount(folder, "ro")
            assert_stopped_in_order(place, place.run(store).code)
            remount(folder, "rw")
        else:
            store = place.fresh()
            with failing(place, 0, S3Fault.FORBIDDEN):
                assert_stopped_in_order(place, place.run(store).code)
        place.assert_survived(store)


@contextlib.contextmanager
def failing(place: Arena, writes: int, fault: S3Fault) -> Iterator[None]:
    assert place.faulty is not None
    place.faulty.choose = after_writes(writes, fault)  # type: ignore[assignment]
    try:
        yield
    finally:
        place.faulty.choose = lambda request: None


@pytest.mark.campaign
@pytest.mark.parametrize("place", ["S3"], indirect=True)
@pytest.mark.parametrize("fault", [S3Fault.FORBIDDEN, S3Fault.FULL])
def test_a_bucket_that_takes_no_more(place: Arena, fault: S3Fault, tally: TallyOf) -> None:
    with tally(f"no writes any more: {fault.name.lower()}", place.kind) as count:
        for writes in range(0, 24, 1 if LONG else 11):
            with count.attempt(f"after {writes} writes"):
                store = place.fresh()
                with failing(place, writes, fault):
                    outcome = place.run(store, extra="impatience")
                assert_stopped_in_order(place, outcome.code)
                place.assert_survived(store)


@pytest.mark.campaign
@pytest.mark.parametrize("place", ["S3"], indirect=True)
def test_one_request_in_twenty_fails(place: Arena, tally: TallyOf) -> None:
    assert place.faulty is not None
    place.faulty.faults.clear()
    with tally("5 % of requests: 500, 503, reset, time-out, lost reply", place.kind) as count:
        for seed in range(200 if LONG else 3):
            with count.attempt(f"seed {seed}"):
                store = place.fresh()
                place.faulty.choose = seeded(seed, 0.05)
                try:
                    outcome = place.run(store, extra="impatience")
                finally:
                    place.faulty.choose = lambda request: None
                assert outcome.code == 0, place.log()
                place.assert_as_expected(store)
                place.assert_survived(store)
    assert len(set(place.faulty.faults)) > 3


def test_clock_going_backwards(place: Arena, tally: TallyOf) -> None:
    with tally("the clock goes backwards", place.kind) as count, count.attempt("an hour at each look"):
        store = place.fresh()
        outcome = place.run(store, extra="clock going backwards")
        assert outcome.code == 0, place.log()
        place.assert_survived(store)


def shards(place: Arena, store: str) -> list[str]:
    """Names of the shards of the version to come, as a run that was killed before publishing left them."""
    assert place.run(store, strike_at=before_version(place)).code == -signal.SIGKILL
    objects = open_objects(store)
    return [n for n in objects.list("volumes") if n.endswith("/0/c/0/0/0") and n not in place.base]


def before_version(place: Arena) -> int:
    return next(
        number
        for number, name in enumerate(place.boundaries)
        if name.startswith("before ") and name.endswith("versions/000002.json")
    )


@pytest.mark.parametrize("has_receipt", [True, False], ids=["with its receipt", "without"])
def test_a_truncated_shard_is_replaced(place: Arena, has_receipt: bool, tally: TallyOf) -> None:
    fault = f"a truncated shard, {'with' if has_receipt else 'without'} a receipt"
    with tally(fault, place.kind) as count:
        for number in range(3 if LONG else 1):
            with count.attempt(f"shard {number}"):
                store = place.fresh()
                name = shards(place, store)[number]
                objects = open_objects(store)
                data = objects.read(name)
                objects.write(name, data[: len(data) // 2])
                if not has_receipt:
                    objects.remove(name.replace(".ome.zarr/0/c/0/0/0", ".receipt.json"))
                place.assert_survived(store)


def test_another_run_publishes_first(place: Arena, tally: TallyOf) -> None:
    """It takes the number that this run was about to take: both versions are there in the end."""
    with tally("a version file planted by another run", place.kind) as count, count.attempt("whole"):
        store = place.fresh()
        assert place.run(store, strike_at=before_version(place)).code == -signal.SIGKILL
        other = place.run(store, ["--set", "volume.spacing_mm=4.0"])
        assert other.code == 0, place.log()
        assert place.run(store).code == 0, place.log()
        objects = open_objects(store)
        assert version_numbers(objects) == [1, 2, 3]
        mine, wanted = place.content(store, 3), dict(place.expected[1])
        for found in (mine, wanted):
            facts = json.loads(found["version"])
            del facts["version"], facts["parent"]
            found["version"] = json.dumps(facts).encode()
        assert mine == wanted
        assert place.content(store, 1) == place.expected[0]
        place.assert_watched(store)


@pytest.mark.parametrize(
    "junk",
    [b"", b"{}", b"\x00" * 512, b'{"contract_version": 1'],
    ids=["empty", "no fields", "zeros", "cut"],
)
def test_a_version_file_that_is_junk(place: Arena, junk: bytes, tally: TallyOf) -> None:
    """Nobody here writes one: a build and a reader refuse it by name, and go on once it is moved away."""
    with tally("a version file that is junk", place.kind) as count, count.attempt(repr(junk)):
        store = place.fresh()
        place.watch.move_to(f"{place.place}/base")
        objects = open_objects(store)
        objects.write("versions/000002.json", junk)
        outcome = place.run(store)
        assert_stopped_in_order(place, outcome.code)
        assert "versions/000002.json" in place.log()
        objects.remove("versions/000002.json")
        place.watch.move_to(store)
        place.assert_survived(store)
