from __future__ import annotations

import json
import math

import pytest

from etl.store.layout import (
    CITATION,
    contract_of,
    receipt_path,
    root_metadata,
    tables_path,
    to_json,
    version_path,
    volume_path,
)
from etl.store.sealed import is_intact


def test_paths() -> None:
    assert volume_path("000001_01_01_003-005", "0123456789abcdef") == (
        "volumes/000001_01_01_003-005/0123456789abcdef.ome.zarr"
    )
    assert tables_path("20260101T000000Z-00000000") == "tables/20260101T000000Z-00000000"
    assert [version_path(number) for number in (1, 999_999, 1_000_000)] == [
        "versions/000001.json",
        "versions/999999.json",
        "versions/1000000.json",
    ]


def test_json_is_utf8_with_a_newline_at_its_end_and_the_order_of_keys_kept() -> None:
    assert to_json({"b": "µm", "a": [1.5]}) == '{\n "b": "µm",\n "a": [\n  1.5\n ]\n}\n'.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"mean": value})


@pytest.mark.parametrize(
    ("path", "receipt", "contract"),
    [
        ("volumes/a/0123.ome.zarr", "volumes/a/0123.receipt.json", 2),
        ("labels/a/0123.ome.zarr", "labels/a/0123.receipt.json", 2),
        ("volumes/a/0123", "volumes/a/0123/receipt.json", 1),
    ],
)
def test_a_receipt_lies_beside_its_group_but_for_the_first_contract(
    path: str, receipt: str, contract: int
) -> None:
    assert (receipt_path(path), contract_of(path)) == (receipt, contract)
    assert contract_of(f"{path}/labels/lesions") == contract


def test_the_root_names_contract_source_and_citation_and_its_own_checksum() -> None:
    about = json.loads(root_metadata())
    assert is_intact(about)
    assert about["contract_version"] == 2
    assert "NIH Clinical Center" in about["acknowledgement"]
    assert about["citation"] == CITATION
    assert about["source"].startswith("https://nihcc.box.com")
    assert "license" not in str(about).lower()
