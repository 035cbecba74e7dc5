"""Key slices that show one lesion in two studies, from the tables of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.errors import ConfigError
from etl.imaging.body_view import BodyView
from etl.io.opening import open_objects
from etl.learn.store_series import NO_PAIRS, store_pairs, store_series
from etl.publish.add_tables import NewTable, add_tables
from etl.store import Store, open_store
from etl.tables.pairs import PAIRS
from etl.tables.sequences import SEQUENCES
from tests.support.three_volumes import built
from tests.support.tiny_release import csv_row

EARLY, LATE, SAME = "000001_01_01", "000001_02_01", "000001_01_02"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three lesions of one patient: two in the first study, one in the second."""
    rows = (csv_row(EARLY, 4, (3, 5)), csv_row(SAME, 1, (1, 2)), csv_row(LATE, 2, (1, 3)))
    return open_store(built(tmp_path, {EARLY: [3, 4, 5], SAME: [1, 2], LATE: [1, 2, 3]}, rows).store)


def with_table(store: Store, table: object, columns: dict[str, list[object]]) -> Store:
    new = NewTable(table, table.rows(columns), {0, 1, 2})  # type: ignore[arg-type,attr-defined]
    add_tables(open_objects(store.objects.root), store.version, [new])
    return open_store(store.objects.root)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patients are in two splits"):
        store_series(open_store(built(tmp_path).store), BodyView(8, 40.0))


def test_pairs_by_others(store: Store) -> None:
    assert store_pairs(store) == NO_PAIRS
    columns = {
        "source": ["dlt", "dlt"],
        "lesion_id_1": [0, 0],
        "lesion_id_2": [1, 2],
        "same_study": [True, False],
    }
    found = store_pairs(with_table(store, PAIRS, columns))  # type: ignore[arg-type]
    # Lesions 0 and 1 are of one study.
    assert found.places == (((f"{EARLY}_003-005", 1), (f"{LATE}_001-003", 1)),)
    assert found.source == "paired by others"


@pytest.mark.parametrize("is_empty_there", [False, True])
def test_pairs_of_a_matching(store: Store, is_empty_there: bool) -> None:
    if is_empty_there:  # as tags or boxes by others bring it
        store = with_table(store, PAIRS, {name: [] for name in PAIRS.rows_schema.names})
        assert store_pairs(store) == NO_PAIRS
    columns = {
        "lesion_id": [2, 0, 1],
        "sequence_id": ["000001_00000"] * 2 + ["000001_00001"],
        "patient_index": [1] * 3,
        "study_index": [2, 1, 1],
        "position": [1, 0, 0],
        "studies": [2, 2, 1],
        "confidence": [1.0] * 3,
        "age_falls": [False] * 3,
        "method": ["by hand"] * 3,
    }
    found = store_pairs(with_table(store, SEQUENCES, columns))  # type: ignore[arg-type]
    assert found.places == (((f"{EARLY}_003-005", 1), (f"{LATE}_001-003", 1)),)
    assert found.source == "matched by a method"
