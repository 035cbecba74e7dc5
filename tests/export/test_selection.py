from __future__ import annotations

import pytest

from etl.core.errors import ConfigError
from etl.export.protocol import TYPES, UNLABELLED, Selection
from etl.export.selection import lesion_types, select
from etl.store.reader import Store


def test_everything_keeps_volumes_without_lesions(demo_store: Store) -> None:
    selected = select(demo_store, Selection())
    assert len(selected.lesions) == 21
    assert selected.volumes["volume_id"].tolist() == demo_store.volumes()["volume_id"].tolist()


@pytest.mark.parametrize(
    ("selection", "lesion_ids"),
    [
        (Selection(splits=("train",)), [3, 4, 5, 11, 12, 13, 14]),
        (Selection(types=(UNLABELLED,)), [3, 4, 5, 11, 12, 13, 14]),
        (Selection(types=("liver",)), [18]),
        (Selection(types=("liver", "lung")), [0, 2, 15, 18]),
        (Selection(splits=("test",), types=("liver", "lung")), [0, 2, 18]),
        (Selection(patients=(1, 2)), [0, 1, 2, 3, 4, 5]),
        (Selection(series=("000002_02_01",)), [5]),
        (Selection(patients=(2,), series=("000002_02_01",)), [5]),
    ],
)
def test_lesions_meet_all_that_is_asked(
    demo_store: Store, selection: Selection, lesion_ids: list[int]
) -> None:
    selected = select(demo_store, selection)
    assert selected.lesions["lesion_id"].tolist() == lesion_ids
    assert set(selected.volumes["volume_id"]) == set(selected.lesions["volume_id"])


def test_every_lesion_has_a_type_that_can_be_asked_for(demo_store: Store) -> None:
    assert set(lesion_types(demo_store.lesions())) <= set(TYPES)


def test_asked_is_the_same_in_any_order() -> None:
    assert (
        Selection(patients=(2, 1, 2)).criteria()
        == Selection(patients=(1, 2)).criteria()
        == {"patients": [1, 2]}
    )
    assert Selection().criteria() == {}


@pytest.mark.parametrize(
    ("selection", "parts"),
    [
        (Selection(patients=(1, 99)), ("no such patient", "99", "one of 8", "1, 2, 3")),
        (Selection(series=("000009_01_01",)), ("no such series", "one of 11", "000001_01_01")),
        (Selection(series=("9",)), ("no such series", "PPPPPP_SS_RR")),
        (Selection(splits=("train",), types=("liver",)), ("no lesion matches", "train: unlabelled 7")),
    ],
)
def test_a_selection_of_nothing_says_what_is_there(
    demo_store: Store, selection: Selection, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        select(demo_store, selection)
    for part in (*parts, "version 1"):
        assert part in str(caught.value)
