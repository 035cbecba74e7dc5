"""All tables of a store, one line each. Documents, publishing, reading and verification follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from etl.tables.annotation_sources import ANNOTATION_REJECTS, ANNOTATION_SOURCES
from etl.tables.body_positions import BODY_POSITIONS, BODY_POSITIONS_REJECTS
from etl.tables.boxes import BOXES
from etl.tables.lesions import LESIONS
from etl.tables.links import LINKS
from etl.tables.masks import MASKS
from etl.tables.other_splits import OTHER_SPLITS
from etl.tables.pairs import PAIRS
from etl.tables.rejects import REJECTS
from etl.tables.release_rows import RELEASE_ROWS
from etl.tables.sequences import SEQUENCES
from etl.tables.slices import SLICES
from etl.tables.table import BUILD, Table, schema_columns
from etl.tables.tags import TAGS
from etl.tables.volumes import VOLUMES

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        LESIONS,
        VOLUMES,
        SLICES,
        REJECTS,
        TAGS,
        PAIRS,
        BOXES,
        MASKS,
        OTHER_SPLITS,
        RELEASE_ROWS,
        ANNOTATION_SOURCES,
        ANNOTATION_REJECTS,
        SEQUENCES,
        LINKS,
        BODY_POSITIONS,
        BODY_POSITIONS_REJECTS,
    )
}
"""Every table by name, in the order of documents and version files."""

BUILD_TABLES = {name: table for name, table in TABLES.items() if table.made_by == BUILD}
"""The tables that every build makes. The others are added to a published version by a later job."""


def declared(version: Mapping[str, Any], name: str) -> Table:
    """Return a table as a version declares it.

    A version that is older than a column of a build's table lacks it. A table that a job added is what the
    version says of it, since the registry may know another one of that name, or none.

    Raises:
        KeyError: the version has no such table.
        ValueError: its declaration can't be understood.
    """
    columns, added = version["schemas"][name], version.get("added_tables", {})
    known = TABLES.get(name)
    if name in added:
        table = Table.from_entry(name, added[name], columns)
        same = known is not None and schema_columns(known.schema) == [list(column) for column in columns]
        return replace(table, schema=known.schema, checks=known.checks) if known and same else table
    own = BUILD_TABLES[name]
    names = [column for column, _ in columns if column in own.schema.names]
    return replace(own, schema=pa.schema([own.schema.field(column) for column in names]))
