from __future__ import annotations

import pandas as pd
import pytest

from etl.derive.growth import GROWTH_COLUMNS, growth


def table(*entries: tuple[int, str, int, int, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """sequences and lesions of (lesion_id, sequence, study, studies, long diameter)."""
    rows = pd.DataFrame(
        entries, columns=["lesion_id", "sequence_id", "study_index", "studies", "long_diameter_mm"]
    )
    rows["position"] = rows.groupby("sequence_id")["study_index"].rank("dense").astype(int) - 1
    rows["short_diameter_mm"] = rows["long_diameter_mm"] / 2
    rows = rows.assign(patient_index=1, confidence=0.9, age_falls=False)
    return rows.drop(columns=["long_diameter_mm", "short_diameter_mm"]), rows


def test_change_exactly() -> None:
    sequences, lesions = table(
        (0, "a", 1, 4, 20.0),
        (1, "a", 2, 4, 13.0),
        (2, "a", 3, 4, 16.0),
        (3, "a", 4, 4, 19.0),
        (4, "a", 4, 4, 18.0),  # the second series of study 4
        (5, "b", 1, 1, 50.0),
    )
    found = growth(sequences, lesions)
    assert tuple(found) == GROWTH_COLUMNS
    assert found["sequence_id"].tolist() == ["a"] * 4
    assert found["long_diameter_mm"].tolist() == [20, 13, 16, 19]
    assert found["lesions"].tolist() == [1, 1, 1, 2]
    assert found["change_from_first_percent"].tolist()[1:] == pytest.approx([-35, -20, -5])
    assert found["change_from_smallest_percent"].tolist()[1:] == pytest.approx([-35, 300 / 13, 600 / 13])
    assert found["change_from_smallest_mm"].tolist()[1:] == [-7, 3, 6]
    # In study 3 the increase is over 20 % and under 5 mm.
    assert found["over_progression_threshold"].tolist() == [False, False, False, True]
    assert found["over_response_threshold"].tolist() == [False, True, False, False]
    assert found.loc[0, ["change_from_first_percent", "change_from_smallest_mm"]].isna().all()


@pytest.mark.parametrize(
    ("sizes", "progression", "response"),
    [
        ((25.0, 30.0), True, False),
        ((25.0, 29.99), False, False),
        ((10.0, 7.0), False, True),
        ((10.0, 7.01), False, False),
    ],
)
def test_thresholds_are_at_least(sizes: tuple[float, float], progression: bool, response: bool) -> None:
    found = growth(*table((0, "a", 1, 2, sizes[0]), (1, "a", 3, 2, sizes[1])))
    assert found["over_progression_threshold"].tolist() == [False, progression]
    assert found["over_response_threshold"].tolist() == [False, response]


def test_sequences_of_one_study_give_no_rows() -> None:
    assert growth(*table((0, "a", 1, 1, 20.0))).empty


@pytest.mark.parametrize(
    ("missing", "of_first", "of_smallest"),
    [
        (0, [None] * 3, [None] * 3),
        (1, [None, -20, -5], [None] * 3),
        (2, [None, -35, -5], [None, -35, None]),
        (3, [None, -35, -20], [None, -35, 300 / 13]),
    ],
)
def test_a_change_is_null_where_a_study_that_it_needs_is_missing(
    missing: int, of_first: list[float | None], of_smallest: list[float | None]
) -> None:
    """A build that changed a lesion does not carry its row on."""
    sizes = [20.0, 13.0, 16.0, 19.0]
    sequences, lesions = table(*((at, "a", at + 1, 4, size) for at, size in enumerate(sizes)))
    found = growth(sequences[sequences["lesion_id"] != missing], lesions)
    for name, expected in (
        ("change_from_first_percent", of_first),
        ("change_from_smallest_percent", of_smallest),
    ):
        assert [None if pd.isna(value) else value for value in found[name]] == pytest.approx(expected)
    assert (found["over_response_threshold"] == [value == -35 for value in of_first]).all()
