from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from etl.io.local import LocalObjects
from etl.report.summary import changes, reject_counts, summarise, verdict
from etl.store.reader import Store

COUNTS = {
    "lesions": 20,
    "volumes": 4,
    "rows_rejected": 0,
    "rows_not_selected": 0,
    "slices_rejected": 0,
    "slices_not_selected": 0,
    "slices_missing": 0,
}


@pytest.mark.parametrize(
    ("counts", "lost_archives", "missing"),
    [
        ({}, 0, ()),
        ({"rows_not_selected": 7}, 0, ()),
        ({"rows_rejected": 2}, 0, ("2 rows of the CSV, rejected",)),
        ({"slices_rejected": 3}, 0, ("3 slices, rejected",)),
        ({"slices_missing": 1}, 0, ("1 slice that the CSV promises and no archive holds",)),
        ({"slices_missing": 1500}, 0, ("1,500 slices that the CSV promises and no archive holds",)),
        ({}, 1, ("1 archive that could not be read",)),
    ],
)
def test_the_verdict_lists_what_is_missing(
    counts: dict[str, int], lost_archives: int, missing: tuple[str, ...]
) -> None:
    found = verdict(COUNTS | counts, lost_archives)
    assert (found.is_complete, found.missing) == (not missing, missing)
    assert "20 lesions in 4 volumes" in found.sentence
    assert ("Not selected, or in no archive of the config: 7 rows" in found.sentence) == (
        "rows_not_selected" in counts
    )


def test_the_most_frequent_reject_comes_first() -> None:
    rows = [("slice", "b", "x"), ("row", "a", "first"), ("row", "a", "second")]
    found = reject_counts(pd.DataFrame(rows, columns=["kind", "reason", "found_in"]))
    assert found.to_numpy().tolist() == [["row", "a", 2, "first"], ["slice", "b", 1, "x"]]


ONE, OTHER = {"rows": 1, "sha256": "1"}, {"rows": 1, "sha256": "2"}
NOTHING: dict[str, Any] = {"annotations": {}, "archives": [], "tables": {}}


def version(**parts: Any) -> dict[str, Any]:
    return {"volumes": [], "counts": {"volumes": 0}, "config": {}, "code": {}} | NOTHING | parts


def test_changes_are_those_of_volumes_counts_config_and_code() -> None:
    def volumes(**digests: str) -> list[dict[str, str]]:
        return [{"volume_id": name, "sha256": digest} for name, digest in digests.items()]

    before = version(
        volumes=volumes(a="1", b="1", c="1"), config={"volume": {"spacing_mm": 1.0, "antialias": True}}
    )
    now = version(
        volumes=volumes(b="1", c="2", d="1", e="1"),
        counts={"volumes": 4},
        config={"volume": {"spacing_mm": 0.8, "antialias": True}, "report": True},
    )
    assert changes(before, now) == (
        ("volumes added", "", "2"),
        ("volumes removed", "", "1"),
        ("volumes with other voxels or encoding", "", "1"),
        ("counts: volumes", "0", "4"),
        ("config: volume.spacing_mm", "1", "0.8"),
        ("config: report", "none", "True"),
    )
    assert changes(now, now) == ()


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, {"models": [{"model_id": "m-1", "name": "m"}]}, [("models: m-1", "none", "m")]),
        ({"labels": [ONE | {"source": "s"}]}, {"labels": [OTHER | {"source": "s"}]}, "labels"),
        ({"labels": [ONE | {"source": "s"}]}, {}, "labels"),
        ({"tables": {"t": [ONE]}}, {"tables": {"t": [OTHER]}}, "tables"),
        (
            {"tables": {"t": []}, "added_tables": {"t": {"coverage": {"of": 1}, "recipe": {"model": "a"}}}},
            {"tables": {"t": []}, "added_tables": {"t": {"coverage": {"of": 2}, "recipe": {"model": "b"}}}},
            [("tables: t.coverage.of", "1", "2"), ("tables: t.recipe.model", "a", "b")],
        ),
    ],
)
def test_what_jobs_added_is_a_change_too(before: Any, now: Any, expected: Any) -> None:
    found = changes(version(**before), version(**now))
    if isinstance(expected, str):
        assert found
        assert {what.partition(":")[0] for what, _, _ in found} == {expected}
    else:
        assert list(found) == expected
    assert changes(version(**now), version(**now)) == ()


def test_a_first_version_has_no_changes_and_the_record_of_its_run(store: Store) -> None:
    found = summarise(store)
    assert (found.before, found.changes) == (None, None)
    records = dict(found.throughput.records)
    assert records["run_id"] == store.version["run_id"]
    assert records["volumes.planned"] == str(len(store.volumes()))
    assert found.throughput.pages == ()
    facts = dict(found.facts)
    assert facts["lesions"] == "6 of 21 rows of DL_info.csv"
    assert facts["store"] == store.objects.root


def test_a_version_before_that_was_removed_is_said(store: Store) -> None:
    later = replace(store, version=dict(store.version) | {"version": 9, "parent": 8})
    found = summarise(later)
    assert (found.before, found.changes) == (8, None)


def test_what_was_recorded_of_the_run_is_shown(store: Store, tmp_path: Any) -> None:
    objects = LocalObjects(str(tmp_path))
    for entry in store.version["tables"]["rejects"]:
        objects.write(entry["path"], store.objects.read(entry["path"]))
    run_id = store.version["run_id"]
    objects.write(f"runs/{run_id}.json", json.dumps({"stages": {"convert": {"seconds": 7.25}}}).encode())
    objects.write(f"runs/{run_id}.html", b"<html>")
    objects.write("runs/another.json", b"{}")
    found = summarise(replace(store, objects=objects)).throughput
    assert found.records == (("stages.convert.seconds", "7.25"),)
    assert found.pages == (f"runs/{run_id}.html",)


@pytest.mark.parametrize("record", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000], ids=range(6))
def test_a_damaged_record_of_the_run_is_none(store: Store, tmp_path: Any, record: bytes) -> None:
    objects = LocalObjects(str(tmp_path))
    for entry in store.version["tables"]["rejects"]:
        objects.write(entry["path"], store.objects.read(entry["path"]))
    objects.write(f"runs/{store.version['run_id']}.json", record)
    assert summarise(replace(store, objects=objects)).throughput.records == ()


def test_locations_are_told_with_how_many_are_exact_and_what_a_refit_leaves(store: Store) -> None:
    """Return a version of a whole release, with its own locations and one of two refits."""
    found = dict(store.version["locations"]) | {"compared": 6, "agreeing": 5, "exact": 4, "share": 5 / 6}
    line = {"slope": 0.9, "intercept": 0.01, "residual": 3e-4, "largest_residual": 9e-4}
    found["refit"] = {"x": line | {"constants_hold": False, "fitted": 4, "left_out": 2}, "y": None}
    facts = dict(summarise(replace(store, version=dict(store.version) | {"locations": found})).facts)
    assert "5 of 6" in facts["checked"]
    assert "within 0.002; 4 within 0.0001" in facts["checked"]
    assert "y" not in "".join(name for name in facts if name.startswith("refit"))
    for words in ("slope 0.900000", "residual 3.0e-04, 9.0e-04 at most", "2 lesions left out", "NOT"):
        assert words in facts["refit x"]
    old = {key: value for key, value in store.version.items() if key != "locations"}
    assert "checked" not in dict(summarise(replace(store, version=old)).facts)
