"""The table of volumes from which a derived table could not be computed; each derived table has one."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import TEXT, Table, field


def rejects_of(table: Table) -> Table:
    """Return the declaration of the rejects of a derived table."""
    return Table(
        f"{table.name}_rejects",
        f"volumes without rows in `{table.name}`, because computing failed; another run tries them again",
        pa.schema(
            [
                field("volume_id", TEXT, "the volume"),
                field("reason", TEXT, "reason code, as in `rejects`"),
                field("message", TEXT, "what was found"),
            ]
        ),
        key=("volume_id",),
        unit="volume",
        unit_columns=("volume_id",),
        made_by=table.made_by,
    )
