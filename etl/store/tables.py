"""Tables as Parquet: encoded in memory to the same bytes every time, described in their own schema."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.store.fields import SCHEMAS
from etl.store.layout import CONTRACT_VERSION
from etl.store.objects import Objects

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class EncodedTable:
    """One Parquet file: path below the run's tables, bytes, number of rows."""

    path: str
    data: bytes
    rows: int


def to_table(name: str, columns: Mapping[str, object]) -> pa.Table:
    """Columns -> an Arrow table of the contract's schema, metadata included.

    Raises:
        KeyError: a column is missing.
        pyarrow.ArrowInvalid: a value does not fit its column, or is null in a column without nulls.
    """
    schema = SCHEMAS[name]
    arrays = [pa.array(columns[field.name], type=field.type, from_pandas=field.nullable) for field in schema]
    for field, array in zip(schema, arrays, strict=True):
        if array.null_count and not field.nullable:
            raise pa.ArrowInvalid(
                f"column {field.name} of {name} has {array.null_count} nulls; allowed: none"
            )
    return pa.Table.from_arrays(arrays, schema=schema).replace_schema_metadata(_metadata(name))


def encode_tables(tables: Mapping[str, pa.Table], splits: list[str]) -> list[EncodedTable]:
    """Parquet files of all tables; `lesions` is partitioned by split.

    Args:
        tables: of `to_table`, by name.
        splits: the split of each row of `lesions`.
    """
    files = []
    for name, table in tables.items():
        if name != "lesions":
            files.append(_encode(f"{name}/part-0.parquet", table))
            continue
        split_column = pa.array(splits, type=pa.string())
        for split in SPLITS:
            part = table.filter(pc.equal(split_column, split))
            if part.num_rows:
                files.append(_encode(f"{name}/split={split}/part-0.parquet", part))
    return files


def _encode(path: str, table: pa.Table) -> EncodedTable:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=128 * 1024)
    return EncodedTable(path, buffer.getvalue(), table.num_rows)


def read_table(objects: Objects, paths: list[str], name: str) -> pa.Table:
    """Read and join the files of one table; `lesions` gets its `split` column back from the paths.

    Raises:
        FileNotFoundError: a file isn't there.
        pyarrow.ArrowInvalid: a file is not Parquet.
    """
    parts = []
    for path in paths:
        part = pq.read_table(io.BytesIO(objects.read(path)))
        if name == "lesions":
            split = path.split("split=")[1].split("/")[0]
            part = part.append_column(
                pa.field("split", pa.string(), False), pa.array([split] * part.num_rows)
            )
        parts.append(part)
    if not parts:
        schema = SCHEMAS[name]
        if name == "lesions":
            schema = schema.append(pa.field("split", pa.string(), False))
        return schema.empty_table()
    table = pa.concat_tables(parts)
    return table.sort_by("lesion_id") if name == "lesions" else table


def schema_columns(name: str) -> list[list[str]]:
    """[name, type] of each column, as a version file keeps them for comparison."""
    return [[field.name, f"{field.type}{' nullable' if field.nullable else ''}"] for field in SCHEMAS[name]]


_DESCRIPTIONS = {
    "lesions": "annotations joined to the volumes; one row an accepted row of DL_info.csv",
    "volumes": "catalogue of the volumes; one row a volume",
    "slices": "source slices; one row a slice that is part of a volume",
    "rejects": "what is in the release and not in the store, and why",
}


def _metadata(name: str) -> dict[str, str]:
    return {"description": _DESCRIPTIONS[name], "contract_version": str(CONTRACT_VERSION)}
