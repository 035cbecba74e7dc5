from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import EtlError
from etl.plan.plan import Plan
from etl.publish.assemble import Counts, make_tables
from etl.tables.registry import BUILD_TABLES
from tests.support.tiny_release import (
    Present,
    build_serial,
    csv_row,
    made_up_conversion,
    tiny_config,
    tiny_plan,
    write_release,
)

SERIES = "000001_01_01"


def plan(present: Present, *rows: Mapping[str, str]) -> Plan:
    return tiny_plan(present, *rows, volume={"spacing_mm": 2.0})


def test_a_lost_volume_is_refused() -> None:
    made = plan({SERIES: [3, 4, 6, 7]}, csv_row(SERIES, 6, (3, 7)))
    with pytest.raises(EtlError, match="slices built, rejected and not selected don't add up"):
        make_tables(made, [made_up_conversion(made.volumes[0])])


def test_a_volume_built_twice_is_refused() -> None:
    made = plan({SERIES: [3, 4, 6]}, csv_row(SERIES, 4, (3, 6)))
    first, second = map(made_up_conversion, made.volumes)
    with pytest.raises(EtlError, match="don't add up"):
        make_tables(made, [first, second, second])


COUNTS = Counts(
    volumes=2,
    patients=1,
    lesions=3,
    rows_rejected=2,
    rows_not_selected=1,
    rows_found=6,
    slices=10,
    slices_rejected=4,
    slices_not_selected=3,
    slices_found=17,
    slices_missing=99,
    rejects_by_reason={},
)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lesions": 2}, "2 + 2 + 1 != 6"),
        ({"rows_rejected": 3}, "3 + 3 + 1 != 6"),
        ({"rows_not_selected": 0}, "3 + 2 + 0 != 6"),
        ({"slices": 9}, "9 + 4 + 3 != 17"),
        ({"slices_rejected": 5}, "10 + 5 + 3 != 17"),
        ({"slices_not_selected": 2}, "10 + 4 + 2 != 17"),
    ],
    ids=str,
)
def test_counts_that_do_not_add_up_are_refused(changed: dict[str, Any], message: str) -> None:
    COUNTS.check()
    with pytest.raises(EtlError) as caught:
        replace(COUNTS, **changed).check()
    assert message in str(caught.value)


def test_the_tables_do_not_depend_on_the_order_of_conversions() -> None:
    present = {SERIES: [3, 4, 6], "000002_01_01": [1, 2], "000003_01_01": [9]}
    made = plan(present, *(csv_row(series, there[0], (1, 9)) for series, there in present.items()))
    conversions = [made_up_conversion(volume) for volume in made.volumes]
    forward, backward = make_tables(made, conversions), make_tables(made, conversions[::-1])
    assert forward.counts == backward.counts
    assert all(forward.tables[name].equals(backward.tables[name]) for name in BUILD_TABLES)


def test_real_slices_count_as_listed(tmp_path: Path, real_release: Path) -> None:
    config = tiny_config(
        tmp_path,
        tmp_path / "store",
        source={
            "annotations": str(real_release / "DL_info_images.csv"),
            "images": str(real_release / "Images_png"),
            "archives": None,
        },
        select={"series": ("000001_01_01",)},
        volume={"spacing_mm": 4.0},
    )
    counts = build_serial(config).published.counts
    assert (counts.volumes, counts.slices, counts.slices_found) == (1, 13, 39)
    assert counts.slices_not_selected == 26
    assert counts.lesions + counts.rows_not_selected == counts.rows_found


def test_a_small_release_counts_as_written(tmp_path: Path) -> None:
    write_release(tmp_path, {SERIES: [3, 4, 5]}, [csv_row(SERIES, 4, (3, 5))])
    counts = build_serial(tiny_config(tmp_path, tmp_path / "store")).published.counts
    assert (counts.volumes, counts.patients, counts.lesions, counts.slices) == (1, 1, 1, 3)
    assert counts.rejects_by_reason == {}
