from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from etl.core.errors import ConfigError
from etl.export.croissant import croissant_document
from etl.export.export import export
from etl.export.protocol import Selection
from etl.store.layout import CITATION, SOURCE_URL
from etl.store.reader import Store
from etl.tables.registry import BUILD_TABLES
from tests.support.stored import files_below


@pytest.fixture(scope="module")
def folder(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("croissant")
    export(demo_store, out, "croissant", Selection())
    return out


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "croissant.json").read_text()))


@pytest.mark.slow
def dataset(path: Path) -> Any:
    """Return a data set as mlcroissant reads it, whose import takes a second."""
    from mlcroissant import Dataset

    return Dataset(path)


def test_mlcroissant_finds_nothing_wrong(folder: Path) -> None:
    issues = dataset(folder / "croissant.json").metadata.issues
    assert issues.errors == set()
    # The release names no licence, so none is claimed.
    assert len(issues.warnings) == 1
    assert "license" in next(iter(issues.warnings))


@pytest.mark.slow
@pytest.mark.parametrize("table", list(BUILD_TABLES))
def test_mlcroissant_reads_the_tables(folder: Path, demo_store: Store, table: str) -> None:
    records = list(dataset(folder / "croissant.json").records(table))
    expected = getattr(demo_store, table)()
    found = pd.DataFrame(records).rename(columns=lambda name: name.removeprefix(f"{table}/"))
    assert set(found.columns) == set(expected.columns)
    if table == "lesions":
        found = found.sort_values("lesion_id", ignore_index=True)
    for name in expected.columns:
        values = [value.decode() if isinstance(value, bytes) else value for value in found[name]]
        if name == "source_archives":
            values = [[entry.decode() for entry in value] for value in values]
        wanted = [None if value is None else value for value in expected[name]]
        for value, want in zip(values, wanted, strict=True):
            if isinstance(value, list):
                assert value == list(want), name
            elif pd.isna(want):
                assert pd.isna(value), name
            else:
                assert value == want, name


def test_every_file_has_its_size_and_sum(folder: Path, document: dict[str, Any], demo_store: Store) -> None:
    files = {f["contentUrl"]: f for f in document["distribution"] if f["@type"] == "cr:FileObject"}
    version = demo_store.version
    named = {entry["path"] for entries in version["tables"].values() for entry in entries}
    assert files.keys() == named | {"versions/000001.json"}
    for path, file in files.items():
        data = (folder / path).read_bytes()
        assert data == demo_store.objects.read(path)
        assert file["contentSize"] == f"{len(data)} B"
        assert file["sha256"] == hashlib.sha256(data).hexdigest()


def test_fields_are_described_with_units(document: dict[str, Any]) -> None:
    for record_set in document["recordSet"]:
        for field in record_set["field"]:
            assert field["description"]
    (lesions,) = (r for r in document["recordSet"] if r["name"] == "lesions")
    fields = {field["name"]: field for field in lesions["field"]}
    assert list(fields) == [*BUILD_TABLES["lesions"].schema.names, "split"]
    assert fields["z_mm"]["description"].endswith("(mm)")
    assert fields["possibly_noisy"]["dataType"] == "sc:Boolean"
    assert (document["citeAs"], document["url"], document["version"]) == (CITATION, SOURCE_URL, "1.0.0")


@pytest.mark.slow
def test_the_file_works_in_the_stores_folder_too(
    document: dict[str, Any], demo_store: Store, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(demo_store.objects.root, store)
    (store / "croissant.json").write_text(json.dumps(document))
    assert len(list(dataset(store / "croissant.json").records("rejects"))) == 1


def test_tables_without_rows_are_left_out(demo_store: Store) -> None:
    version = {**demo_store.version, "tables": {**demo_store.version["tables"], "rejects": []}}
    made = croissant_document(version, b"{}", SCHEMAS_WITH_TEXT)
    assert [r["name"] for r in made["recordSet"]] == ["lesions", "volumes", "slices"]


SCHEMAS_WITH_TEXT = {
    name: table.schema.with_metadata({"description": f"the table {name}"})
    for name, table in BUILD_TABLES.items()
}


def test_a_part_of_it_is_refused(demo_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="always describes the whole version"):
        export(demo_store, tmp_path / "out", "croissant", Selection(splits=("train",)))
    assert files_below(tmp_path) == {}
