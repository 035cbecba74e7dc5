from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.parquet import SPLITS, encode_tables, read_table, schema_columns, to_table
from etl.tables.fields import SCHEMAS, TABLES, schema_text

REJECT_ROWS = {
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


def lesions(count: int) -> dict[str, Any]:
    """`count` rows of any allowed values; lesion_id counts down."""
    columns: dict[str, Any] = {}
    for field in SCHEMAS["lesions"]:
        if pa.types.is_string(field.type):
            columns[field.name] = [f"{field.name} {n}" for n in range(count)]
        elif pa.types.is_boolean(field.type):
            columns[field.name] = [n % 2 == 0 for n in range(count)]
        else:
            columns[field.name] = [count - 1 - n for n in range(count)]
    return columns


def write(objects: LocalObjects, tables: dict[str, pa.Table], splits: list[str]) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {name: [] for name in tables}
    for file in encode_tables(tables, splits):
        objects.write(f"tables/run/{file.path}", file.data)
        paths[file.path.split("/")[0]].append(f"tables/run/{file.path}")
    return paths


def test_a_table_round_trips_with_its_nulls(objects: LocalObjects) -> None:
    table = to_table("rejects", REJECT_ROWS)
    paths = write(objects, {"rejects": table}, [])
    assert paths == {"rejects": ["tables/run/rejects/part-0.parquet"]}
    found = read_table(objects, paths["rejects"], "rejects")
    assert found.equals(table, check_metadata=True)
    assert found.to_pydict() == REJECT_ROWS


def test_lesions_lie_by_split_and_come_back_sorted_with_their_split(objects: LocalObjects) -> None:
    splits = ["val", "train", "val", "train", "val"]
    table = to_table("lesions", lesions(5))
    paths = write(objects, {"lesions": table}, splits)["lesions"]
    assert paths == [f"tables/run/lesions/split={split}/part-0.parquet" for split in ("train", "val")]
    assert [pq.read_table(io.BytesIO(objects.read(path))).num_rows for path in paths] == [2, 3]
    found = read_table(objects, paths, "lesions").to_pandas()
    assert found["lesion_id"].tolist() == [0, 1, 2, 3, 4]
    assert found["split"].tolist() == splits[::-1]
    assert found["volume_id"].tolist() == [f"volume_id {n}" for n in (4, 3, 2, 1, 0)]


def test_any_reader_of_hive_partitions_sees_the_split(objects: LocalObjects, tmp_path: Path) -> None:
    write(objects, {"lesions": to_table("lesions", lesions(3))}, ["test", "train", "test"])
    found = pd.read_parquet(tmp_path / "tables/run/lesions")
    assert sorted(zip(found["lesion_id"], found["split"].astype(str), strict=True)) == [
        (0, "test"),
        (1, "train"),
        (2, "test"),
    ]


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_has_all_its_columns(objects: LocalObjects, name: str) -> None:
    table = to_table(name, {field.name: [] for field in SCHEMAS[name]})
    paths = write(objects, {name: table}, [])[name]
    found = read_table(objects, paths, name)
    split = ["split"] if name == "lesions" else []
    assert found.num_rows == 0
    assert found.schema.names == SCHEMAS[name].names + split
    assert found.schema.types[: len(SCHEMAS[name])] == SCHEMAS[name].types


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_described_in_the_file_itself(name: str) -> None:
    table = to_table(name, {field.name: [] for field in SCHEMAS[name]})
    files = encode_tables({name: table}, [])
    schema = pq.read_schema(io.BytesIO(files[0].data)) if files else table.schema
    assert schema.metadata[b"contract_version"] == b"1"
    assert schema.metadata[b"description"]
    for field in schema:
        assert field.metadata[b"description"]
        unit = (field.metadata.get(b"unit") or b"").decode()
        for suffix, expected in {"_mm": "mm", "_px": "pixel", "_vox": "voxel", "_hu": "HU"}.items():
            assert unit == expected or not field.name.endswith(suffix) or unit == f"1/{expected}", field.name


def test_the_same_rows_give_the_same_bytes() -> None:
    tables = {"lesions": to_table("lesions", lesions(50)), "rejects": to_table("rejects", REJECT_ROWS)}
    splits = [SPLITS[n % 3] for n in range(50)]
    assert encode_tables(tables, splits) == encode_tables(tables, splits)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("lesion_id", ["x", "y"]),
        ("lesion_id", [2**31, 0]),
        ("slice_index", np.array([0.5, 1])),
        ("kind", [1, 2]),
        ("kind", ["row"]),
    ],
)
def test_values_that_do_not_fit_are_refused(column: str, values: Any) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        to_table("rejects", REJECT_ROWS | {column: values})


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(KeyError, match="message"):
        to_table("rejects", {name: values for name, values in REJECT_ROWS.items() if name != "message"})


@pytest.mark.parametrize("column", ["kind", "message"])
def test_null_in_a_column_that_has_none_is_refused(column: str) -> None:
    with pytest.raises(pa.ArrowInvalid, match=column):
        to_table("rejects", REJECT_ROWS | {column: [None, "x"]})


def test_pandas_missing_values_are_null_only_where_that_is_allowed() -> None:
    columns = lesions(2) | {
        "age_years": pd.Series([None, 62], dtype="Int16"),
        "coarse_type": pd.Series([None, "lung"], dtype="string"),
        "norm_x": np.array([np.nan, 0.5]),
    }
    table = to_table("lesions", columns)
    assert table["age_years"].to_pylist() == [None, 62]
    assert table["coarse_type"].to_pylist() == [None, "lung"]
    assert table["norm_x"].null_count == 0


def test_damaged_and_missing_files_are_told_apart(objects: LocalObjects) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(objects, ["tables/run/rejects/part-0.parquet"], "rejects")
    objects.write("x.parquet", b"PAR1 not parquet")
    with pytest.raises(pa.ArrowInvalid):
        read_table(objects, ["x.parquet"], "rejects")


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
    paths = write(objects, {"lesions": to_table("lesions", lesions(len(rows)) | values)}, splits)["lesions"]
    found = read_table(objects, paths, "lesions")
    columns = (found[name].to_pylist() for name in ("split", "lesion_id", "age_years", "norm_x"))
    back = list(zip(*columns, strict=True))
    assert repr(back) == repr(sorted(rows, key=lambda row: row[1]))


def test_schemas_as_columns_and_as_text() -> None:
    assert schema_columns("rejects")[-1] == ["lesion_id", "int32 nullable"]
    assert ["source_archives", "list<element: string>"] in [
        [name, kind.replace("item", "element")] for name, kind in schema_columns("volumes")
    ]
    text = schema_text(SCHEMAS["lesions"]).splitlines()
    assert text[0] == "lesion_id: int32 - 0-based row number in DL_info.csv"
    assert "z_mm: double [mm] - key slice, from the centre of the volume's first voxel" in text
    assert len(text) == len(SCHEMAS["lesions"])
