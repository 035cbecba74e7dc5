from __future__ import annotations

from typing import Any

import pytest

from etl.core.config import Config
from etl.core.rejects import Kind, Reason
from etl.plan.plan import Plan, make_plan
from tests.support.tiny_release import csv_row, parse_rows, slice_index

TRAIN, VAL, ABSENT = "000001_01_01", "000002_01_01", "000003_01_01"
PRESENT = {TRAIN: [1, 2, 3, 11, 12], VAL: [1, 2, 3, 4]}
ROWS = (
    csv_row(TRAIN, 2, (1, 3), Train_Val_Test="1", Coarse_lesion_type="-1"),
    csv_row(TRAIN, 12, (11, 12), Train_Val_Test="1", Coarse_lesion_type="-1"),
    csv_row(VAL, 2, (1, 4)),
    csv_row(VAL, 3, (1, 4)),
    csv_row(VAL, 3, (1, 4), Patient_gender="X"),
    csv_row(ABSENT, 2, (1, 3)),
)


def plan(*, complete: bool = False, partial: bool = False, **select: Any) -> Plan:
    source = {"annotations": "a", "images": "b", "complete": complete, "partial": partial}
    config = Config.model_validate({"store": "s", "source": source, "select": select})
    return make_plan(parse_rows(*ROWS), slice_index(PRESENT), config)


@pytest.mark.parametrize(
    ("select", "volumes", "lesions", "rows_rejected", "rows_not_selected", "slices_not_selected"),
    [
        ({}, ["1-3", "11-12", "1-4"], [0, 1, 2, 3], [4], 1, 0),
        ({"patients": (1,)}, ["1-3", "11-12"], [0, 1], [], 4, 4),
        ({"patients": (2, 7)}, ["1-4"], [2, 3], [4], 3, 5),
        ({"patients": ()}, [], [], [], 6, 9),
        ({"series": (VAL,)}, ["1-4"], [2, 3], [4], 3, 5),
        ({"splits": ("val",)}, ["1-4"], [2, 3], [4], 3, 5),
        ({"splits": ("train",)}, ["1-3", "11-12"], [0, 1], [], 4, 4),
        ({"splits": ("train", "val")}, ["1-3", "11-12", "1-4"], [0, 1, 2, 3], [4], 1, 0),
        ({"splits": ("test",)}, [], [], [], 6, 9),
        ({"patients": (1,), "splits": ("val",)}, [], [], [], 6, 9),
        ({"limit": 1}, ["1-3"], [0], [], 5, 6),
        ({"limit": 2}, ["1-3", "11-12"], [0, 1], [], 4, 4),
        ({"limit": 9}, ["1-3", "11-12", "1-4"], [0, 1, 2, 3], [4], 1, 0),
        ({"limit": 1, "patients": (2,)}, ["1-4"], [2, 3], [4], 3, 5),
    ],
    ids=str,
)
def test_what_select_takes(
    select: dict[str, Any],
    volumes: list[str],
    lesions: list[int],
    rows_rejected: list[int],
    rows_not_selected: int,
    slices_not_selected: int,
) -> None:
    built = plan(**select)
    assert [f"{volume.first}-{volume.last}" for volume in built.volumes] == volumes
    assert built.selected_lesion_ids.tolist() == lesions
    assert built.slices_not_selected == slices_not_selected
    assert [r.lesion_id for r in built.rejects if r.kind is Kind.ROW] == rows_rejected
    assert built.rows_not_selected == rows_not_selected


def test_an_absent_series_is_not_selected_unless_the_release_is_said_to_be_complete() -> None:
    assert Reason.SERIES_MISSING not in {reject.reason for reject in plan().rejects}
    built = plan(complete=True)
    (missing,) = (reject for reject in built.rejects if reject.reason is Reason.SERIES_MISSING)
    assert (missing.kind, missing.lesion_id, missing.series_id) == (Kind.ROW, 5, ABSENT)
    assert missing.found_in == f"DL_info.csv row 5: {ABSENT}_002.png"
    assert built.rows_not_selected == 0
    assert plan(complete=True, patients=(1, 2)).rows_not_selected == 1


def test_a_limit_does_not_reject_a_row_whose_key_slice_it_left_out() -> None:
    rows = (csv_row(VAL, 2, (1, 9)), csv_row(VAL, 8, (1, 9)))
    config = Config.model_validate(
        {"store": "s", "source": {"annotations": "a", "images": "b"}, "select": {"limit": 1}}
    )
    built = make_plan(parse_rows(*rows), slice_index({VAL: [1, 2, 3, 7, 8, 9]}), config)
    assert [volume.last for volume in built.volumes] == [3]
    assert built.selected_lesion_ids.tolist() == [0]
    assert built.rows_not_selected == 1
    assert [r.slice_index for r in built.rejects] == [4, 5, 6]


def test_of_a_part_nothing_that_is_elsewhere_is_rejected() -> None:
    """A copy of key slices alone: slice 2 of VAL. Of the other slices and rows nothing is missing."""
    source = {"annotations": "a", "images": "b", "partial": True}
    config = Config.model_validate({"store": "s", "source": source})
    built = make_plan(parse_rows(*ROWS), slice_index({VAL: [2]}), config)
    assert [(volume.first, volume.last, volume.shape[0]) for volume in built.volumes] == [(2, 2, 1)]
    assert built.selected_lesion_ids.tolist() == [2]
    # A row that can't be read is a reject still; so is every promised slice where `partial` is not said.
    assert [(r.reason, r.lesion_id) for r in built.rejects] == [(Reason.UNKNOWN_SEX, 4)]
    assert built.rows_not_selected == 4
    whole = plan(partial=True)
    assert whole.selected_lesion_ids.tolist() == plan().selected_lesion_ids.tolist()
    without = config.model_copy(update={"source": config.source.model_copy(update={"partial": False})})
    missing = make_plan(parse_rows(*ROWS), slice_index({VAL: [2]}), without).rejects
    assert {Reason.SLICE_MISSING} < {r.reason for r in missing}


def test_the_whole_release_is_no_part_of_it() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        plan(complete=True, partial=True)
