from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config import Config
from etl.core.rejects import Kind, Reason
from etl.plan.plan import Plan, make_plan
from etl.release.index import SliceIndex
from etl.release.names import SeriesKey
from tests.support.tiny_release import Present, csv_row, parse_rows, slice_index, tiny_plan

FIRST, SECOND = "000001_01_01", "000001_01_02"
KEY = SeriesKey(1, 1, 1)
BASE: dict[str, Any] = {"source": {"annotations": "a", "images": "b"}, "store": "s"}


def config(**sections: Any) -> Config:
    return Config.model_validate(BASE | sections)


def ids(built: Plan) -> list[str]:
    return [volume.volume_id for volume in built.volumes]


# Runs


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({FIRST: range(3, 8)}, [f"{FIRST}_003-007"]),
        ({FIRST: [3]}, [f"{FIRST}_003-003"]),
        ({FIRST: [3, 4, 6, 7, 9]}, [f"{FIRST}_003-004", f"{FIRST}_006-007", f"{FIRST}_009-009"]),
        ({FIRST: [998, 999, 1000, 1001]}, [f"{FIRST}_998-1001"]),
        # the numbers go on, the series does not
        ({FIRST: [3, 4], SECOND: [5, 6]}, [f"{FIRST}_003-004", f"{SECOND}_005-006"]),
        ({FIRST: [3], "000001_02_01": [4], "000002_02_01": [5]}, None),
        # the store's order is by number: patient, study, series, first slice
        ({"000010_01_01": [3], "000002_10_01": [3], "000002_02_11": [3], "000002_02_02": [3]}, None),
    ],
)
def test_volumes_are_the_maximal_runs_in_order(present: Present, expected: list[str] | None) -> None:
    rows = [csv_row(series, 5, (1, 1100)) for series in present]
    if expected is None:
        expected = sorted(f"{series}_{n:03d}-{n:03d}" for series, indices in present.items() for n in indices)
    assert ids(tiny_plan(present, *rows)) == expected


def test_shapes_spacings_and_bytes_of_an_anisotropic_run() -> None:
    row = csv_row(FIRST, 4, (3, 7), Spacing_mm_px_="0.5, 0.8, 2.5", Image_size="16, 20")
    (volume,) = tiny_plan({FIRST: range(3, 8)}, row).volumes
    assert (volume.series, volume.first, volume.last) == (KEY, 3, 7)
    assert volume.source_shape == (5, 16, 20)
    assert volume.source_spacing_mm == (2.5, 0.8, 0.5)
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    # floor(4 x 2.5) + 1, floor(15 x 0.8) + 1, floor(19 x 0.5) + 1
    assert volume.shape == (11, 13, 10)
    assert volume.output_bytes == 11 * 13 * 10 * 2
    assert volume.source_bytes == sum(500 + index for index in range(3, 8))


def test_native_spacing_keeps_the_source_grid() -> None:
    built = tiny_plan({FIRST: range(3, 8)}, csv_row(FIRST, 4, (3, 7)), volume={"spacing_mm": "native"})
    assert built.volumes[0].spacing_mm == (2.0, 0.5, 0.5)
    assert built.volumes[0].shape == built.volumes[0].source_shape == (5, 16, 16)


def test_each_axis_has_its_own_spacing() -> None:
    row = csv_row(FIRST, 4, (3, 7))
    made = {
        key: tiny_plan({FIRST: range(3, 8)}, row, volume={"spacing_mm": value}).volumes[0]
        for key, value in {"each": [1, 0.8, "native"], "three": [1, 1, 1], "one": 1.0}.items()
    }
    assert made["each"].spacing_mm == (1.0, 0.8, 0.5)
    # floor(4 x 2 / 1) + 1, floor(15 x 0.5 / 0.8) + 1
    assert made["each"].shape == (9, 10, 16)
    assert made["three"].fingerprint == made["one"].fingerprint != made["each"].fingerprint


def test_a_run_that_no_row_describes_is_rejected() -> None:
    built = tiny_plan({FIRST: [3, 4, 20, 21], SECOND: [3]}, csv_row(FIRST, 4, (3, 4)))
    assert ids(built) == [f"{FIRST}_003-004"]
    assert {(r.series_id, r.slice_index, r.reason) for r in built.rejects} == {
        (FIRST, 20, Reason.SLICE_NOT_ANNOTATED),
        (FIRST, 21, Reason.SLICE_NOT_ANNOTATED),
        (SECOND, 3, Reason.SLICE_NOT_ANNOTATED),
    }


def test_a_gap_is_a_reject_for_each_slice_and_both_sides_are_built() -> None:
    built = tiny_plan({FIRST: [3, 4, 7, 8]}, csv_row(FIRST, 4, (2, 9)))
    assert ids(built) == [f"{FIRST}_003-004", f"{FIRST}_007-008"]
    assert [(r.reason, r.slice_index) for r in built.rejects] == [
        (Reason.SLICE_MISSING, index) for index in (2, 5, 6, 9)
    ]


# Properties

MASKS = st.dictionaries(
    st.sampled_from([FIRST, SECOND, "000001_02_01", "000002_01_01"]),
    st.lists(st.booleans(), min_size=1, max_size=24).map(
        lambda mask: [index for index, there in enumerate(mask, start=990) if there]
    ),
    min_size=1,
)


def present_index(masks: dict[str, list[int]]) -> SliceIndex:
    return slice_index({series: indices for series, indices in masks.items() if indices})


@given(MASKS)
def test_runs_partition_the_slices(masks: dict[str, list[int]]) -> None:
    index = present_index(masks)
    rows = [csv_row(series, 1000, (990, 1013)) for series in masks]
    built = make_plan(parse_rows(*rows), index, config())
    slices: Sequence[np.ndarray] = [volume.slices for volume in built.volumes]
    assert np.array_equal(np.concatenate([index.slices[:0], *slices]), index.slices)
    ends = {(v.series, v.last) for v in built.volumes}
    for volume in built.volumes:
        assert np.array_equal(volume.slices["index"], np.arange(volume.first, volume.last + 1))
        assert (volume.series, volume.first - 1) not in ends
    missing = {(r.series_id, r.slice_index) for r in built.rejects}
    promised = {(series, n) for series, there in masks.items() if there for n in range(990, 1014)}
    there = {(series, n) for series, indices in masks.items() for n in indices}
    assert missing == promised - there


@given(
    MASKS,
    st.lists(
        st.tuples(st.sampled_from([FIRST, SECOND, "000002_01_01"]), st.integers(990, 1013)),
        min_size=1,
        max_size=6,
    ),
    st.none() | st.integers(1, 4),
    st.none() | st.just((1,)) | st.just((2, 3)),
    st.none() | st.just(("val",)) | st.just(("train", "test")),
    st.booleans(),
)
def test_every_row_and_slice_is_built_rejected_or_not_selected(
    masks: dict[str, list[int]],
    lesions: list[tuple[str, int]],
    limit: int | None,
    patients: tuple[int, ...] | None,
    splits: tuple[str, ...] | None,
    complete: bool,
) -> None:
    rows = [
        csv_row(series, key, (max(990, key - 5), key + 2), Patient_age=str(20 + number))
        for number, (series, key) in enumerate(lesions)
    ]
    index = present_index(masks)
    built = make_plan(
        parse_rows(*rows),
        index,
        config(
            select={"limit": limit, "patients": patients, "splits": splits},
            source=BASE["source"] | {"complete": complete},
        ),
    )
    assert limit is None or len(built.volumes) <= limit
    rejected = [r for r in built.rejects if r.kind is Kind.SLICE and r.reason is not Reason.SLICE_MISSING]
    assert built.slice_count + len(rejected) + built.slices_not_selected == index.found_count
    rejected_rows = [r for r in built.rejects if r.kind is Kind.ROW]
    assert len(built.selected_lesion_ids) + len(rejected_rows) + built.rows_not_selected == len(rows)
    assert len({r.lesion_id for r in rejected_rows} | set(built.selected_lesion_ids.tolist())) == len(
        rejected_rows
    ) + len(built.selected_lesion_ids)
    missing = [(r.series_id, r.slice_index) for r in built.rejects if r.reason is Reason.SLICE_MISSING]
    assert len(set(missing)) == len(missing)
    assert not {(series, n) for series, there in masks.items() for n in there} & set(missing)
