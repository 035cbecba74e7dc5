from __future__ import annotations

import pytest

from etl.core.counted import counted, first_of


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 archives"), (1, "1 archive"), (2, "2 archives"), (1234, "1,234 archives")]
)
def test_a_count_has_its_noun(count: int, text: str) -> None:
    assert counted(count, "archive") == text


@pytest.mark.parametrize(("count", "text"), [(0, ""), (1, "0"), (3, "0; 1; 2"), (4, "0; 1; 2 ...")])
def test_a_long_list_is_cut_after_its_first_names(count: int, text: str) -> None:
    assert first_of(range(count), 3, "; ") == text
