"""What readers see is committed as text: a change of it shows up in review as a diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.store.layout import CONTRACT_VERSION
from tests.regenerate_contract import DOCUMENT, FOLDER, breaking_changes, contract_texts, with_columns

NAMES = (
    "lesions.schema.txt",
    "level_zarr.json",
    "receipt.json",
    "reject_reasons.txt",
    "rejects.schema.txt",
    "root_zarr.json",
    "slices.schema.txt",
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
    for name in ("root_zarr.json", "volume_zarr.json", "receipt.json", "version.json"):
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
