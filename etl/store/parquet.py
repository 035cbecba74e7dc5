"""Tables as Parquet: encoded in memory to the same bytes every time, described in their own schema."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.io.places import Objects
from etl.store.layout import CONTRACT_VERSION
from etl.tables.fields import SCHEMAS

SPLITS = ("train", "val", "test")
_SPLIT = pa.field("split", pa.string(), nullable=False)


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


def read_table(
    objects: Objects,
    paths: Sequence[str],
    name: str,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Read and join the files of one table; `lesions` gets its `split` column back from the paths.

    Args:
        columns: those to read, in this order; all by default.
        where: which rows to read; row groups that can't have any are skipped.

    Raises:
        FileNotFoundError: a file isn't there.
        pyarrow.ArrowInvalid: a file is not Parquet.
    """
    # Rows of `lesions` are sorted by their number, asked for or not.
    stored = None if columns is None else list(columns)
    if stored is not None and name == "lesions":
        stored = [column for column in dict.fromkeys([*stored, "lesion_id"]) if column != "split"]
    parts = []
    for path in paths:
        part = pq.read_table(io.BytesIO(objects.read(path)), columns=stored, filters=where)
        if name == "lesions":
            part = part.append_column(_SPLIT, pa.array([split_of(path)] * part.num_rows, pa.string()))
        parts.append(part)
    if not parts:
        schema = SCHEMAS[name].append(_SPLIT) if name == "lesions" else SCHEMAS[name]
        parts.append(schema.empty_table())
    table = pa.concat_tables(parts)
    if name == "lesions":
        table = table.sort_by("lesion_id")
    return table if columns is None else table.select(list(columns))


def split_of(path: str) -> str:
    """The split whose lesions a file of `lesions` has."""
    return path.split("split=")[-1].split("/")[0]


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
