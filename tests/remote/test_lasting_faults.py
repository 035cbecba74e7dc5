"""Faults of a server that last: what they concern is rejected with a reason, all else is built, and the next
run, with a server that is well again, converts what is missing and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from etl.core.errors import GuardError
from etl.pipeline.build import build, load_plan
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from jobs.build_store import main
from tests.support.http_faults import PAGE, Answer, Cut, NoRange, Stall, busy
from tests.support.remote_release import (
    ARCHIVES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    receipts,
    store_data,
)
from tests.support.spoiling import (
    STRUCK,
    TOUCHED,
    UNTOUCHED,
    Spoil,
    always,
    assert_next_run_mends,
    assert_only_touched_is_missing,
    change,
    planned_then,
    reasons,
    remove,
    shorten,
)
from tests.support.stored import config_of, version_names, write_config
from tests.support.transfers import USUAL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_blocks", "impatient")]

NOT_THE_ARCHIVE = Answer(200, {"Content-Type": "application/zip"}, b"PK\x03\x04 and so on")
AFTER_PLANNING: dict[str, tuple[Spoil, str]] = {
    "changed": (change, "archive_changed"),
    "shorter": (shorten, "archive_changed"),
    "removed": (remove, "archive_unavailable"),
    "forbidden": (always(Answer(403)), "archive_unavailable"),
    "a web page": (always(PAGE), "archive_unavailable"),
    "no ranges any more": (always(NoRange()), "archive_unavailable"),
    "other bytes come": (always(NOT_THE_ARCHIVE), "archive_changed"),
}
# The place does not answer.
SILENT = {
    "500 for ever": always(busy(500)),
    "429 for ever": always(busy(429, "0")),
    "cut for ever": always(Cut(0)),
    "stalled for ever": always(Stall()),
}


@pytest.fixture(params=["in place", "staged"])
def data(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> dict[str, Any]:
    staging = str(tmp_path / "staging") if request.param == "staged" else None
    return store_data(
        tmp_path / "store", served.source(staging=staging), limits={"rejects": 1.0, "lost_archives": 1}
    )


@pytest.mark.parametrize("fault", AFTER_PLANNING)
def test_what_the_archive_holds_is_rejected_and_built_the_next_time(
    fault: str, served: Served, data: dict[str, Any], local_store: Path
) -> None:
    spoil, reason = AFTER_PLANNING[fault]
    done = planned_then(spoil, served, data)()
    assert (done.converted, done.reused) == (len(UNTOUCHED), 0)
    assert_only_touched_is_missing(Path(data["store"]), reason, local_store)
    assert_next_run_mends(served, data, local_store)


@pytest.mark.parametrize("fault", SILENT)
def test_an_archive_whose_place_is_silent_is_given_up_once(
    fault: str,
    served: Served,
    data: dict[str, Any],
    local_store: Path,
    short_stalls: None,
) -> None:
    build = planned_then(SILENT[fault], served, data)
    served.server.requests.clear()
    build()
    # Two volumes need it; the second one does not ask again.
    assert len(served.server.ranges(STRUCK)) == USUAL.attempts
    assert_only_touched_is_missing(Path(data["store"]), "archive_unavailable", local_store)
    assert_next_run_mends(served, data, local_store)


def test_on_a_cluster_an_archive_that_is_lost_costs_its_own_volumes(
    served: Served, two_workers: Executor, local_store: Path, tmp_path: Path
) -> None:
    data = store_data(tmp_path, served.source(), limits={"rejects": 1.0, "lost_archives": 1})
    config = config_of(data)
    plan = load_plan(config)
    always(Answer(403))(served)
    build(config, plan, two_workers)
    assert_only_touched_is_missing(tmp_path, "archive_unavailable", local_store)
    assert_next_run_mends(served, data, local_store)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (always(PAGE), "archive_not_zip"),
        (always(Answer(403)), "archive_unavailable"),
        (always(busy(500)), "archive_unavailable"),
        (remove, "archive_unavailable"),
        (shorten, "archive_truncated"),
        (lambda served: served.server.put(STRUCK, b""), "archive_not_zip"),
        (lambda served: served.server.put(STRUCK, b"PK"), "archive_truncated"),
    ],
    ids=["a web page", "forbidden", "500 for ever", "removed", "cut short", "empty", "two bytes"],
)
def test_an_archive_that_can_not_be_planned_is_rejected_and_built_the_next_time(
    spoil: Spoil, reason: str, served: Served, data: dict[str, Any], local_store: Path
) -> None:
    """Its slices are not known then: what the others hold is built, in shorter volumes where it is amidst."""
    spoil(served)
    store = Path(data["store"])
    build_as_job(data, SerialExecutor())
    assert reasons(store, "archive") == {reason: 1}
    assert reasons(store, "row") == {"key_slice_missing": 2}
    assert reasons(store, "slice") == {}
    assert receipts(store) >= UNTOUCHED
    assert len(receipts(store)) == 4
    assert_accounts(store)
    served.mend()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(TOUCHED), len(UNTOUCHED))
    assert_same_store(store, local_store)


@pytest.mark.parametrize("rejects", [1.0, 0.05])
def test_with_the_usual_limits_nothing_is_published_until_all_is_there(
    rejects: float, served: Served, data: dict[str, Any], local_store: Path
) -> None:
    data["limits"] = {"rejects": rejects}
    run = planned_then(change, served, data)
    with pytest.raises(GuardError, match=rf"1 of 3: {ARCHIVES[1]} \(archive_changed\)"):
        run()
    assert version_names(Path(data["store"])) == []
    assert_next_run_mends(served, data, local_store)
    assert version_names(Path(data["store"])) == ["000001.json"]


def test_an_archive_that_was_never_seen_refuses_until_it_is_back(
    served: Served, data: dict[str, Any], tmp_path: Path
) -> None:
    """Its server answers a web page with 200. Rows of series that are in it alone are not even rejects."""
    served.server.put(STRUCK, PAGE.body)
    # The first archive holds one volume whole, which is all that is selected: not one reject tells of a loss.
    data |= {"limits": {}, "select": {"patients": [1]}}
    config = write_config(tmp_path, data)
    done = CliRunner().invoke(main, [config])
    assert done.exit_code == 3, done.stderr
    for words in (f"1 of 3: {ARCHIVES[1]} (archive_not_zip)", "--set limits.lost_archives=1"):
        assert words in done.stderr
    store = Path(data["store"])
    assert (version_names(store), len(receipts(store))) == ([], 0)  # refused before any work
    served.mend()
    assert CliRunner().invoke(main, [config]).exit_code == 0
    assert version_names(store) == ["000001.json"]
