from __future__ import annotations

import pytest

from etl.core.counted import counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 archives"), (1, "1 archive"), (2, "2 archives"), (1234, "1,234 archives")]
)
def test_a_count_has_its_noun(count: int, text: str) -> None:
    assert counted(count, "archive") == text
