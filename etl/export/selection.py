"""Which lesions and volumes of a version an export takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from etl.core.errors import ConfigError
from etl.release.annotation_columns import COARSE_TYPES
from etl.release.names import SeriesKey, parse_series_id
from etl.store.reader import Store

UNLABELLED = "unlabelled"
"""The type of a lesion whose type the release does not say: all of `train`."""

TYPES = (*COARSE_TYPES.values(), UNLABELLED)


@dataclass(frozen=True)
class Selection:
    """What is wanted; an empty tuple leaves its question open, several answers to one are joined by `or`.

    Attributes:
        splits: of train, val, test.
        types: of `TYPES`.
        patients: patient numbers.
        series: names such as 000001_01_01.
    """

    splits: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    patients: tuple[int, ...] = ()
    series: tuple[str, ...] = ()

    def asked(self) -> dict[str, list[Any]]:
        """The questions that are not left open, each with its answers in order."""
        return {name: sorted(set(answers)) for name, answers in asdict(self).items() if answers}


@dataclass(frozen=True, eq=False)
class Selected:
    """The rows that an export takes.

    Attributes:
        lesions: rows of the table, ordered by lesion_id, with their `split`.
        volumes: rows of the catalogue: those that hold such a lesion, or all where everything is wanted.
    """

    lesions: pd.DataFrame
    volumes: pd.DataFrame


def lesion_types(lesions: pd.DataFrame) -> pd.Series:
    """The type of each lesion by name, `UNLABELLED` where the release says none."""
    return lesions["coarse_type"].fillna(UNLABELLED)


def select(store: Store, selection: Selection) -> Selected:
    """The lesions and volumes that a selection names.

    Raises:
        ConfigError: a patient or series isn't in this version, or nothing is left.
    """
    lesions, volumes = store.lesions(), store.volumes()
    if not selection.asked():
        return Selected(lesions, volumes)
    for name, wanted in (("patient", selection.patients), ("series", selection.series)):
        _check_known(store, name, wanted, volumes)
    keep = pd.Series(True, index=lesions.index)
    if selection.splits:
        keep &= lesions["split"].isin(selection.splits)
    if selection.types:
        keep &= lesion_types(lesions).isin(selection.types)
    if selection.patients:
        keep &= lesions["patient_index"].isin(selection.patients)
    if selection.series:
        keep &= _series_ids(lesions).isin(selection.series)
    chosen = lesions[keep]
    if chosen.empty:
        by_split = pd.crosstab(lesions["split"], lesion_types(lesions))
        there = [
            f"{split}: {', '.join(f'{kind} {count}' for kind, count in row.items() if count)}"
            for split, row in by_split.iterrows()
        ]
        raise ConfigError(
            "nothing is selected",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=selection.asked(),
            allowed=f"lesions that are there, by split and type: {'; '.join(there) or 'none'}",
            remedy="leave out some of --split, --type, --patient and --series",
        )
    return Selected(chosen, volumes[volumes["volume_id"].isin(chosen["volume_id"])])


def _series_ids(rows: pd.DataFrame) -> pd.Series:
    numbers = (rows[name] for name in ("patient_index", "study_index", "series_index"))
    return pd.Series([str(SeriesKey(*key)) for key in zip(*numbers, strict=True)], index=rows.index)


def _check_known(store: Store, name: str, wanted: tuple[Any, ...], volumes: pd.DataFrame) -> None:
    known = set(volumes["patient_index"]) if name == "patient" else set(_series_ids(volumes))
    unknown = [value for value in wanted if value not in known]
    if unknown:
        shown = ", ".join(map(str, sorted(known)[:5]))
        form = "" if name == "patient" or parse_series_id(str(unknown[0])) else " (PPPPPP_SS_RR)"
        raise ConfigError(
            f"no such {name} in this version",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=unknown[0],
            allowed=f"one of {len(known):,}{form}, such as {shown}",
            remedy=f"the table `volumes` lists every {name}",
        )
