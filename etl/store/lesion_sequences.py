"""Lesions of a version over time: the sequences that `deeplesion match` published, and their growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.core.errors import AbsentError
from etl.derive.growth import growth

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store


def sequences_of(store: Store, patient: int | None) -> pd.DataFrame:
    """Return the table `sequences`, sorted by lesion_id.

    Raises:
        AbsentError: lesions were not matched, or the version has none of this patient.
    """
    where = f"{store.objects.root}, version {store.version['version']}"
    if "sequences" not in store.version["tables"]:
        raise AbsentError(
            "the lesions of this version were not matched over time",
            where=where,
            value=", ".join(store.version["tables"]),
            allowed="a version with the table sequences",
            remedy=f"match them: deeplesion match {store.objects.root}",
        )
    found = store.table("sequences").sort_values("lesion_id", ignore_index=True)
    if patient is None:
        return found
    own = found[found["patient_index"] == patient].reset_index(drop=True)
    if own.empty:
        is_new = (store.lesions(columns=["patient_index"])["patient_index"] == patient).any()
        raise AbsentError(
            "no lesion of this patient was matched",
            where=where,
            value=patient,
            allowed=f"one of {found['patient_index'].nunique()} patients",
            remedy=f"match what is new: deeplesion match {store.objects.root}"
            if is_new
            else "lesions() lists patients",
        )
    return own


def growth_of(store: Store) -> pd.DataFrame:
    """Return the rows of `etl.derive.growth.growth` for a version.

    Raises:
        AbsentError: lesions were not matched.
    """
    sizes = ["lesion_id", "long_diameter_mm", "short_diameter_mm"]
    return growth(sequences_of(store, None), store.lesions(columns=sizes))
