"""The row that an entry joins, on tables small enough to check by eye, and masks that were moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.annotations.containers import read_place
from etl.annotations.entries import BoxEntry, Fault, FaultyEntry, MaskEntry, Missing, PairEntry, Reading
from etl.annotations.joined import JoinedBox, JoinedMask, JoinedPair, Unmatched
from etl.annotations.joins import iou, join_box, join_pair, unboxed_lesions
from etl.annotations.mask_joins import join_mask
from etl.annotations.printed_rows import PrintedRow, Rows
from etl.annotations.sources import GivenRows
from etl.annotations.uls23_masks import read_uls23_mask
from etl.release.names import SeriesKey

SERIES, LATER, OTHER = SeriesKey(1, 1, 1), SeriesKey(1, 2, 1), SeriesKey(2, 1, 1)


def row(lesion_id: int, series: SeriesKey, key: int, x: float, y: float, size: float = 20.0) -> PrintedRow:
    """A row of slices 1 to 30 whose printed box begins at (x, y)."""
    middle = x + size / 2 - 1, y + size / 2 - 1
    recist = ((x + 4, middle[1]), (x + size - 6, middle[1]), (middle[0], y + 4), (middle[0], y + size - 6))
    box = (x, y, x + size, y + size)
    return PrintedRow(
        lesion_id, series, key, (1, 30), box, recist, (0.5, 0.5, 2.0), (512, 512), "lung", "val"
    )


ROWS = Rows(
    [
        row(0, SERIES, 10, 100.25, 50.5),
        row(1, SERIES, 10, 110, 50.5),
        row(2, SERIES, 12, 300, 300),
        row(3, LATER, 5, 120, 60),
        row(4, OTHER, 7, 120, 60),
    ],
    {0: 70, 1: 71},
)


def box(
    x: float, y: float, key: int = 10, series: SeriesKey = SERIES, size: float = 20, **fields: object
) -> BoxEntry:
    """A box in 0-based pixels."""
    entry = BoxEntry("a box", series, (1, 30), (x, y, x + size, y + size), key, key)
    return replace(entry, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (box(99.25, 49.5), 0),
        (box(99.15, 49.6), 0),
        (box(109, 49.5), 1),
        (box(107, 49.5), 1),
        (box(99.25, 49.5, z_first=8, z_last=12), 0),
        (box(99.25, 49.5, volume=None), 0),
        (box(200, 200), Missing.NOT_LISTED),
        (box(99.25, 49.5, key=11), Missing.NOT_LISTED),
        (box(99.25, 49.5, series=SeriesKey(9, 1, 1)), Missing.NOT_IN_CSV),
        (box(99.25, 49.5, volume=(40, 60)), Missing.NOT_IN_CSV),
        (box(99.25, 49.5, volume=(1, 29)), Fault.VOLUME_DISAGREES),
        (box(600, 600), Fault.BOX_OUTSIDE_IMAGE),
        (box(99.5, 49.5, is_printed=True), Fault.BOX_DISAGREES),
        (box(99.25, 49.5, is_printed=True, row=70), 0),
        (box(99.25, 49.5, is_printed=True, row=71), Fault.ROW_DISAGREES),
        (replace(box(0, 0), box_px=(99.0, 49.0, 119.0, 69.0), truncated=True, is_printed=True), 0),
        (
            replace(box(0, 0), box_px=(98.0, 49.0, 119.0, 69.0), truncated=True, is_printed=True),
            Fault.BOX_DISAGREES,
        ),
    ],
)
def test_a_box_joins(entry: BoxEntry, expected: object) -> None:
    found = join_box(entry, ROWS)
    outcome = found.row.lesion_id if isinstance(found, JoinedBox) else found.reason
    assert outcome == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [({0: 70, 1: 71}, 1), ({1: 71}, 1), ({}, Fault.BOX_AMBIGUOUS), ({0: 70, 1: 72}, Fault.BOX_AMBIGUOUS)],
)
def test_a_number_tells_rows_of_one_box_apart(numbers: dict[int, int], expected: object) -> None:
    rows = Rows([row(0, SERIES, 10, 100.25, 50.5), row(1, SERIES, 10, 100.75, 50.25)], numbers)
    entry = box(0, 0, box_px=(99.0, 49.0, 119.0, 69.0), truncated=True, is_printed=True, row=71)
    found = join_box(entry, rows)
    assert (found.row.lesion_id if isinstance(found, JoinedBox) else found.reason) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (box(99.25, 49.5), box(119, 59, 5, LATER), (0, 3)),
        (box(99.25, 49.5, size=7), box(119, 59, 5, LATER), (0, 3)),
        (box(99.25, 49.5), box(299, 299, 12), (0, 2)),
        (box(99.25, 49.5), box(119, 58, 5, LATER), Fault.BOX_DISAGREES),
        (box(99.25, 49.5), box(119, 59, 7, OTHER), Fault.PAIR_OF_TWO_PATIENTS),
        (box(99.25, 49.5), box(99.25, 49.5), Fault.PAIR_OF_ITSELF),
        (box(99.25, 49.5), box(1, 1, 1, SeriesKey(1, 9, 1)), Missing.NOT_IN_CSV),
    ],
)
def test_a_pair_joins(first: BoxEntry, second: BoxEntry, expected: object) -> None:
    found = join_pair(PairEntry("a pair", first, second), ROWS)
    if isinstance(found, JoinedPair):
        assert (found.first.lesion_id, found.second.lesion_id) == expected
        assert found.is_same_study == (found.first.series.study == found.second.series.study)
    else:
        assert isinstance(found, (Unmatched, FaultyEntry))
        assert found.reason == expected


def test_in_a_series_that_lacks_rows_what_fits_none_is_not_given() -> None:
    part = replace(ROWS, partial=frozenset([SERIES]))
    printed = box(200, 200, is_printed=True)
    assert isinstance(join_box(printed, ROWS), FaultyEntry)
    assert join_box(box(200, 200), ROWS) == Unmatched("a box", Missing.NOT_LISTED, box(200, 200))
    for entry in (printed, box(200, 200), replace(printed, row=99)):
        assert join_box(entry, part) == Unmatched("a box", Missing.NOT_IN_CSV)
    assert isinstance(join_box(replace(printed, row=70), part), FaultyEntry), "row 70 is there"
    assert isinstance(join_box(box(99.25, 49.5), part), JoinedBox)
    pair = PairEntry("a pair", box(200, 200), box(119, 59, 5, LATER))
    assert isinstance(join_pair(pair, ROWS), FaultyEntry)
    assert join_pair(pair, part) == Unmatched("a pair", Missing.NOT_IN_CSV)


def test_lesions_without_a_box_are_counted() -> None:
    reading = Reading((box(99.25, 49.5),), volumes=((SERIES, (1, 30)), (LATER, (1, 30)), (OTHER, (40, 50))))
    assert unboxed_lesions(reading, ROWS) == {"printed_lesions": 4, "printed_lesions_without_box": 2}


boxes = st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(51, 100)] * 2)


@given(a=boxes, b=boxes)
def test_iou_is_a_share_of_both(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    share = iou(a, b)  # type: ignore[arg-type]
    assert 0 <= share <= 1 + 1e-12
    assert share == pytest.approx(iou(b, a))  # type: ignore[arg-type]
    assert iou(a, a) == pytest.approx(1)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def joined_masks(all_known: GivenRows, others: Path) -> list[MaskEntry]:
    """One in three of the masks that join a lesion."""
    members = [member for member in read_place(str(others / "uls23")) if ".nii" in member.name]
    entries = [read_uls23_mask(member.data, Path(member.name).name) for member in members[::3]]
    masks = [entry for entry in entries if isinstance(entry, MaskEntry)]
    return [mask for mask in masks if isinstance(join_mask(mask, all_known.rows), JoinedMask)]


def reasons(masks: list[MaskEntry], given: GivenRows, **fields: object) -> Counter[str]:
    found = [join_mask(replace(mask, **fields), given.rows) for mask in masks]  # type: ignore[arg-type]
    return Counter(item.reason if isinstance(item, FaultyEntry) else type(item).__name__ for item in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moved", "least"), [((10, 0), 0.9), ((0, 10), 0.9), ((-40, 0), 0.95), ((0, 204), 1.0)]
)
def test_moved_masks_are_rejected(
    joined_masks: list[MaskEntry], all_known: GivenRows, moved: tuple[int, int], least: float
) -> None:
    shifted = [
        replace(mask, start=(mask.start[0] + moved[0], mask.start[1] + moved[1], mask.start[2]))
        for mask in joined_masks
    ]
    found = reasons(shifted, all_known)
    assert found["JoinedMask"] <= (1 - least) * len(shifted)
    assert set(found) <= {"JoinedMask", Fault.MASK_OFF_LESION, Fault.MASK_OUTSIDE_IMAGE}


@pytest.mark.slow
def test_masks_read_without_the_flips_are_rejected(
    joined_masks: list[MaskEntry], all_known: GivenRows
) -> None:
    """The proof finds a wrong convention: most masks then leave out their key slice or lie elsewhere."""
    flipped = [
        replace(
            mask,
            start=(512 - mask.start[0] - mask.voxels.shape[0], *mask.start[1:]),
            voxels=mask.voxels[::-1],
        )
        for mask in joined_masks
    ]
    assert reasons(flipped, all_known)["JoinedMask"] < 0.1 * len(flipped)


@pytest.mark.slow
def test_masks_of_other_voxels_are_rejected(joined_masks: list[MaskEntry], all_known: GivenRows) -> None:
    found = reasons(joined_masks, all_known, spacing_mm=(0.123, 0.123, 1.0))
    assert found == {Fault.MASK_GRID_DISAGREES: len(joined_masks)}
