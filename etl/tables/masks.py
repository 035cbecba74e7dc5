"""The table `masks`: masks of lesions by others, and how each lies on its lesion."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import BOOL, FLOAT, INT, LONG, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("source", TEXT, "name of the source in the config"),
        field("file", TEXT, "name of the mask's file"),
        field("lesion_id", INT, "the lesion, by the RECIST lines nearest to the mask"),
        field("is_3d", BOOL, "a mask of the whole lesion; false: of its key slice"),
        field("voxels", LONG, "voxels inside, in the source's grid", "voxel"),
        field("volume_mm3", FLOAT, "their volume; of one slice where is_3d is false", "mm3"),
        field("recist_share", FLOAT, "share of both RECIST lines that lies inside"),
        field("end_point_px", FLOAT, "distance of the farthest RECIST end point from the mask", "pixel"),
        field("lesions_on_slice", INT, "lesions of the same key slice, among which this one fits best"),
    ]
)

MASKS = Table(
    "masks",
    "masks of lesions by others; one row a mask",
    _SCHEMA,
    key=("source", "file"),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="jobs/add_annotations.py",
)
