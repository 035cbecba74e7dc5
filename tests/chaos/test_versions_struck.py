"""Prunes and rollbacks, processes of `jobs/store_versions.py`, killed at the boundaries of their writes."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest

from etl.io.opening import open_objects
from etl.store.layout import RUNNING
from etl.store.running import DEAD_SECONDS
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.chaos.arena import LONG, Arena
from tests.chaos.conftest import TallyOf
from tests.chaos.foundry import Orders, Outcome
from tests.support.written_times import move_written

pytestmark = pytest.mark.slow

# Of a store of two versions; which versions it may have in between, and which are kept.
COMMANDS: dict[str, tuple[list[str], list[list[int]], list[int]]] = {
    "prune": (["prune", "--keep", "1", "--older-than", "0"], [[1, 2], [2]], [2]),
    "rollback": (["rollback", "1"], [[1, 2], [1, 2, 3]], [1, 2, 3]),
}


def look_after(place: Arena, store: str, arguments: list[str], **orders: Any) -> Outcome:
    log = str(place.folder / "log")
    return place.foundry.run(Orders([store, *arguments], log, store, job="store_versions", **orders))


def held(place: Arena, store: str) -> tuple[dict[int, dict[str, bytes]], list[str]]:
    """Return the content of each version, and the names of all volumes' and tables' objects, named or not."""
    objects = open_objects(store)
    names = [name for folder in ("volumes", "tables") for name in objects.list(folder)]
    return {number: place.content(store, number) for number in version_numbers(objects)}, names


@pytest.mark.campaign
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_boundaries(place: Arena, command: str, tally: TallyOf) -> None:
    arguments, between, after = COMMANDS[command]
    store = place.fresh(place.second)
    outcome = look_after(place, store, arguments)
    assert outcome.code == 0, place.log()
    expected = held(place, store)
    assert list(expected[0]) == after
    moments = range(len(outcome.boundaries))
    chosen = moments if LONG else random.Random(command).sample(moments, 2)
    with tally(f"SIGKILL of a {command}, at each write", place.kind) as count:
        for moment in chosen:
            with count.attempt(outcome.boundaries[moment]):
                store = place.fresh(place.second)
                struck = look_after(place, store, arguments, strike_at=moment)
                assert struck.code == -signal.SIGKILL, place.log()
                objects = open_objects(store)
                left = version_numbers(objects)
                assert left in between
                assert [verify(objects, number).problems for number in left] == [()] * len(left)
                # Its mark is there, and would have the next prune refuse for 15 minutes.
                for name in objects.listed(RUNNING):
                    move_written(objects, f"{RUNNING}/{name}", -DEAD_SECONDS - 1)
                again = look_after(place, store, arguments)
                assert again.code == 0, place.log()
                assert held(place, store) == expected
                place.assert_watched(store)
