"""Select the lesions and volumes of a version that an export takes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from etl.core.errors import ConfigError
from etl.export.protocol import SPLITS, UNLABELLED, Selected, Selection
from etl.release.names import SeriesKey, parse_series_id
from etl.store.reader import Store


def lesion_types(lesions: pd.DataFrame) -> pd.Series:
    """Return the type of each lesion by name; `UNLABELLED` for a lesion without a type."""
    return lesions["coarse_type"].fillna(UNLABELLED)


def select(store: Store, selection: Selection) -> Selected:
    """Return the lesions that match the selection, and their volumes.

    Raises:
        ConfigError: a patient or series isn't in this version, or no lesion matches.
    """
    lesions = store.lesions()
    volumes = with_patients_split(store.volumes(), lesions)
    if not selection.criteria():
        return Selected(lesions, volumes, selection.single_class, selection.pictures)
    _check_known(store, "patient", selection.patients, set(volumes["patient_index"]))
    _check_known(store, "series", selection.series, set(_series_ids(volumes)))
    keep = pd.Series(True, index=lesions.index)
    for wanted, values in (
        (selection.splits, lesions["split"]),
        (selection.types, lesion_types(lesions)),
        (selection.patients, lesions["patient_index"]),
        (selection.series, _series_ids(lesions)),
    ):
        if wanted:
            keep &= values.isin(wanted)
    chosen = lesions[keep]
    if chosen.empty:
        by_split = pd.crosstab(lesions["split"], lesion_types(lesions))
        present = [
            f"{split}: {', '.join(f'{kind} {count}' for kind, count in row.items() if count)}"
            for split, row in by_split.iterrows()
        ]
        raise ConfigError(
            "no lesion matches the selection",
            where=_version_name(store),
            value=selection.criteria(),
            allowed=f"lesions of this version by split and type: {'; '.join(present) or 'none'}",
            remedy="leave out some of --split, --type, --patient and --series",
        )
    held = volumes["volume_id"].isin(chosen["volume_id"])
    return Selected(chosen, volumes[held], selection.single_class, selection.pictures)


def with_patients_split(volumes: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Return volumes with the split of their patient: the last of train, val and test that a lesion is of.

    Args:
        lesions: all of the version.
    """
    order = lesions["split"].map(SPLITS.index).groupby(lesions["patient_index"]).max()
    last = {patient: SPLITS[number] for patient, number in order.items()}
    return volumes.assign(split=[last.get(patient) for patient in volumes["patient_index"]])


def _series_ids(rows: pd.DataFrame) -> pd.Series:
    numbers = (rows[name] for name in ("patient_index", "study_index", "series_index"))
    return pd.Series([str(SeriesKey(*key)) for key in zip(*numbers, strict=True)], index=rows.index)


def _check_known(store: Store, name: str, wanted: tuple[Any, ...], known: set[Any]) -> None:
    unknown = [value for value in wanted if value not in known]
    if unknown:
        examples = ", ".join(map(str, sorted(known)[:5]))
        form = "" if name == "patient" or parse_series_id(str(unknown[0])) else " (PPPPPP_SS_RR)"
        raise ConfigError(
            f"no such {name} in this version",
            where=_version_name(store),
            value=unknown[0],
            allowed=f"one of {len(known):,}{form}, such as {examples}",
            remedy=f"choose a {name} that the table `volumes` lists",
        )


def _version_name(store: Store) -> str:
    return f"{store.objects.root}, version {store.version['version']}"
