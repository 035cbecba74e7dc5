"""The table `masks`: masks of lesions by others, and how each lies on its lesion."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import BOOL, FLOAT, INT, LONG, TEXT, Table, field

BOUNDS = ("z_start", "y_start", "x_start", "z_stop", "y_stop", "x_stop")
"""The bounds of a mask in a grid of voxels: indices of the first voxels, and those after the last."""

_MEANING = {
    name: f"{name[0]} of the {'first voxel' if 'start' in name else 'voxel after the last'}"
    for name in BOUNDS
}

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
        field("volume_id", TEXT, "the volume that holds its key slice", nullable=True),
        field(
            "path",
            TEXT,
            "OME-Zarr labels in the stored grid, relative to the store; inside, they have lesion_id + 1",
            nullable=True,
        ),
        field("source_path", TEXT, "the same in the source's grid", nullable=True),
        field("stored_voxels", LONG, "voxels inside, in the stored grid", "voxel", nullable=True),
        *(
            field(f"{name}_vox", INT, f"{_MEANING[name]}, in the stored grid", "voxel", nullable=True)
            for name in BOUNDS
        ),
        *(
            field(f"source_{name}", INT, f"{_MEANING[name]}, in the source's grid", "pixel", nullable=True)
            for name in BOUNDS
        ),
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
