"""The table `other_splits`: training splits of others, which are not the release's."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("lesion_id", INT, "the lesion"),
        field("source", TEXT, "name of the source in the config"),
        field("split", TEXT, "the source's own split; the release's is in `lesions`"),
    ]
)

OTHER_SPLITS = Table(
    "other_splits",
    "splits of others; one row a lesion and source",
    _SCHEMA,
    key=("lesion_id", "source"),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="jobs/add_annotations.py",
)
