"""The largest changes and the least certain links of a version's lesions over time, as pairs of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl.report.lesion_pictures import LesionPicture, common_size_mm, lesion_pictures
from etl.store.reader import Store

SHOWN = 12
"""Most pairs of each kind."""
CHANGES, UNCERTAIN = "largest_changes", "least_certain_links"


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of what may be one lesion.

    Attributes:
        says: lines below them.
        age_falls: study numbers are no order of time for this patient.
    """

    first: LesionPicture
    second: LesionPicture
    patient: int
    says: tuple[str, ...]
    age_falls: bool


@dataclass(frozen=True, eq=False)
class OverTime:
    """The part of the report about lesions over time.

    Attributes:
        tables: every row behind the pairs, by name of the CSV.
        lesions, unmatched: lesions that were matched, and the others of the version.
        sequences, several, falling: sequences, those over several studies, patients whose age falls with the
            study number.
        method: how it was matched.
    """

    changes: tuple[Pair, ...]
    uncertain: tuple[Pair, ...]
    tables: dict[str, pd.DataFrame]
    lesions: int
    unmatched: int
    sequences: int
    several: int
    falling: int
    method: str


def over_time(store: Store, lesions: pd.DataFrame) -> OverTime | None:
    """Return the pairs of a version; None where its lesions were not matched.

    Args:
        lesions: the whole table.

    Raises:
        StoreError, OSError: a table can't be read. A volume that can't be read only loses its picture.
    """
    if not {"sequences", "links"} <= set(store.version["tables"]):
        return None
    sequences = store.sequences()
    if sequences.empty:
        return None
    changes = _changes(store, sequences, lesions)
    uncertain = _uncertain(store, sequences)
    return OverTime(
        _pairs(store, lesions, changes.head(SHOWN), _change_lines),
        _pairs(store, lesions, uncertain.head(SHOWN), _link_lines),
        {CHANGES: changes, UNCERTAIN: uncertain},
        lesions=len(sequences),
        unmatched=len(lesions) - len(sequences),
        sequences=sequences["sequence_id"].nunique(),
        several=sequences.loc[sequences["studies"] > 1, "sequence_id"].nunique(),
        falling=sequences.loc[sequences["age_falls"], "patient_index"].nunique(),
        method=" and ".join(sorted(set(sequences["method"]))),
    )


def _changes(store: Store, sequences: pd.DataFrame, lesions: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each sequence: its first study, and that whose long diameter differs most from it.

    A sequence whose first study is missing since a build changed it has none.
    """
    sizes = sequences.merge(lesions[["lesion_id", "long_diameter_mm"]], on="lesion_id")
    order = ["sequence_id", "study_index", "long_diameter_mm", "lesion_id"]
    longest = sizes.sort_values(order, ascending=[True, True, False, True])
    longest = longest.drop_duplicates(["sequence_id", "study_index"])
    of_study = longest.set_index(["sequence_id", "study_index"])["lesion_id"]
    growth = store.growth()
    first = growth[growth["position"] == 0].set_index("sequence_id")
    first = first[["study_index", "long_diameter_mm"]].add_prefix("first_")
    later = growth[growth["change_from_first_percent"].notna()].join(first, on="sequence_id")
    later["times"] = later["long_diameter_mm"] / later["first_long_diameter_mm"]
    later["size_of_change"] = np.abs(np.log(later["times"]))
    later = later.sort_values(["size_of_change", "sequence_id", "position"], ascending=[False, True, True])
    later = later.drop_duplicates("sequence_id")
    for column, study in (("lesion_id", "first_study_index"), ("other_lesion_id", "study_index")):
        keys = list(zip(later["sequence_id"], later[study], strict=True))
        later[column] = [int(of_study.loc[key]) for key in keys]
    columns = [
        *("sequence_id", "patient_index", "lesion_id", "other_lesion_id", "first_study_index", "study_index"),
        *("first_long_diameter_mm", "long_diameter_mm", "change_from_first_percent", "confidence"),
        "age_falls",
    ]
    return later[columns].reset_index(drop=True)


def _uncertain(store: Store, sequences: pd.DataFrame) -> pd.DataFrame:
    """Return kept links between studies, the least certain first, one of each sequence."""
    of_lesion = sequences.set_index("lesion_id")
    links = store.table("links")
    links = links[links["kept"]].copy()
    ends = [of_lesion.loc[links[name]] for name in ("lesion_id", "other_lesion_id")]
    links["sequence_id"] = ends[0]["sequence_id"].to_numpy()
    links["age_falls"] = ends[0]["age_falls"].to_numpy()
    for name, end in zip(("study_index", "other_study_index"), ends, strict=True):
        links[name] = end["study_index"].to_numpy()
    links["confidence"] = np.fmin(*(end["confidence"].to_numpy(float) for end in ends))
    links = links[links["study_index"] != links["other_study_index"]]
    order = ["confidence", "distance", "lesion_id", "other_lesion_id"]
    links = links.sort_values(order, ascending=[True, False, True, True]).drop_duplicates("sequence_id")
    columns = [
        *("sequence_id", "patient_index", "lesion_id", "other_lesion_id", "study_index"),
        *("other_study_index", "distance", "next_distance", "confidence", "mutual", "age_falls"),
    ]
    return links[columns].reset_index(drop=True)


def _pairs(store: Store, lesions: pd.DataFrame, rows: pd.DataFrame, lines: Any) -> tuple[Pair, ...]:
    of_lesion = lesions.set_index("lesion_id", drop=False)
    ends: Sequence[int] = list(dict.fromkeys([*rows["lesion_id"], *rows["other_lesion_id"]]))
    size_mm = dict.fromkeys(ends, 0.0)
    for one, other in zip(rows["lesion_id"], rows["other_lesion_id"], strict=True):
        edge = common_size_mm(of_lesion.loc[[one, other], "long_diameter_mm"])
        size_mm[one], size_mm[other] = edge, edge
    pictures = lesion_pictures(store, of_lesion.loc[ends], [size_mm[number] for number in ends])
    return tuple(
        Pair(
            pictures[int(row.lesion_id)],
            pictures[int(row.other_lesion_id)],
            int(row.patient_index),
            lines(row),
            bool(row.age_falls),
        )
        for row in rows.itertuples(index=False)
    )


def _change_lines(row: Any) -> tuple[str, ...]:
    return (
        f"{row.first_long_diameter_mm:.1f} to {row.long_diameter_mm:.1f} mm, "
        f"{row.change_from_first_percent:+.0f} %",
        f"patient {row.patient_index:06d}, studies {row.first_study_index} and {row.study_index}",
        f"lesions {row.lesion_id} and {row.other_lesion_id}, confidence {row.confidence:.2f}",
    )


def _link_lines(row: Any) -> tuple[str, ...]:
    after = "none" if pd.isna(row.next_distance) else f"{row.next_distance:.3g}"
    return (
        f"confidence {row.confidence:.2f}, distance {row.distance:.3g}, next {after}",
        f"patient {row.patient_index:06d}, studies {row.study_index} and {row.other_study_index}",
        f"lesions {row.lesion_id} and {row.other_lesion_id}",
    )
