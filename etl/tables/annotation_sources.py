"""The tables `annotation_sources` and `annotation_rejects`: what became of each source's entries."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import FLOAT, INT, TEXT, Table, field

_SOURCES = pa.schema(
    [
        field("source", TEXT, "name of the source in the config"),
        field("kind", TEXT, "kind of file"),
        field("entries", INT, "entries in its files: joined + unmatched + rejects"),
        field("joined", INT, "entries that join a lesion of the store"),
        field("unmatched", INT, "sound entries that join none"),
        field("rejects", INT, "malformed entries, and those that fail a check"),
        field("reasons", TEXT, "unmatched entries and rejects by reason, as JSON"),
        field("residual_x_px", FLOAT, "median of its centres minus the printed ones", "pixel", nullable=True),
        field("residual_y_px", FLOAT, "the same down the image", "pixel", nullable=True),
        field(
            "lesion_ids", TEXT, "official: the CSV is the release's or part of it in its order; else other"
        ),
        field("problem", TEXT, "why a source that names rows was refused as a whole", nullable=True),
    ]
)
_REJECTS = pa.schema(
    [
        field("source", TEXT, "name of the source in the config"),
        field("entry", TEXT, "place of the entry in the source's file"),
        field("reason", TEXT, "reason code"),
        field("message", TEXT, "what was found and what is allowed"),
    ]
)

ANNOTATION_SOURCES = Table(
    "annotation_sources",
    "annotations by others: entries of each source and what became of them",
    _SOURCES,
    key=("source",),
    made_by="jobs/add_annotations.py",
)
ANNOTATION_REJECTS = Table(
    "annotation_rejects",
    "entries of annotations by others that are malformed or fail a check",
    _REJECTS,
    made_by="jobs/add_annotations.py",
)
