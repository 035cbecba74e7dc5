"""The volumes of a store as series to learn from, with the release's splits and published z."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.core.errors import ConfigError
from etl.derive.slice_positions import read_planes, source_planes
from etl.derive.volume_table import ROW_COLUMNS, VolumeRow, digest_of, volume_row
from etl.imaging.body_view import BodyView
from etl.learn.series import TEST, TRAIN, VAL, Series, Views
from etl.store.reader import Store
from etl.store.versions import readable

Place = tuple[str, int]
"""A series, and the number of a slice in it from 0."""


@dataclass(frozen=True)
class Pairs:
    """Key slices that show one lesion in two studies each, and where that is known from."""

    places: tuple[tuple[Place, Place], ...]
    source: str


NO_PAIRS = Pairs((), "")
CHEST, ABDOMEN, PELVIS = "chest", "abdomen", "pelvis"
REGION_OF_TYPE = {
    **dict.fromkeys(("mediastinum", "lung"), CHEST),
    **dict.fromkeys(("abdomen", "liver", "kidney"), ABDOMEN),
    "pelvis": PELVIS,
}
"""Coarse lesion types that say where a key slice lies; bone and soft tissue are everywhere."""


def check_splits(store: Store, lesions: pd.DataFrame) -> None:
    """Check that all lesions of a patient are of one split.

    Raises:
        ConfigError: they are not, so that a model would learn from patients that measure it.
    """
    twice = lesions.groupby("patient_index")["split"].nunique()
    if (twice > 1).any():
        raise ConfigError(
            "patients are in two splits",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=twice[twice > 1].index.tolist()[:3],
            allowed="all lesions of a patient in train, val or test",
            remedy="give a patient's rows of the CSV one split, and build the store again",
        )


def store_series(store: Store, view: BodyView, limit: int | None = None) -> list[Series]:
    """Return the volumes of a store; a volume without lesions has its patient's split.

    Args:
        limit: most volumes of each split.

    Raises:
        StoreError: the store is damaged.
        ConfigError: a patient is in two splits.
    """
    volumes = store.volumes(columns=[*ROW_COLUMNS, "patient_index", "split"])
    lesions = store.lesions(columns=["volume_id", "key_slice_index", "norm_z", "patient_index", "split"])
    check_splits(store, lesions)
    published: dict[str, dict[int, float]] = {}
    keys = lesions[["volume_id", "key_slice_index", "norm_z"]]
    for name, index, z in keys.dropna().itertuples(index=False):
        published.setdefault(str(name), {})[int(index)] = float(z)
    splits = volumes.dropna(subset="split").groupby("patient_index")["split"].first().to_dict()
    found: list[Series] = []
    counts = dict.fromkeys((TRAIN, VAL, TEST), 0)
    for values in volumes.to_dict("records"):
        split = splits.get(values["patient_index"])
        if split is None or (limit is not None and counts[split] >= limit):
            continue
        counts[split] += 1
        row = volume_row(values)
        planes, mm = source_planes(row)
        norm_z = np.full(len(mm), np.nan, np.float32)
        for index, z in published.get(row.volume_id, {}).items():
            norm_z[index - row.slice_first] = z
        read = functools.partial(_views, store, row, view, planes)
        patient = f"{values['patient_index']:06d}"
        made_of = digest_of([asdict(row), asdict(view)])
        found.append(Series(row.volume_id, patient, split, mm, norm_z, read, made_of))
    return found


def store_pairs(store: Store) -> Pairs:
    """Return the pairs of the table `pairs`, or, where it has none, of `sequences`; else none."""
    # Annotations of any kind bring all their tables, also those without rows.
    present = {name for name, files in store.version["tables"].items() if sum(file["rows"] for file in files)}
    if "pairs" in present:
        rows, source = store.table("pairs"), "paired by others"
        known = list(zip(rows["lesion_id_1"].tolist(), rows["lesion_id_2"].tolist(), strict=True))
    elif "sequences" in present:
        rows = store.table("sequences").sort_values(["sequence_id", "position", "lesion_id"])
        groups, source = rows.groupby("sequence_id")["lesion_id"], "matched by a method"
        known = [pair for _, group in groups for pair in pairwise(group.tolist())]
    else:
        return NO_PAIRS
    columns = ["lesion_id", "volume_id", "key_slice_index", "patient_index", "study_index"]
    lesions = store.lesions(columns=columns).dropna(subset=["volume_id"]).set_index("lesion_id")
    first = store.volumes(columns=["volume_id", "slice_first"]).set_index("volume_id")["slice_first"]
    at = {
        lesion_id: ((row.volume_id, int(row.key_slice_index - first[row.volume_id])), row.study_index)
        for lesion_id, row in lesions.iterrows()
    }
    places = [(at[a][0], at[b][0]) for a, b in known if a in at and b in at and at[a][1] != at[b][1]]
    return Pairs(tuple(places), source)


def _views(store: Store, row: VolumeRow, view: BodyView, planes: npt.NDArray[np.intp]) -> Views:
    with readable(store.objects):
        hu, place = read_planes(store.array(row.volume_id), planes)
    views: Views = np.rint(view.of(hu, row.spacing_mm[1:])).astype(np.int16)[place]
    return views


def landmarks_of(store: Store) -> tuple[tuple[tuple[str, float], ...], str]:
    """Return where regions begin on the published scale, and a sentence that says where that comes from.

    Each border is the z that puts the fewest labelled key slices on the wrong side. Only val lesions count,
    for train ones have no type and test ones are for the report. No landmarks without such lesions of all.
    """
    lesions = store.lesions(split=VAL, columns=["coarse_type", "norm_z"]).dropna()
    region = lesions["coarse_type"].map(REGION_OF_TYPE)
    z = {name: lesions.loc[region == name, "norm_z"].to_numpy() for name in (CHEST, ABDOMEN, PELVIS)}
    if any(len(values) == 0 for values in z.values()):
        return (), ""
    first, second = best_border(z[CHEST], z[ABDOMEN]), best_border(z[ABDOMEN], z[PELVIS])
    if not first < second:
        return (), ""
    source = (
        f"borders between the published z of labelled val key slices of version {store.version['version']} "
        f"({', '.join(f'{len(values)} {name}' for name, values in z.items())}), "
        "with the fewest on the wrong side"
    )
    return ((CHEST, 0.0), (ABDOMEN, first), (PELVIS, second)), source


def best_border(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> float:
    """Return the z with the fewest of `above` beyond it and of `below` before it; the middle of such ones."""
    values = np.unique(np.concatenate([above, below]))
    middles = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    above, below = np.sort(above), np.sort(below)
    wrong = (len(above) - np.searchsorted(above, middles)) + np.searchsorted(below, middles)
    return round(float(np.median(middles[wrong == np.min(wrong)])), 4)
