from __future__ import annotations

import json
import math

import pytest

from etl.store.layout import CITATION, root_metadata, tables_path, to_json, version_path, volume_path


def test_paths() -> None:
    assert volume_path("000001_01_01_003-005", "0123456789abcdef") == (
        "volumes/000001_01_01_003-005/0123456789abcdef"
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


def test_the_root_group_names_contract_source_and_citation() -> None:
    root = json.loads(root_metadata())
    assert (root["zarr_format"], root["node_type"]) == (3, "group")
    about = root["attributes"]["deeplesion_store"]
    assert about["contract_version"] == 1
    assert "NIH Clinical Center" in about["acknowledgement"]
    assert about["citation"] == CITATION
    assert about["source"].startswith("https://nihcc.box.com")
    assert "license" not in str(root).lower()
