"""`select` and `source.complete` on a release with faults: every row and slice is accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from etl.core.errors import SourceError
from etl.pipeline.build import load_plan
from tests.support.workshop import Outcome, Workshop, zipped

V1, V2, V3, V4 = (
    "000001_01_01_103-115",
    "000002_01_01_020-032",
    "000002_01_01_034-045",
    "000002_02_01_008-019",
)


def counts(outcome: Outcome) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(built, rejected, not selected) of rows and of slices."""
    c = outcome.build.published.counts
    return (
        (c.lesions, c.rows_rejected, c.rows_not_selected),
        (c.slices, c.slices_rejected, c.slices_not_selected),
    )


@pytest.mark.parametrize(
    ("select", "volumes", "rows", "slices"),
    [
        ({}, [V1, V2, V3, V4], (6, 0, 0), (50, 0, 0)),
        ({"patients": [2]}, [V2, V3, V4], (3, 0, 3), (37, 0, 13)),
        ({"patients": [2, 77]}, [V2, V3, V4], (3, 0, 3), (37, 0, 13)),
        ({"series": ["000002_02_01"]}, [V4], (1, 0, 5), (12, 0, 38)),
        ({"patients": [1], "series": ["000001_01_01", "000002_02_01"]}, [V1], (3, 0, 3), (13, 0, 37)),
        ({"splits": ["test"]}, [V1], (3, 0, 3), (13, 0, 37)),
        ({"splits": ["train", "val"]}, [V2, V3, V4], (3, 0, 3), (37, 0, 13)),
        ({"limit": 1}, [V1], (3, 0, 3), (13, 0, 37)),
        ({"limit": 2}, [V1, V2], (4, 0, 2), (26, 0, 24)),
        ({"limit": 99}, [V1, V2, V3, V4], (6, 0, 0), (50, 0, 0)),
        ({"patients": [2], "limit": 1}, [V2], (1, 0, 5), (13, 0, 37)),
    ],
)
def test_what_is_selected_is_built_and_the_rest_is_counted(
    workshop: Workshop,
    select: dict[str, Any],
    volumes: list[str],
    rows: tuple[int, int, int],
    slices: tuple[int, int, int],
) -> None:
    outcome = workshop.build(**select)
    clean = workshop.clean.fingerprints
    assert outcome.fingerprints == {name: clean[name] for name in volumes}
    assert counts(outcome) == (rows, slices)
    assert outcome.build.converted == 0


@pytest.mark.parametrize(
    "select", [{"patients": [77]}, {"series": ["000001_01_02"]}, {"splits": ["val"]}, {"patients": []}]
)
def test_a_selection_of_nothing_stops(workshop: Workshop, select: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="nothing to build"):
        load_plan(workshop.config(**select))


def damaged(workshop: Workshop) -> None:
    """A fault of each sort in both patients."""
    slices = workshop.slices()
    slices["000001_01_01/112.png"] = b"oops"
    slices["000002_02_01/009.png"] = b"oops"
    slices["000001_01_01/notes.txt"] = b"x"
    del slices["000002_02_01/018.png"]
    conflict = {
        "000001_01_01/104.png": b"another",
        "000002_01_01/021.png": slices["000002_01_01/021.png"],
    }
    workshop.write_archives(zipped(slices), zipped(conflict), b"no zip")
    rows = workshop.rows
    rows[1]["Patient_gender"] = "X"
    rows[5]["Patient_age"] = "old"
    workshop.write_csv([*rows, rows[3]])


@pytest.mark.parametrize(
    ("select", "rows", "slices"),
    [
        ({}, (4, 3, 0), (46, 6, 0)),
        ({"patients": [1]}, (2, 1, 4), (11, 4, 37)),
        ({"patients": [2]}, (2, 2, 3), (35, 3, 14)),
        # The only row of 000002_02_01 is rejected, so nobody can say which split it is of.
        ({"splits": ["test"]}, (2, 2, 3), (11, 4, 37)),
        ({"splits": ["train"]}, (2, 2, 3), (25, 2, 25)),
        # 000001_01_01_103-103 is built: 104 is in conflict, and the key slices lie in the run behind it.
        ({"limit": 1}, (0, 1, 6), (1, 4, 47)),
    ],
)
def test_faults_of_what_is_not_selected_are_not_rejects(
    workshop: Workshop,
    select: dict[str, Any],
    rows: tuple[int, int, int],
    slices: tuple[int, int, int],
) -> None:
    damaged(workshop)
    outcome = workshop.build(**select)
    assert counts(outcome) == (rows, slices)
    assert (sum(rows), sum(slices)) == (7, 52)


def test_a_series_in_no_archive_is_not_selected(workshop: Workshop) -> None:
    workshop.write_archives(zipped(workshop.slices("000001", "000002_02_01")))
    outcome = workshop.build()
    assert outcome.rejects == []
    assert counts(outcome) == ((4, 0, 2), (25, 0, 0))


def test_a_series_in_no_archive_of_the_whole_release_is_rejected(workshop: Workshop) -> None:
    workshop.write_archives(zipped(workshop.slices("000001", "000002_02_01")))
    outcome = workshop.build(complete=True)
    assert outcome.rejects == [
        ("row", "series_missing", "DL_info.csv row 3: 000002_01_01_026.png"),
        ("row", "series_missing", "DL_info.csv row 4: 000002_01_01_039.png"),
    ]
    assert "source.complete" in outcome.message("series_missing")
    assert counts(outcome) == ((4, 2, 0), (25, 0, 0))


def test_a_series_that_select_leaves_out_need_not_be_there(workshop: Workshop) -> None:
    workshop.write_archives(zipped(workshop.slices("000001")))
    outcome = workshop.build(complete=True, patients=[1])
    assert outcome.rejects == []
    assert counts(outcome) == ((3, 0, 3), (13, 0, 0))
