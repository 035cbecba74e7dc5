"""Tables as Parquet: encoded in memory to the same bytes every time, described in their own schema."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.core.errors import StoreError
from etl.io.places import Objects, object_info
from etl.store.group_metadata import REMEDY
from etl.store.layout import CONTRACT_VERSION
from etl.tables.table import Table

COVERED = b"covered"
"""Key in the metadata of a file: JSON list of the volumes or lesions that its maker looked at."""

DERIVED = b"derived"
"""Key in the metadata of a derived table's file: JSON object of what it was computed with and from."""

READS_AT_ONCE = 8

Entry = Mapping[str, Any]
"""One table file as a version names it: path, bytes, sha256, rows."""


@dataclass(frozen=True)
class EncodedTable:
    """One Parquet file: path below the run's tables, bytes, number of rows."""

    path: str
    data: bytes
    rows: int


def encode_table(
    table: Table, rows: pa.Table, covered: Collection[Any] | None = None, part: int = 0
) -> list[EncodedTable]:
    """Return the files of a table: one for each value of its partition that has rows, else one.

    Args:
        rows: whole rows, of `Table.rows`.
        covered: volumes or lesions that the maker looked at, with rows or without; kept in the first file,
            which then is there even without rows. None for a table of a build.
        part: number in the names of the files.
    """
    pieces = [(f"{table.name}/part-{part}.parquet", rows)]
    if table.partition is not None:
        name, files = table.partition.name, rows.drop_columns([table.partition.name])
        chosen = [(value, files.filter(pc.equal(rows[name], value))) for value in table.partition.values]
        pieces = [(f"{table.name}/{name}={value}/part-{part}.parquet", piece) for value, piece in chosen]
        kept = [(path, piece) for path, piece in pieces if piece.num_rows]
        pieces = kept or (pieces[:1] if covered is not None else [])
    encoded = []
    for number, (path, piece) in enumerate(pieces):
        listed = None if covered is None else (sorted(covered) if number == 0 else [])
        encoded.append(_encode(path, table, piece, listed))
    return encoded


def encode_derived(
    table: Table, rows: pa.Table, covered: Collection[Any], derived: Mapping[str, Any]
) -> EncodedTable:
    """Return a file of a derived table, which says what it was computed from.

    Its name holds its checksum, so that a run that finds it, named by no version yet, sees if it is damaged.

    Args:
        derived: JSON value that is kept in the file; `derived_from` gives it back.
    """
    own = {DERIVED: json.dumps(derived, separators=(",", ":"))}
    file = _encode("", table, rows, sorted(covered), own)
    return replace(file, path=f"{table.name}/{derived_name(file.data)}")


def derived_name(data: bytes) -> str:
    """Return the name of a file of a derived table: 16 hexadecimal digits of its SHA-256."""
    return f"volumes-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def _encode(
    path: str,
    table: Table,
    rows: pa.Table,
    covered: list[Any] | None,
    more: Mapping[bytes, str] | None = None,
) -> EncodedTable:
    metadata: dict[Any, Any] = {"description": table.description, "contract_version": str(CONTRACT_VERSION)}
    metadata |= more or {}
    if covered is not None:
        metadata[COVERED] = json.dumps(covered)
    buffer = io.BytesIO()
    pq.write_table(
        rows.replace_schema_metadata(metadata), buffer, compression="zstd", row_group_size=128 * 1024
    )
    return EncodedTable(path, buffer.getvalue(), rows.num_rows)


def read_file(objects: Objects, entry: Entry) -> bytes:
    """Return the bytes of a table file.

    Raises:
        StoreError: it is missing, or not the file that the version names.
        OSError: the store can't be read.
    """
    where = f"{objects.root}/{entry['path']}"
    try:
        data = objects.read(entry["path"])
    except FileNotFoundError as error:
        raise StoreError(
            "a table's file is missing", where=where, value="no such object", remedy=REMEDY
        ) from error
    found = object_info(entry["path"], data)
    if (found.bytes, found.sha256) != (entry["bytes"], entry["sha256"]):
        raise StoreError(
            "a table's file is damaged",
            where=where,
            value=f"{found.bytes} bytes, SHA-256 {found.sha256}",
            allowed=f"{entry['bytes']} bytes, SHA-256 {entry['sha256']}",
            remedy=REMEDY,
        )
    return data


def read_files(objects: Objects, entries: Sequence[Entry]) -> Iterator[bytes]:
    """Yield the bytes of table files in their order, read several at once: a bucket answers each by itself.

    Raises:
        StoreError: a file is missing or damaged; of several the first.
        OSError: the store can't be read.
    """
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        # In rounds, so that not all files of a large table are held as bytes and as rows.
        for start in range(0, len(entries), 4 * READS_AT_ONCE):
            yield from pool.map(partial(read_file, objects), entries[start : start + 4 * READS_AT_ONCE])


def decode_file(
    data: bytes,
    path: str,
    table: Table,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Return the rows of one file with the columns that its schema and its path have.

    Args:
        columns: those to read, in this order; all by default.
        where: the rows to read; row groups without any are skipped.
    """
    own = table.partition
    stored = columns if columns is None or own is None else [c for c in columns if c != own.name]
    try:
        if where is None:
            # In this thread: one of pyarrow's pool that lets go of the bytes while Python ends aborts it.
            rows = pq.ParquetFile(pa.BufferReader(data)).read(stored, use_threads=False)
            rows = rows if stored is None else rows.select(stored)
        else:
            rows = pq.read_table(io.BytesIO(data), columns=stored, filters=where)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StoreError(
            "a table's file can't be decoded",
            where=path,
            value=f"{type(error).__name__}: {error}",
            remedy=REMEDY,
        ) from error
    if own is not None and (columns is None or own.name in columns):
        rows = rows.append_column(own.field, pa.array([partition_value(path)] * len(rows), pa.string()))
    return rows if columns is None else rows.select(list(columns))


def read_table(
    objects: Objects,
    entries: Sequence[Entry],
    table: Table,
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Read and join the files of one table. One that lies in several files is sorted by its key.

    Args:
        columns: those to read, in this order; all by default.
        where: the rows to read; row groups without any are skipped.

    Raises:
        StoreError: a file is missing or damaged.
        OSError: the store can't be read.
    """
    is_sorted = bool(table.key) and (table.partition is not None or len(entries) > 1)
    wanted = columns
    if columns is not None and is_sorted:
        wanted = list(dict.fromkeys([*columns, *table.key]))
    files = zip(entries, read_files(objects, entries), strict=True)
    parts = [decode_file(data, entry["path"], table, wanted, where) for entry, data in files]
    rows = pa.concat_tables(parts) if parts else table.rows_schema.empty_table()
    if is_sorted:
        rows = rows.sort_by([(name, "ascending") for name in table.key])
    return rows if columns is None else rows.select(list(columns))


def partition_value(path: str) -> str:
    """Return the value of the partition's column that the path of a file names; empty where it names none."""
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return folder.partition("=")[2]


def covered_in(objects: Objects, *entries: Entry) -> set[Any]:
    """Return `covered_units` of files. Raise StoreError where one is missing or damaged."""
    schemas = (pq.read_schema(io.BytesIO(data)) for data in read_files(objects, entries))
    return set().union(*map(covered_units, schemas))


def covered_units(schema: pa.Schema) -> set[Any]:
    """Return the volumes or lesions that the maker of a file looked at, by the file's schema."""
    return set(json.loads((schema.metadata or {}).get(COVERED, b"[]")))


def derived_from(schema: pa.Schema) -> dict[str, Any] | None:
    """Return what a file of a derived table was computed with and from; None for any other file."""
    text = (schema.metadata or {}).get(DERIVED)
    return None if text is None else dict(json.loads(text))
