"""The table `rejects`: what is in the release and not in the store, and why."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from etl.core.rejects import Reject
from etl.tables.table import INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("kind", TEXT, "row, slice, archive or volume"),
        field("reason", TEXT, "reason code"),
        field("found_in", TEXT, "archive and member, or CSV row"),
        field("message", TEXT, "what was found and what is allowed"),
        field("series_id", TEXT, "PPPPPP_SS_RR where it can be told", nullable=True),
        field("slice_index", INT, "slice number where it can be told", nullable=True),
        field("lesion_id", INT, "0-based row number of a rejected CSV row", nullable=True),
    ]
)


def reject_rows(rejects: Sequence[Reject]) -> pa.Table:
    """Return the rows of the table, in the order given."""
    columns: dict[str, object] = {
        name: [str(getattr(r, name)) for r in rejects] for name in ("kind", "reason", "found_in", "message")
    }
    columns["series_id"] = [r.series_id or None for r in rejects]
    for name in ("slice_index", "lesion_id"):
        values = [getattr(r, name) for r in rejects]
        columns[name] = [None if value < 0 else value for value in values]
    return REJECTS.rows(columns)


REJECTS = Table("rejects", "what is in the release and not in the store, and why", _SCHEMA)
