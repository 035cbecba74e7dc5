"""The table `body_positions`: where in the body each source slice lies, as a model sees it."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.derived_rejects import rejects_of
from etl.tables.table import FLOAT, INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("volume_id", TEXT, "volume"),
        field("slice_index", INT, "number of the source slice"),
        field("mm", FLOAT, "distance from the volume's first slice", "mm"),
        field("score", FLOAT, "score by the model of the stored plane nearest to it; rises head to feet"),
        field("smoothed", FLOAT, "the score averaged along z with a Gaussian of 10 mm"),
        field(
            "norm_z",
            FLOAT,
            "the smoothed score mapped to the release's normalized z; null if the model knows no published z",
            nullable=True,
        ),
        field(
            "region",
            TEXT,
            "chest, abdomen or pelvis, by landmarks of norm_z in the model's config.json",
            nullable=True,
        ),
        field(
            "slope_per_mm",
            FLOAT,
            "slope of the robust line through the volume's scores",
            "1/mm",
            nullable=True,
        ),
        field("residual", FLOAT, "median distance of the volume's scores from that line", nullable=True),
        field(
            "order",
            TEXT,
            "ok, reversed, implausible_slope or too_short: trust positions of a volume that is ok",
        ),
    ]
)

BODY_POSITIONS = Table(
    "body_positions",
    "position in the body of every source slice, predicted by the model that the version names",
    _SCHEMA,
    key=("volume_id", "slice_index"),
    unit="volume",
    unit_columns=("volume_id",),
    made_by="jobs/score_slices.py",
)
BODY_POSITIONS_REJECTS = rejects_of(BODY_POSITIONS)
