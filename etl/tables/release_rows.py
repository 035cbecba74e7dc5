"""The table `release_rows`: official row numbers of lesions, by which others key their annotations."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import INT, Table, field

_SCHEMA = pa.schema(
    [
        field("lesion_id", INT, "the lesion"),
        field("release_row", INT, "0-based row of the release's own DL_info.csv, where that is certain"),
    ]
)

RELEASE_ROWS = Table(
    "release_rows",
    "official row numbers of lesions; those of lesion_id where the CSV is the release's own",
    _SCHEMA,
    key=("lesion_id",),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="jobs/add_annotations.py",
)
