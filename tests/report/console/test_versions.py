"""Texts of a prune, with one and with several of each kind."""

from __future__ import annotations

import pytest

from etl.report.console.versions import pruning_text
from etl.store.prune import OWN_NAMES, Pruning, Unit


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (
            1,
            """removed 70 B:
  1 version: 1
  1 volume that no version names (1 object, 10 B)
  1 group of labels that no version names (1 object, 10 B)
  1 model that no version names (1 object, 10 B)
  1 folder of tables of runs (1 object, 10 B)
  1 report (1 object, 10 B)
  1 record of runs that no version names (1 object, 10 B)
  1 leftover of interrupted writes (1 object, 10 B)
kept: version 9 with all that it names
  and 1 that no version names but that is younger than 1 day""",
        ),
        (
            2,
            """removed 280 B:
  2 versions: 1, 2
  2 volumes that no version names (4 objects, 40 B)
  2 groups of labels that no version names (4 objects, 40 B)
  2 models that no version names (4 objects, 40 B)
  2 folders of tables of runs (4 objects, 40 B)
  2 reports (4 objects, 40 B)
  2 records of runs that no version names (4 objects, 40 B)
  2 leftovers of interrupted writes (4 objects, 40 B)
kept: versions 8 to 9 with all that they name
  and 2 that no version names but that are younger than 2 days""",
        ),
    ],
)
def test_a_prune_counts_what_it_removes(count: int, expected: str) -> None:
    units = {
        folder: tuple(
            Unit(f"{folder}/{at}", {f"{folder}/{at}/{n}": 10 for n in range(count)}) for at in range(count)
        )
        for folder in OWN_NAMES
    }
    versions = tuple(range(1, count + 1))
    found = Pruning((8, 9)[2 - count :], versions, {}, units, count)
    assert pruning_text(found, count, dry_run=False) == expected
