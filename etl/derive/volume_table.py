"""A table that is computed from voxels: a function from one stored volume to rows, and all that its rows
depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from etl.tables.table import Table, schema_columns

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class VolumeRow:
    """The row of a volume in the table `volumes`, as far as derivations need it.

    Attributes:
        path: of its OME-Zarr group, relative to the store; ends in its fingerprint.
        slice_first: number of its first source slice.
        shape, spacing_mm: of the stored voxels, (z, y, x).
        source_shape, source_spacing_mm: of the source slices, (z, y, x).
    """

    volume_id: str
    path: str
    slice_first: int
    shape: Shape
    spacing_mm: Spacing
    source_shape: Shape
    source_spacing_mm: Spacing


ROW_COLUMNS = (
    *("volume_id", "path", "slice_first"),
    *("shape_z", "shape_y", "shape_x", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm"),
    *("source_shape_z", "source_shape_y", "source_shape_x"),
    *("source_spacing_z_mm", "source_spacing_y_mm", "source_spacing_x_mm"),
)
"""Columns of `volumes` that `volume_row` takes."""


def volume_row(columns: Mapping[str, Any]) -> VolumeRow:
    """Return a row of `volumes`, by column, as derivations take it."""
    values: list[Any] = [columns[name] for name in ROW_COLUMNS]
    sizes: list[Any] = [tuple(values[n : n + 3]) for n in (3, 6, 9, 12)]
    return VolumeRow(values[0], values[1], values[2], *sizes)


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """One volume as a derivation reads it.

    Attributes:
        hu: int16 (z, y, x), read where it is indexed: a `LevelVoxels`, or an array in memory.
        lesions: the columns `Derivation.lesion_columns` of its lesions, by name.
    """

    row: VolumeRow
    hu: Any
    lesions: Mapping[str, list[Any]] = field(default_factory=dict)


class VolumeFault(Exception):  # noqa: N818
    """One volume from which no rows can be made; it becomes a reject with this message."""


class VolumeFunction(Protocol):
    """A function from a volume to the columns of its rows. It is pickled once for each task."""

    def __call__(self, volume: StoredVolume) -> Mapping[str, Any]:
        """Return the columns of the table by name; arrays or lists of one length.

        Raises:
            VolumeFault: no rows can be made from this volume.
        """

    def memory_bytes(self, row: VolumeRow) -> int:
        """Return the peak memory of a call, above that of an idle worker."""


@dataclass(frozen=True, eq=False)
class Derivation:
    """A derived table: its declaration, its function, and what its rows depend on besides the volumes.

    Attributes:
        table: rows belong to volumes or to lesions; without a partition.
        code: version of the function's code; increase it when the same volume gives other rows.
        parameters: of the function, as JSON values.
        model: id of the model that the function applies; empty where it applies none.
        lesion_columns: columns of `lesions` that the function reads.
    """

    table: Table
    function: VolumeFunction
    code: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    lesion_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where rows of the table could not be told apart by volume or lesion."""
        table = self.table
        if table.unit is None or len(table.unit_columns) != 1 or table.partition is not None:
            raise ValueError(f"table {table.name}: its rows belong to one volume or lesion, unpartitioned")

    @property
    def recipe(self) -> dict[str, Any]:
        """All that rows depend on besides their volume, as a version keeps it."""
        return {
            "code": self.code,
            "parameters": dict(self.parameters),
            "model": self.model,
            "fingerprint": self.fingerprint,
        }

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: the same volume with the same fingerprint gives the same rows."""
        table = self.table
        return digest_of(
            [table.name, schema_columns(table.schema), self.code, dict(self.parameters), self.model]
        )


def digest_of(value: Any) -> str:
    """Return 16 hexadecimal digits over a JSON value; tuples count as lists."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
