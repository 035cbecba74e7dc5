"""Official row numbers: never a wrong one, whatever somebody did to the order of the CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from etl.annotations.documents import RELEASE_ROWS
from etl.annotations.joined import JoinedTags
from etl.annotations.release_order import (
    ascends_as_the_release,
    make_release_order,
    number_rows,
    release_order,
    series_of_row,
    slices_crc32,
)
from etl.annotations.sources import GivenRows, join_source
from etl.core.config import More
from tests.annotations.conftest import given


def series_of(table: pd.DataFrame) -> pd.Series:
    return table.File_name.str.rsplit("_", n=1).str[0]


def shuffled_inside(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    series = pd.factorize(series_of(table))[0]
    return table.iloc[np.lexsort((np.random.default_rng(seed).random(len(table)), series))]


def wrong(found: GivenRows, table: pd.DataFrame) -> int:
    truth = table.row_index.astype(int).tolist()
    return sum(truth[lesion_id] != number for lesion_id, number in found.numbers.numbers.items())


@pytest.mark.slow
def test_the_shipped_facts_are_those_of_the_files(real_release: Path) -> None:
    shipped = Path(make_release_order.__code__.co_filename).with_name("release_order.csv.gz")
    assert shipped.read_bytes() == make_release_order(real_release)


def test_facts_cover_every_row_once() -> None:
    facts = list(release_order().values())
    assert len(facts) == 14_601
    assert sum(fact.row_count for fact in facts) == RELEASE_ROWS
    assert series_of_row(-1) is series_of_row(RELEASE_ROWS) is None
    assert str(series_of_row(0)) == "000001_01_01"
    assert str(series_of_row(2)) == "000001_02_01"


@pytest.mark.slow
def test_a_split_in_the_release_s_order_is_official(val: GivenRows, numbered: pd.DataFrame) -> None:
    table = numbered[numbered.Train_Val_Test == "2"]
    assert val.lesion_ids == "official"
    assert len(val.numbers.numbers) == len(table) == 4_889
    assert not val.numbers.is_whole
    assert wrong(val, table) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("how", ["inside series", "whole file", "one series", "by key slice"])
def test_a_csv_in_another_order_never_gets_a_wrong_number(
    numbered: pd.DataFrame, others: Path, how: str, seed: int
) -> None:
    table = numbered[numbered.Train_Val_Test == "2"]
    if how == "inside series":
        table = shuffled_inside(table, seed)
    elif how == "whole file":
        table = table.sample(frac=1, random_state=seed)
    elif how == "by key slice":
        table = table.assign(s=series_of(table), k=table.Key_slice_index.astype(int)).sort_values(["s", "k"])
        table = table.drop(columns=["s", "k"])
    else:
        rows = np.arange(len(table))
        at = next(
            n
            for n in range(100 * seed, len(table))
            if series_of(table).iloc[n] == series_of(table).iloc[n + 1]
        )
        rows[[at, at + 1]] = rows[[at + 1, at]]
        table = table.iloc[rows]
    found = given(table)
    assert found.lesion_ids == "other"
    assert wrong(found, table) == 0
    more = More(kind="lesanet_tags", file=str(others / "lesanet" / "text_mined_labels_171_and_split.json"))  # type: ignore[arg-type]
    official = table.row_index.astype(int).tolist()
    tags = [item for item in join_source("lesanet", more, found).joined if isinstance(item, JoinedTags)]
    assert all(official[item.row.lesion_id] == item.entry.row for item in tags)


@pytest.mark.slow
def test_rows_that_nothing_proves_have_no_number(real_release: Path) -> None:
    found = given(pd.read_csv(real_release / "DL_info_part.csv", dtype=str, keep_default_na=False))
    assert found.lesion_ids == "other"
    assert found.numbers.found_by["unknown"] == 532
    assert found.numbers.ascending_share == 1.0


@pytest.mark.slow
def test_another_release_s_csv_has_no_numbers(numbered: pd.DataFrame, others: Path) -> None:
    """Names alone prove nothing: rows of other slices under the release's names are unknown."""
    table = numbered.head(300).copy()
    moved = table.Key_slice_index.astype(int)
    table["Key_slice_index"] = (moved + 1).astype(str)
    table["File_name"] = [f"{s}_{k:03d}.png" for s, k in zip(series_of(table), moved + 1, strict=True)]
    table["Slice_range"] = "1, 1500"
    found = given(table)
    assert found.numbers.numbers == {}
    more = More(kind="lesanet_tags", file=str(others / "lesanet" / "text_mined_labels_171_and_split.json"))  # type: ignore[arg-type]
    refused = join_source("lesanet", more, found)
    assert "in another order" in refused.problem
    assert not refused.joined
    assert refused.entries == 24_121


def as_other_rows(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the rows' own checksums unknown, as those of most of train and of test are."""
    import etl.annotations.release_order as module

    facts = {
        series: module.SeriesFacts(fact.first_row, fact.row_count, fact.slices_crc32, ())
        for series, fact in release_order().items()
    }
    monkeypatch.setattr(module, "release_order", lambda: facts)


@pytest.mark.slow
def test_without_checksums_the_order_is_believed_where_all_speaks_for_it(
    numbered: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_other_rows(numbered, monkeypatch)
    table = numbered[numbered.Train_Val_Test == "2"]
    found = given(table)
    assert found.lesion_ids == "official"
    assert found.numbers.found_by["file_order"] > 3_000
    assert wrong(found, table) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_without_checksums_shuffled_series_of_several_rows_have_no_numbers(
    numbered: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    as_other_rows(numbered, monkeypatch)
    val = numbered[numbered.Train_Val_Test == "2"]
    ordered = val.assign(s=series_of(val), k=val.Key_slice_index.astype(int)).sort_values(["s", "k"])
    for table in (
        shuffled_inside(val, seed),
        val.sample(frac=1, random_state=seed),
        ordered.drop(columns=["s", "k"]),
    ):
        found = given(table)
        assert found.lesion_ids == "other"
        assert found.numbers.found_by["file_order"] == 0
        assert wrong(found, table) == 0


@pytest.mark.slow
def test_part_of_a_series_gets_numbers_by_checksum_only(numbered: pd.DataFrame) -> None:
    table = numbered.iloc[::2]
    found = given(table)
    assert found.lesion_ids == "official"
    assert found.numbers.found_by == {
        "row_checksum": len(table),
        "only_row_of_series": 0,
        "file_order": 0,
        "unknown": 0,
    }
    assert wrong(found, table) == 0


def test_the_official_file_is_known_by_its_sha256() -> None:
    from etl.release.sources import ANNOTATIONS_SHA256

    found = number_rows((), RELEASE_ROWS, ANNOTATIONS_SHA256)
    assert found.is_official
    assert found.is_whole
    assert found.numbers[32_734] == 32_734


def test_slices_count_in_any_order() -> None:
    assert slices_crc32([3, 1, 3]) == slices_crc32([3, 3, 1]) != slices_crc32([3, 1])


@pytest.mark.parametrize(
    ("share", "count", "is_order"),
    [
        (0.642, 17_000, True),
        (0.62, 17_000, True),
        (0.665, 17_000, True),
        (0.58, 17_000, False),
        (0.70, 17_000, False),
        (0.70, 2_000, False),
        (0.5, 100, False),
        (1.0, 10, False),
        (1.0, 2_000, False),
    ],
)
def test_the_share_that_ascends_is_known_as_well_as_it_was_measured(
    share: float, count: int, is_order: bool
) -> None:
    """The share was measured on 2,763 neighbours, so that of all 17,000 may well differ by 2 %."""
    assert ascends_as_the_release(share, count) is is_order
