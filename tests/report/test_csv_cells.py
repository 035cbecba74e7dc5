from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report.csv_cells import to_csv


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-a, b", "'-a, b"),
        ("@a", "'@a"),
        ("\t=1", "'\t=1"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        ("a=1", "a=1"),
        ("", ""),
        (-5, "-5"),
        (-0.5, "-0.5"),
        (None, ""),
    ],
)
def test_text_that_begins_as_a_formula_is_quoted(cell: object, shown: str) -> None:
    table = pd.DataFrame({"a": [cell, "x"], "b": [1, -2]})
    rows = list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))
    assert rows == [["a", "b"], [shown, "1"], ["x", "-2"]]


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs"))), min_size=1))
def test_no_cell_begins_as_a_formula(texts: list[str]) -> None:
    table = pd.DataFrame({"a": texts, "b": 1})
    for cell, _ in list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))[1:]:
        try:
            float(cell)
        except ValueError:
            assert not cell.startswith(("=", "+", "-", "@"))


def test_a_table_without_text_is_as_pandas_prints_it() -> None:
    table = pd.DataFrame({"a": [0.1, 2.5], "b": pd.array([1, None], "Int16")})
    assert to_csv(table) == table.to_csv(index=False, lineterminator="\n").encode()
