"""The contract with readers is committed as text: a change of it shows up in review as a diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from etl.store.layout import CONTRACT_VERSION
from tests.regenerate_contract import DOCUMENT, FOLDER, breaking_changes, contract_texts, with_columns

NAMES = (
    "lesions.schema.txt",
    "level_zarr.json",
    "receipt.json",
    "reject_reasons.txt",
    "rejects.schema.txt",
    "slices.schema.txt",
    "store.json",
    "tree.txt",
    "version.json",
    "volume_zarr.json",
    "volumes.schema.txt",
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return contract_texts(tmp_path_factory.mktemp("contract"))


@pytest.mark.parametrize("name", NAMES)
def test_the_store_is_as_the_contract_says(texts: dict[str, str], name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert texts[name] == committed, "where this is meant: python -m tests.regenerate_contract"


def test_the_columns_in_the_document_are_those_of_the_schemas() -> None:
    committed = DOCUMENT.read_text(encoding="utf-8")
    assert with_columns(committed) == committed, "where this is meant: python -m tests.regenerate_contract"
    assert "| `z_mm` | double | mm | key slice, from the centre of the volume's first voxel |" in committed
    assert with_columns(committed.replace("| `z_mm` ", "| `old` ")) == committed


def test_the_contract_is_these_files(texts: dict[str, str]) -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_file()) == sorted(texts) == list(NAMES)


def test_another_build_gives_the_same_texts(texts: dict[str, str], tmp_path: Path) -> None:
    assert contract_texts(tmp_path) == texts


def test_the_number_is_in_every_document(texts: dict[str, str]) -> None:
    for name in ("store.json", "volume_zarr.json", "receipt.json", "version.json"):
        assert f'"contract_version": {CONTRACT_VERSION}' in texts[name]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a: int32 - x\n", "a: int32 - other words\nb: int32 - new\n", []),
        ("a: int32 - x\nb: int32 - y\n", "a: int32 - x\n", ["t.schema.txt: b: int32"]),
        ("a: int32 - x\n", "a: int64 - x\n", ["t.schema.txt: a: int32"]),
        ("a: double [mm] - x\n", "a: double [pixel] - x\n", ["t.schema.txt: a: double [mm]"]),
        ("a: int32 - x\n", "a: int32 nullable - x\n", ["t.schema.txt: a: int32"]),
    ],
)
def test_what_breaks_a_reader(old: str, new: str, expected: list[str]) -> None:
    assert list(breaking_changes({"t.schema.txt": old}, {"t.schema.txt": new})) == expected
    assert list(breaking_changes({"t.schema.txt": "a\n"}, {})) == ["t.schema.txt: a"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"b": {"c": "x"}, "a": 2.5}, []),
        ({"a": 1, "b": {"c": 1}}, {"a": 1, "b": {}}, ["b.c: number"]),
        ({"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": 1}]}, ["a[].c: number"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{}]}, ["a[].b: number"]),
        ({"a": 1, "b": "x", "c": True}, {"a": "1", "b": ["x"], "c": 1}, ["a: number", "b: text", "c: bool"]),
        ({"a": None, "b": "x"}, {"a": {"x": 1}, "b": None}, []),
        ({"a": None, "b": 1}, {"b": 1}, ["a: null"]),
        # Names of packages and reasons are no keys; how voxels are encoded may change.
        ({"code": {"numpy": "1"}, "codecs": [{"name": "x"}]}, {"code": {}, "codecs": []}, []),
        ({"code": {"numpy": "1"}}, {}, ["code: object"]),
    ],
)
def test_which_keys_break_a_reader(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    texts = [{"version.json": json.dumps(data)} for data in (old, new)]
    assert list(breaking_changes(*texts)) == [f"version.json: {key}" for key in expected]


def test_every_document_that_readers_follow_is_compared(texts: dict[str, str]) -> None:
    gone = [line.split(":")[0] for line in breaking_changes(texts, {})]
    assert set(gone) == set(NAMES) - {"receipt.json", "tree.txt"}
    version, volume = (json.loads(texts[name]) for name in ("version.json", "volume_zarr.json"))
    del version["locations"]["share"], version["tables"]["slices"][0]["rows"]
    del volume["attributes"]["deeplesion"]["voxel_to_lps_mm"]
    less = texts | {"version.json": json.dumps(version), "volume_zarr.json": json.dumps(volume)}
    found = set(breaking_changes(texts, less))
    assert {
        "version.json: locations.share: number",
        "volume_zarr.json: attributes.deeplesion.voxel_to_lps_mm: list",
    } < found
    assert "version.json: tables.slices[].rows: number" in found
    assert list(breaking_changes(texts, texts)) == []
