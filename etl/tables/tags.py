"""The table `tags`: text-mined tags of lesions."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("lesion_id", INT, "the lesion"),
        field("source", TEXT, "name of the source in the config"),
        field("tag_id", INT, "number of the tag in its source"),
        field("tag", TEXT, "name of the tag"),
        field("certainty", TEXT, "relevant or uncertain, as the source says"),
    ]
)

TAGS = Table(
    "tags",
    "text-mined tags of lesions; one row a lesion, source and tag",
    _SCHEMA,
    key=("lesion_id", "source", "tag_id"),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="jobs/add_annotations.py",
)
