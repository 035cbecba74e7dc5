"""Diameters of one lesion over studies, and their change as RECIST 1.1 counts it. Not a clinical assessment.

RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45:228-247, 2009) judges the sum over a patient's target lesions
at times that a protocol sets. Here each lesion stands alone, and study numbers are ordinals without dates.
"""

from __future__ import annotations

import pandas as pd

PROGRESSION_PERCENT = 20.0
"""Least increase over the smallest earlier diameter that RECIST 1.1 calls progression, ..."""
PROGRESSION_MM = 5.0
"""... if it is also at least so many millimetres."""
RESPONSE_PERCENT = -30.0
"""Greatest change from the first diameter that RECIST 1.1 calls partial response."""

GROWTH_COLUMNS = (
    *("sequence_id", "patient_index", "study_index", "position", "lesions"),
    *("long_diameter_mm", "short_diameter_mm", "change_from_first_percent", "change_from_smallest_percent"),
    *("change_from_smallest_mm", "over_progression_threshold", "over_response_threshold"),
    *("confidence", "age_falls"),
)


def growth(sequences: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each study of each sequence that spans two studies or more.

    A lesion that was measured several times in one study counts with its longest diameters. Change is that of
    the long diameter; RECIST measures lymph nodes by the short one, which is given too. The smallest diameter
    is that of all earlier studies of the sequence. Changes are null at position 0, and where the rows of an
    earlier study that they need are missing, as after a build that changed its lesions.

    Args:
        sequences: rows of the table `sequences`.
        lesions: lesion_id, long_diameter_mm and short_diameter_mm of the table `lesions`.

    Returns:
        The columns of `GROWTH_COLUMNS`, sorted by sequence and position.
    """
    several = sequences[sequences["studies"] > 1]
    sizes = lesions[["lesion_id", "long_diameter_mm", "short_diameter_mm"]]
    joined = several.merge(sizes, on="lesion_id", validate="one_to_one")
    keys = ["sequence_id", "position"]
    rows = (
        joined.groupby(keys, sort=True)
        .agg(
            patient_index=("patient_index", "first"),
            study_index=("study_index", "first"),
            lesions=("lesion_id", "size"),
            long_diameter_mm=("long_diameter_mm", "max"),
            short_diameter_mm=("short_diameter_mm", "max"),
            confidence=("confidence", "min"),
            age_falls=("age_falls", "first"),
        )
        .reset_index()
    )
    size, of = rows["long_diameter_mm"], rows["sequence_id"]
    first = size.where(rows["position"] == 0).groupby(of).transform("first").where(rows["position"] > 0)
    is_whole = rows["position"] == rows.groupby("sequence_id").cumcount()
    smallest = size.groupby(of).cummin().groupby(of).shift().where(is_whole)
    rows["change_from_first_percent"] = (size - first) / first * 100
    rows["change_from_smallest_percent"] = (size - smallest) / smallest * 100
    rows["change_from_smallest_mm"] = size - smallest
    rows["over_progression_threshold"] = (rows["change_from_smallest_percent"] >= PROGRESSION_PERCENT) & (
        rows["change_from_smallest_mm"] >= PROGRESSION_MM
    )
    rows["over_response_threshold"] = rows["change_from_first_percent"] <= RESPONSE_PERCENT
    return rows[list(GROWTH_COLUMNS)]
