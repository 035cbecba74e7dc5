"""A table of the store, declared once: columns, key, what its rows belong to, who makes it, its checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from etl.tables.checks import StoredTables, Wrong

Unit = Literal["volume", "lesion"]
Check = Callable[[StoredTables], Iterator[Wrong]]

BUILD = "build"
"""The maker of the tables that every build makes. Other makers are jobs, named by their file."""

INT, FLOAT, TEXT, BOOL = pa.int32(), pa.float64(), pa.string(), pa.bool_()
LONG = pa.int64()


def field(
    name: str, kind: pa.DataType, description: str, unit: str = "", *, nullable: bool = False
) -> pa.Field:
    """Return a column with its description and unit in its metadata, which any reader of Parquet sees."""
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def series_fields() -> list[pa.Field]:
    """Return the three columns that name a series."""
    return [
        field("patient_index", INT, "patient"),
        field("study_index", INT, "study of the patient"),
        field("series_index", INT, "series of the study"),
    ]


@dataclass(frozen=True)
class Partition:
    """A column that is kept in the names of folders (`split=train/`) instead of the files.

    Attributes:
        name: of the column; text, never null.
        values: all that are allowed, in the order in which a version names the files.
        description: for documents.
    """

    name: str
    values: tuple[str, ...]
    description: str

    @property
    def field(self) -> pa.Field:
        """The column as readers get it back."""
        return pa.field(self.name, pa.string(), nullable=False)


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a store.

    Attributes:
        name: of the table and its folder.
        description: one line, kept in every file.
        schema: columns of the files, each with description and, where it has one, unit.
        key: columns whose values together occur once; none where rows have no name.
        unit: what a row belongs to, a volume or a lesion. It decides which rows of a table of a later job
            are carried into the next version. None: to the store as a whole.
        unit_columns: columns that name those volumes (volume_id) or lesions (lesion_id). A row with several
            belongs to all of them. Null belongs to none.
        partition: column that the folders of the files name.
        made_by: `BUILD`, or the job that adds the table to a published version.
        checks: what verification compares besides schema, key and units.
    """

    name: str
    description: str
    schema: pa.Schema
    key: tuple[str, ...] = ()
    unit: Unit | None = None
    unit_columns: tuple[str, ...] = ()
    partition: Partition | None = None
    made_by: str = BUILD
    checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where the declaration contradicts itself."""
        known = set(self.rows_schema.names)
        unknown = [name for name in (*self.key, *self.unit_columns) if name not in known]
        if unknown:
            raise ValueError(f"table {self.name} has no column {', '.join(unknown)}; it has {sorted(known)}")
        if (self.unit is None) != (not self.unit_columns):
            raise ValueError(f"table {self.name}: unit and unit_columns are given together, or neither")

    @property
    def rows_schema(self) -> pa.Schema:
        """The schema of whole rows: that of the files, and the column of the folders last."""
        return self.schema if self.partition is None else self.schema.append(self.partition.field)

    def rows(self, columns: Mapping[str, object]) -> pa.Table:
        """Return whole rows of the declared types; what `columns` has besides them is left out.

        Raises:
            KeyError: a column is missing.
            pyarrow.ArrowInvalid: a value does not fit its column, or is null in a column without nulls.
        """
        schema = self.rows_schema
        arrays = [pa.array(columns[f.name], type=f.type, from_pandas=f.nullable) for f in schema]
        for column, array in zip(schema, arrays, strict=True):
            if array.null_count and not column.nullable:
                raise pa.ArrowInvalid(
                    f"column {column.name} of {self.name} has {array.null_count} nulls; allowed: none"
                )
        return pa.Table.from_arrays(arrays, schema=schema)

    def entry(self) -> dict[str, Any]:
        """Return the declaration as a version file keeps it; columns are in its `schemas`."""
        partition = self.partition
        return {
            "description": self.description,
            "made_by": self.made_by,
            "key": list(self.key),
            "unit": self.unit,
            "unit_columns": list(self.unit_columns),
            "partition": None
            if partition is None
            else asdict(partition) | {"values": list(partition.values)},
        }

    @staticmethod
    def from_entry(name: str, entry: Mapping[str, Any], columns: Sequence[Sequence[str]]) -> Table:
        """Return the table that a version file declares; its columns have no descriptions.

        Args:
            columns: [name, type] of each, as `schema_columns` gives them.

        Raises:
            KeyError, TypeError, ValueError: the entry or a type can't be understood.
        """
        partition = entry["partition"]
        return Table(
            name,
            entry["description"],
            pa.schema([_parsed(column, kind) for column, kind in columns]),
            tuple(entry["key"]),
            entry["unit"],
            tuple(entry["unit_columns"]),
            None if partition is None else Partition(**partition | {"values": tuple(partition["values"])}),
            entry["made_by"],
        )


def _parsed(name: str, kind: str) -> pa.Field:
    nullable = kind.endswith(" nullable")
    return field(name, _parsed_type(kind.removesuffix(" nullable")), "", nullable=nullable)


def _parsed_type(kind: str) -> pa.DataType:
    of_list = re.fullmatch(r"(?:fixed_size_)?list<\w+: (.+?)(?: not null)?>(?:\[(\d+)\])?", kind)
    if of_list:
        return pa.list_(_parsed_type(of_list[1]), int(of_list[2] or -1))
    return pa.type_for_alias(kind)


def schema_columns(schema: pa.Schema) -> list[list[str]]:
    """Return [name, type] of each column, as a version file keeps them for comparison."""
    return [[f.name, f"{f.type}{' nullable' if f.nullable else ''}"] for f in schema]
