"""Entries of rows that a CSV or a store lacks, as a part of the release does: not given, and no faults."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from etl.annotations.entries import Missing
from etl.annotations.joined import JoinedBox, rows_of
from etl.annotations.sources import GivenRows, join_source, stored_rows
from etl.core.config import More
from etl.release.annotations import parse_annotations
from tests.annotations.conftest import csv_bytes, given

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def half(numbered: pd.DataFrame) -> GivenRows:
    """Every other row of val: most series lack rows."""
    return given(numbered[numbered.Train_Val_Test == "2"].iloc[::2])


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("aim_rows", "aim/task1_train.csv"),
        ("dlt_pairs", "dlt/valid.json"),
        ("harvester_boxes", "harvester/RECIST-Box-Valid.pkl"),
        ("coco_boxes", "mvp_net/deeplesion_val.json"),
        ("lesanet_tags", "lesanet/text_mined_labels_171_and_split.json"),
    ],
)
def test_entries_of_rows_that_are_not_given_are_neither_faults_nor_new_lesions(
    half: GivenRows, val: GivenRows, others: Path, kind: str, file: str
) -> None:
    more = More.model_validate({"kind": kind, "file": str(others / file)})
    found, whole = join_source("source", more, half), join_source("source", more, val)
    assert not found.rejects
    assert {item.reason for item in found.unmatched} == {Missing.NOT_IN_CSV}
    expected = sum(all(row.lesion_id % 2 == 0 for row in rows_of(item)) for item in whole.joined)
    overlaps = [item for item in found.joined if isinstance(item, JoinedBox) and item.iou < 0.6]
    assert len(found.joined) - len(overlaps) == expected
    assert len(overlaps) <= 1, "a box whose row is not given overlaps another lesion of its slice"


def test_a_store_of_part_of_the_rows_calls_the_others_not_given(
    val: GivenRows, numbered: pd.DataFrame, others: Path
) -> None:
    """A store of some archives, of key slices or of a `select` has such rows."""
    lesions = parse_annotations(csv_bytes(numbered[numbered.Train_Val_Test == "2"]), "DL_info.csv").lesions
    few = stored_rows(val, lesions[lesions.lesion_id % 3 > 0])
    more = More.model_validate(
        {"kind": "harvester_boxes", "file": str(others / "harvester/RECIST-Box-Valid.pkl")}
    )
    found = join_source("source", more, few)
    assert {item.reason for item in found.unmatched} == {Missing.NOT_IN_CSV}
    assert not found.rejects
    assert all(isinstance(item, JoinedBox) and item.iou > 0.99 for item in found.joined)
    assert len(found.joined) == sum(
        lesion_id % 3 > 0 for lesion_id in join_source("source", more, val).lesions()
    )
