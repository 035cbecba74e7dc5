"""Counts and distributions of the store's tables, each as a small table.

Every function takes tables as `etl.store.reader` returns them. One row of its result is one bar or point of
a chart, and one line of the chart's CSV.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.export.protocol import UNLABELLED
from etl.export.selection import lesion_types
from etl.tables.lesions import SPLITS

PUBLISHED_TYPES = {
    "lung": 2426,
    "abdomen": 2166,
    "mediastinum": 1638,
    "liver": 1318,
    "pelvis": 869,
    "soft tissue": 677,
    "kidney": 490,
    "bone": 232,
}
"""Lesions of val and test by type in the whole release: Yan et al., J. Med. Imaging 5(3) 036501 (2018)."""

DIAMETER_BIN_MM, DIAMETER_LAST_MM = 5, 100
SPACING_BIN_MM, SPACING_LAST_MM = 0.05, 1.5
HU_BIN, HU_FIRST, HU_LAST = 50, -1000, 1500
AGE_BIN_YEARS = 10
MIN_PLACES = 1000


def type_counts(lesions: pd.DataFrame) -> pd.DataFrame:
    """Count lesions by type, in the order of `PUBLISHED_TYPES`, unlabelled last.

    Columns: coarse_type, lesions, published, and the percentages of labelled lesions, percent and
    published_percent.
    """
    counts = lesion_types(lesions).value_counts()
    names = [*PUBLISHED_TYPES, UNLABELLED]
    table = pd.DataFrame(
        {
            "coarse_type": names,
            "lesions": [int(counts.get(name, 0)) for name in names],
            "published": pd.array([PUBLISHED_TYPES.get(name) for name in names], dtype="Int64"),
        }
    )
    labelled = table["coarse_type"] != UNLABELLED
    for name, column in (("lesions", "percent"), ("published", "published_percent")):
        total = max(int(table.loc[labelled, name].sum()), 1)
        table[column] = (table[name].where(labelled) / total * 100).astype("Float64").round(2)
    return table


def places(lesions: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return the relative position of some lesions: lesion_id, coarse_type, norm_x, norm_y, norm_z.

    Args:
        share: share of the lesions, chosen at random, but at least 1,000 lesions.
    """
    count = min(max(round(share * len(lesions)), MIN_PLACES), len(lesions))
    chosen = lesions.sample(count, random_state=0).sort_values("lesion_id")
    table = chosen[["lesion_id", "norm_x", "norm_y", "norm_z"]].reset_index(drop=True)
    table.insert(1, "coarse_type", lesion_types(chosen).to_numpy())
    return table


def diameters(lesions: pd.DataFrame) -> pd.DataFrame:
    """Count lesions by long and short diameter, in bins of 5 mm; the last bin includes longer ones."""
    edges = np.array([*range(0, DIAMETER_LAST_MM + 1, DIAMETER_BIN_MM), np.inf])
    columns = {
        f"{axis}_diameter": np.histogram(lesions[f"{axis}_diameter_mm"], edges)[0]
        for axis in ("long", "short")
    }
    return _binned(edges, "mm", columns)


def spacings(volumes: pd.DataFrame) -> pd.DataFrame:
    """Count volumes by pixel spacing of the source, in bins of 0.05 mm; the last bin includes wider ones."""
    bins = round(SPACING_LAST_MM / SPACING_BIN_MM)
    edges = np.array([*(round(n * SPACING_BIN_MM, 2) for n in range(bins + 1)), np.inf])
    table = _binned(edges, "mm", {"volumes": np.histogram(volumes["source_spacing_x_mm"], edges)[0]})
    used = np.flatnonzero(table["volumes"])
    return table.iloc[used[0] : used[-1] + 1].reset_index(drop=True) if len(used) else table.iloc[:0]


def slice_intervals(volumes: pd.DataFrame) -> pd.DataFrame:
    """Count volumes by each slice interval of the source that occurs."""
    counts = volumes["source_spacing_z_mm"].round(3).value_counts().sort_index()
    return pd.DataFrame({"slice_interval_mm": counts.index, "volumes": counts.to_numpy()})


def ages(lesions: pd.DataFrame) -> pd.DataFrame:
    """Count lesions by age in decades and split; the last row counts those without an age."""
    decades = (lesions["age_years"].astype("float64") // AGE_BIN_YEARS * AGE_BIN_YEARS).fillna(-1).astype(int)
    lows = [*range(0, max(decades.max(), 0) + 1, AGE_BIN_YEARS), -1] if len(decades) else [-1]
    counts = pd.crosstab(decades, lesions["split"]).reindex(index=lows, columns=list(SPLITS), fill_value=0)
    names = [f"{low} to {low + AGE_BIN_YEARS - 1}" if low >= 0 else "missing" for low in lows]
    counts.insert(0, "age_years", names)
    return counts.reset_index(drop=True).rename_axis(columns=None)


def sexes(lesions: pd.DataFrame) -> pd.DataFrame:
    """Count lesions by sex and split."""
    counts = pd.crosstab(lesions["sex"], lesions["split"])
    counts = counts.reindex(index=["F", "M"], columns=list(SPLITS), fill_value=0)
    return counts.rename_axis(index="sex", columns=None).reset_index()


def slice_means(slices: pd.DataFrame) -> pd.DataFrame:
    """Count slices by mean HU as read, in bins of 50 HU; the end bins include all values beyond them."""
    edges = _hu_edges()
    found = np.histogram(slices["hu_mean"].clip(edges[0], edges[-1]), edges)[0]
    return _binned(edges, "hu", {"slices": found})


def voxel_hu(planes: Sequence[NDArray[np.int64]]) -> pd.DataFrame:
    """Sum voxels by HU, in bins of 50 HU; the end bins include all values beyond them.

    Args:
        planes: the `hu_counts` of each plane.
    """
    counts = np.sum(planes, axis=0) if len(planes) else np.zeros(len(_hu_edges()) - 1, np.int64)
    share = counts / max(int(counts.sum()), 1) * 100
    return _binned(_hu_edges(), "hu", {"voxels": counts, "percent": np.round(share, 4)})


def hu_counts(plane: NDArray[np.int16]) -> NDArray[np.int64]:
    """Count voxels of a plane in each bin of `voxel_hu`."""
    edges = _hu_edges()
    return np.histogram(np.clip(plane, edges[0], edges[-1]), edges)[0]


def _hu_edges() -> NDArray[np.float64]:
    return np.arange(HU_FIRST, HU_LAST + HU_BIN + 1, HU_BIN, dtype=np.float64)


def _binned(edges: NDArray[np.float64], unit: str, columns: dict[str, NDArray[np.int64]]) -> pd.DataFrame:
    return pd.DataFrame({f"from_{unit}": edges[:-1], f"to_{unit}": edges[1:], **columns})
