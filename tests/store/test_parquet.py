from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.publish.carry import written
from etl.store.parquet import Entry, covered_in, encode_table, read_table
from etl.tables.lesions import LESIONS, SPLITS
from etl.tables.registry import BUILD_TABLES
from etl.tables.rejects import REJECTS
from etl.tables.table import Table, schema_columns
from etl.tables.volumes import VOLUMES
from tests.regenerate_contract import schema_text

REJECT_ROWS: dict[str, list[Any]] = {
    "kind": ["row", "slice"],
    "reason": ["unknown_sex", "slice_missing"],
    "found_in": ["DL_info.csv row 3: µ", "DL_info.csv row 4"],
    "message": ["Patient_gender is unknown", "not there"],
    "series_id": [None, "000001_01_01"],
    "slice_index": [None, 7],
    "lesion_id": [3, None],
}


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return open_objects(str(tmp_path))


def lesions(splits: list[str]) -> dict[str, Any]:
    """Rows of any allowed values; lesion_id counts down."""
    count = len(splits)
    columns: dict[str, Any] = {"split": splits}
    for field in LESIONS.schema:
        if pa.types.is_string(field.type):
            columns[field.name] = [f"{field.name} {n}" for n in range(count)]
        elif pa.types.is_boolean(field.type):
            columns[field.name] = [n % 2 == 0 for n in range(count)]
        else:
            columns[field.name] = [count - 1 - n for n in range(count)]
    return columns


def write(objects: LocalObjects, table: Table, columns: dict[str, Any]) -> list[Entry]:
    files = [written(file, "run") for file in encode_table(table, table.rows(columns))]
    for entry, data in files:
        objects.write(entry["path"], data)
    return [entry for entry, _ in files]


def test_a_table_round_trips_with_its_nulls(objects: LocalObjects) -> None:
    entries = write(objects, REJECTS, REJECT_ROWS)
    assert [entry["path"] for entry in entries] == ["tables/run/rejects/part-0.parquet"]
    found = read_table(objects, entries, REJECTS)
    assert found.schema.equals(REJECTS.schema)
    assert found.to_pydict() == REJECT_ROWS


def test_a_whole_table_is_read_by_no_other_thread(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = write(objects, REJECTS, REJECT_ROWS)
    monkeypatch.delattr(pq, "read_table")  # reads with threads that may outlive the command
    assert read_table(objects, entries, REJECTS).column_names == list(REJECT_ROWS)
    with pytest.raises(StoreError, match="can't be decoded"):
        read_table(objects, entries, REJECTS, ["kind", "nothing"])


def test_files_of_a_table_are_read_several_at_once_and_joined_in_their_order(objects: LocalObjects) -> None:
    """One after the other, 400 files of nightly derivations took 13 s in a bucket of 20 ms a request."""

    class Together(LocalObjects):
        def read(self, name: str) -> bytes:
            started.wait()
            return super().read(name)

    entries = []
    for number in range(3):
        columns = {name: values[:1] for name, values in REJECT_ROWS.items()} | {"message": [str(number)]}
        rows = REJECTS.rows(columns)
        (file,) = encode_table(REJECTS, rows, {f"volume {number}"}, number)
        entry, data = written(file, "run")
        objects.write(entry["path"], data)
        entries.append(entry)
    started = threading.Barrier(3, timeout=60)
    assert read_table(Together(objects.root), entries, REJECTS)["message"].to_pylist() == ["0", "1", "2"]
    assert covered_in(Together(objects.root), *entries) == {"volume 0", "volume 1", "volume 2"}
    for entry in entries[1:]:
        objects.remove(entry["path"])
    with pytest.raises(StoreError, match=r"(?s)file is missing.*part-1"):
        read_table(objects, entries, REJECTS)
    with pytest.raises(StoreError, match=r"(?s)file is missing.*part-2"):
        covered_in(objects, entries[0], entries[2])


def test_lesions_lie_by_split_and_come_back_sorted_with_their_split(
    objects: LocalObjects, tmp_path: Path
) -> None:
    splits = ["val", "train", "val", "train", "val"]
    entries = write(objects, LESIONS, lesions(splits))
    assert [(entry["path"], entry["rows"]) for entry in entries] == [
        ("tables/run/lesions/split=train/part-0.parquet", 2),
        ("tables/run/lesions/split=val/part-0.parquet", 3),
    ]
    found = read_table(objects, entries, LESIONS).to_pandas()
    assert found["lesion_id"].tolist() == [0, 1, 2, 3, 4]
    assert found["split"].tolist() == splits[::-1]
    assert found["volume_id"].tolist() == [f"volume_id {n}" for n in (4, 3, 2, 1, 0)]
    some = read_table(objects, entries, LESIONS, ["split", "sex"]).to_pandas()
    assert some.columns.tolist() == ["split", "sex"]
    assert some["split"].tolist() == splits[::-1]
    hive = pd.read_parquet(tmp_path / "tables/run/lesions").sort_values("lesion_id")
    assert hive["split"].astype(str).tolist() == splits[::-1], "as any reader of Hive partitions sees it"


@pytest.mark.parametrize("name", BUILD_TABLES)
def test_a_table_without_rows_has_all_its_columns_each_described(objects: LocalObjects, name: str) -> None:
    table = BUILD_TABLES[name]
    entries = write(objects, table, {field.name: [] for field in table.rows_schema})
    assert len(entries) == (0 if table.partition else 1)
    assert read_table(objects, entries, table).schema.equals(table.rows_schema)
    for entry in entries:
        schema = pq.read_schema(io.BytesIO(objects.read(entry["path"])))
        assert schema.metadata[b"contract_version"] == b"2"
        assert schema.metadata[b"description"].decode() == table.description
        assert [f.metadata[b"description"] for f in schema] == [
            f.metadata[b"description"] for f in table.schema
        ]


@pytest.mark.parametrize("name", BUILD_TABLES)
def test_names_end_in_their_units(name: str) -> None:
    for field in BUILD_TABLES[name].schema:
        assert field.metadata[b"description"]
        unit = (field.metadata.get(b"unit") or b"").decode()
        for suffix, expected in {"_mm": "mm", "_px": "pixel", "_vox": "voxel", "_hu": "HU"}.items():
            assert unit == expected or not field.name.endswith(suffix) or unit == f"1/{expected}", field.name


def test_the_same_rows_give_the_same_bytes() -> None:
    columns = lesions([SPLITS[n % 3] for n in range(50)])
    first, second = (encode_table(LESIONS, LESIONS.rows(columns)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("lesion_id", ["x", "y"]),
        ("lesion_id", [2**31, 0]),
        ("slice_index", np.array([0.5, 1])),
        ("kind", [1, 2]),
        ("kind", ["row"]),
        ("kind", [None, "x"]),
        ("message", [None, "x"]),
    ],
)
def test_values_that_do_not_fit_are_refused(column: str, values: Any) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        REJECTS.rows(REJECT_ROWS | {column: values})


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(KeyError, match="message"):
        REJECTS.rows({name: values for name, values in REJECT_ROWS.items() if name != "message"})


def test_pandas_missing_values_are_null_only_where_that_is_allowed() -> None:
    columns = lesions(["val", "val"]) | {
        "age_years": pd.Series([None, 62], dtype="Int16"),
        "coarse_type": pd.Series([None, "lung"], dtype="string"),
        "norm_x": np.array([np.nan, 0.5]),
    }
    table = LESIONS.rows(columns)
    assert table["age_years"].to_pylist() == [None, 62]
    assert table["coarse_type"].to_pylist() == [None, "lung"]
    assert table["norm_x"].null_count == 0


@given(st.data())
def test_damage_anywhere_in_a_file_is_an_error(objects: LocalObjects, data: st.DataObject) -> None:
    (entry,) = write(objects, REJECTS, REJECT_ROWS)
    content = bytearray(objects.read(entry["path"]))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    objects.write(entry["path"], bytes(content[:end]))
    with pytest.raises(StoreError, match="a table's file is damaged") as caught:
        read_table(objects, [entry], REJECTS)
    assert entry["path"] in caught.value.where
    objects.remove(entry["path"])
    with pytest.raises(StoreError, match="a table's file is missing"):
        read_table(objects, [entry], REJECTS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SPLITS), st.integers(0, 10**6), st.none() | st.integers(0, 157), st.floats()
        ),
        max_size=30,
        unique_by=lambda row: row[1],
    )
)
def test_rows_come_back_as_they_went(objects: LocalObjects, rows: list[tuple[Any, ...]]) -> None:
    splits, ids, ages, norms = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    values = {"lesion_id": ids, "age_years": ages, "norm_x": norms}
    found = read_table(objects, write(objects, LESIONS, lesions(splits) | values), LESIONS)
    columns = (found[name].to_pylist() for name in ("split", "lesion_id", "age_years", "norm_x"))
    back = list(zip(*columns, strict=True))
    assert repr(back) == repr(sorted(rows, key=lambda row: row[1]))


def test_schemas_as_columns_and_as_text() -> None:
    assert schema_columns(REJECTS.schema)[-1] == ["lesion_id", "int32 nullable"]
    text = schema_text(LESIONS.schema).splitlines()
    assert (
        text[0]
        == "lesion_id: int32 - 0-based row number in DL_info.csv, as other public work on the release counts"
    )
    assert "z_mm: double [mm] - key slice, from the centre of the volume's first voxel" in text
    assert len(text) == len(LESIONS.schema)


@pytest.mark.parametrize("table", [LESIONS, VOLUMES, REJECTS], ids=lambda table: table.name)
def test_a_declaration_comes_back_from_a_version_file(table: Table) -> None:
    back = Table.from_entry(table.name, table.entry(), schema_columns(table.schema))
    assert back.rows_schema.equals(table.rows_schema)
    assert back.entry() == table.entry()


@pytest.mark.parametrize(
    "changed", [{"key": ("no",)}, {"unit": "volume", "unit_columns": ("no",)}, {"unit": "volume"}]
)
def test_a_declaration_that_contradicts_itself_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="table x"):
        Table("x", "rejects", REJECTS.schema, **changed)
