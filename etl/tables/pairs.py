"""The table `pairs`: two measurements of one lesion, as others paired them."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import BOOL, INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("source", TEXT, "name of the source in the config"),
        field("lesion_id_1", INT, "the lesion with the lower number"),
        field("lesion_id_2", INT, "the other one; of the same patient"),
        field("same_study", BOOL, "both CTs belong to one study"),
    ]
)

PAIRS = Table(
    "pairs",
    "pairs of rows that measure one lesion; not closed, so an unlisted pair is no negative",
    _SCHEMA,
    key=("source", "lesion_id_1", "lesion_id_2"),
    unit="lesion",
    unit_columns=("lesion_id_1", "lesion_id_2"),
    made_by="jobs/add_annotations.py",
)
