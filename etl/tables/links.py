"""The table `links`: pairs of lesions that matching compared, and what became of them."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import BOOL, FLOAT, INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("lesion_id", INT, "the lesion with the lower number"),
        field(
            "other_lesion_id",
            INT,
            "the other one; of the same patient, in another series; "
            "runs of one series at different slice intervals count as two series",
        ),
        field("patient_index", INT, "patient"),
        field("distance", FLOAT, "the smaller, the likelier one lesion; its scale is the algorithm's"),
        field(
            "next_distance",
            FLOAT,
            "distance of the next candidate in the same series; null where there is none",
            nullable=True,
        ),
        field("mutual", BOOL, "each is the other's nearest in its series"),
        field("kept", BOOL, "both are in one sequence"),
        field("reason", TEXT, "why it was kept or not"),
    ]
)

LINKS = Table(
    "links",
    "pairs of lesions of which one is the other's nearest in its series",
    _SCHEMA,
    key=("lesion_id", "other_lesion_id"),
    unit="lesion",
    unit_columns=("lesion_id", "other_lesion_id"),
    made_by="jobs/match_lesions.py",
)
