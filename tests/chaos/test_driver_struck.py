"""A build that is killed or terminated at the boundaries of its writes."""

from __future__ import annotations

import re
import signal

import pytest

from tests.chaos.arena import LONG, Arena
from tests.chaos.conftest import TallyOf

pytestmark = pytest.mark.slow


def test_the_boundaries_are_those_of_the_writes_in_order(place: Arena) -> None:
    changes = [name.split(" ", 2) for name in place.boundaries if name.startswith("before ")]
    written = [
        re.sub(r".*/([0-9a-f]{16}\.)?", "", where)
        for _, call, where in changes
        if call not in ("unlink", "delete_object")
    ]
    assert written.index("0") < written.index("receipt.json")
    assert [written.count(name) for name in ("receipt.json", "split.json", "part-0.parquet")] == [3, 1, 5]
    assert written.index("split.json") < written.index("part-0.parquet")
    assert "part-0.parquet" not in written[written.index("000002.json") :]


def test_killed_at_boundaries(place: Arena, tally: TallyOf) -> None:
    with tally("SIGKILL of the driver, at each write", place.kind) as count:
        for number in place.moments():
            with count.attempt(place.boundaries[number]):
                store = place.fresh()
                outcome = place.run(store, strike_at=number)
                assert outcome.code == -signal.SIGKILL, place.log()
                assert len(outcome.boundaries) == number + 1
                place.assert_survived(store)


@pytest.mark.campaign
def test_terminated_at_boundaries(place: Arena, tally: TallyOf) -> None:
    moments = place.moments() if LONG else place.moments()[:5]
    with tally("SIGTERM of the driver, at a write", place.kind) as count:
        for number in moments:
            with count.attempt(place.boundaries[number]):
                store = place.fresh()
                outcome = place.run(store, strike_at=number, signal=signal.SIGTERM)
                assert outcome.code == 143, place.log()
                assert "Traceback" not in place.log()
                last = place.log().splitlines()[-1]
                assert last.startswith("stopped; finished volumes are kept. Continue with the same command:")
                place.assert_survived(store)
