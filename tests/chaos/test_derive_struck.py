"""A job that computes a derived table, struck at the boundaries of its writes, or in a bucket that fails."""

from __future__ import annotations

import random
import re
import signal
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.store import open_store
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.chaos.arena import LONG, Arena
from tests.chaos.conftest import TallyOf
from tests.chaos.foundry import Orders, Outcome
from tests.support.faulty_s3 import seeded
from tests.support.tiny_model import tiny_model

pytestmark = pytest.mark.campaign
MODEL_ID = "brightness-3f6a09c2d1e4b785"
SCORED_NOW = re.compile(r"(\d+) scored now, (\d+) by a run before")


@dataclass
class Scoring:
    """The job on stores of an arena, and what it gives without faults.

    Attributes:
        template: a store of two versions, and a third that names a model.
    """

    place: Arena
    template: str
    expected: pd.DataFrame
    boundaries: tuple[str, ...]

    def run(self, store: str, extra: str = "", **orders: Any) -> Outcome:
        arguments, log = [store, "--model", "brightness"], str(self.place.folder / "log")
        conditions = f"serial derivation, {extra}".removesuffix(", ")
        orders |= {"job": "score_slices", "extra": conditions}
        return self.place.foundry.run(Orders(arguments, log, store, **orders))

    def assert_as_expected(self, store: str) -> None:
        objects = open_objects(store)
        assert version_numbers(objects) == [1, 2, 3, 4]
        pd.testing.assert_frame_equal(open_store(store).body_positions(), self.expected)
        assert verify(objects, 4).problems == ()
        self.place.assert_watched(store)


@pytest.fixture(scope="module")
def scoring(place: Arena) -> Scoring:
    template = place.fresh(place.second)
    add_model(open_objects(template), "brightness", MODEL_ID, tiny_model())
    made = Scoring(place, template, pd.DataFrame(), ())
    store = place.fresh(template)
    outcome = made.run(store, strike_at=-1)
    assert outcome.code == 0, place.log()
    made.boundaries, made.expected = outcome.boundaries, open_store(store).body_positions()
    made.assert_as_expected(store)
    return made


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_struck_at_boundaries(scoring: Scoring, kind: signal.Signals, tally: TallyOf) -> None:
    place = scoring.place
    moments = range(len(scoring.boundaries))
    chosen = moments if LONG else random.Random(0).sample(moments, place.few // 2)
    with tally(f"{kind.name} of a job that derives, at each write", place.kind) as count:
        for moment in chosen:
            with count.attempt(scoring.boundaries[moment]):
                store = place.fresh(scoring.template)
                struck = scoring.run(store, strike_at=moment, signal=kind)
                assert struck.code == (-kind if kind == signal.SIGKILL else 143), place.log()
                parts = [
                    name
                    for name in open_objects(store).list("tables")
                    if "/body_positions/" in name and name.endswith(".parquet")
                ]
                is_published = version_numbers(open_objects(store))[-1] == 4
                again = scoring.run(store)
                assert again.code == 0, place.log()
                now = SCORED_NOW.search(place.log())
                assert now is not None
                computed, found = (int(number) for number in now.groups())
                # A volume whose file is whole is not computed again.
                whole = 0 if is_published else len(parts)
                assert (computed, found) == ((0, 0) if is_published else (3 - whole, whole))
                scoring.assert_as_expected(store)


@pytest.mark.parametrize("place", ["S3"], indirect=True)
def test_one_request_in_twenty_fails(scoring: Scoring, tally: TallyOf) -> None:
    place = scoring.place
    assert place.faulty is not None
    place.faulty.faults.clear()
    with tally("5 % of requests of a job that derives fail", place.kind) as count:
        for seed in range(100 if LONG else 3):
            with count.attempt(f"seed {seed}"):
                store = place.fresh(scoring.template)
                place.faulty.choose = seeded(seed, 0.05)
                try:
                    outcome = scoring.run(store, extra="impatience")
                finally:
                    place.faulty.choose = lambda request: None
                assert outcome.code == 0, place.log()
                scoring.assert_as_expected(store)
    assert place.faulty.faults
