"""The table `boxes`: boxes by others, of lesions that the release lists and of others."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from etl.tables.checks import StoredTables, Wrong, differing
from etl.tables.table import BOOL, FLOAT, INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("source", TEXT, "name of the source in the config"),
        field("entry", TEXT, "place of the box in the source's file"),
        field("volume_id", TEXT, "volume that it lies in"),
        field(
            "lesion_id",
            INT,
            "lesion that it joins; null where the release lists no such lesion",
            nullable=True,
        ),
        field("iou", FLOAT, "with the lesion's printed box, in the slice's plane", nullable=True),
        field("is_3d", BOOL, "the box covers more than one slice"),
        field("has_margin", BOOL, "larger than the lesion by 5 px on each side, as the release's boxes are"),
        field("slice_first", INT, "number of its first slice"),
        field("slice_last", INT, "number of its last slice, included"),
        *(
            field(f"{c}_px", FLOAT, "corner, 1-based as the release prints boxes", "pixel")
            for c in ("x1", "y1", "x2", "y2")
        ),
        *(
            field(f"{c}_mm", FLOAT, "corner, from the centre of the volume's first voxel", "mm")
            for c in ("x1", "y1", "z1", "x2", "y2", "z2")
        ),
        *(
            field(f"{c}_vox", FLOAT, "corner in the stored volume, 0-based, with fraction", "voxel")
            for c in ("x1", "y1", "z1", "x2", "y2", "z2")
        ),
    ]
)


def _check_lesions(stored: StoredTables) -> Iterator[Wrong]:
    """Yield boxes that lie in another volume than the lesion that they join."""
    if "boxes" not in stored.rows or "lesions" not in stored.complete:
        return
    lesions = stored.rows["lesions"]
    volumes = dict(zip(lesions["lesion_id"].tolist(), lesions["volume_id"].tolist(), strict=True))
    boxes = stored.rows["boxes"].dropna(subset=["lesion_id"])
    for lesion_id, volume_id in zip(boxes["lesion_id"].tolist(), boxes["volume_id"].tolist(), strict=True):
        yield from differing(f"boxes: lesion {lesion_id}", [("volume_id", volume_id, volumes.get(lesion_id))])


BOXES = Table(
    "boxes",
    "boxes by others; one row a box",
    _SCHEMA,
    key=("source", "entry"),
    unit="volume",
    unit_columns=("volume_id",),
    made_by="jobs/add_annotations.py",
    checks=(_check_lesions,),
)
