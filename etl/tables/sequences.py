"""The table `sequences`: a patient's lesions of all studies, grouped into one lesion over time."""

from __future__ import annotations

import pyarrow as pa

from etl.tables.table import BOOL, FLOAT, INT, TEXT, Table, field

_SCHEMA = pa.schema(
    [
        field("lesion_id", INT, "the lesion"),
        field("sequence_id", TEXT, "PPPPPP_LLLLL: patient and smallest lesion_id of the sequence"),
        field("patient_index", INT, "patient"),
        field("study_index", INT, "study of the patient; an ordinal without a date"),
        field("position", INT, "place of the study among those of the sequence, from 0"),
        field("studies", INT, "number of studies in which the sequence was seen"),
        field(
            "confidence",
            FLOAT,
            "how much nearer the sequence is than the best alternative: 0.5 undecided, 1 sure; "
            "no probability; null for a patient's only lesion",
            nullable=True,
        ),
        field(
            "age_falls",
            BOOL,
            "the patient's age falls with the study number, so study numbers are no order of time",
        ),
        field("method", TEXT, "algorithm and date of its calibration"),
    ]
)

SEQUENCES = Table(
    "sequences",
    "one lesion over a patient's studies, as a matching found it; not a clinical assessment",
    _SCHEMA,
    key=("lesion_id",),
    unit="lesion",
    unit_columns=("lesion_id",),
    made_by="jobs/match_lesions.py",
)
