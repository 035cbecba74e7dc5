"""What the report shows of the tables: counts and distributions, each as a table of its own.

Every function takes the store's tables as `etl.store.reader` gives them, and returns a table whose rows are
what a picture draws: the page shows it, the CSV beside the page holds it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

# Lesions by type in val and test of the whole release, of 9,816: Yan et al., J. Med. Imaging 5(3) 036501 (2018).
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
NOT_LABELLED = "not labelled"
SPLITS = ("train", "val", "test")
DIAMETER_BIN_MM, DIAMETER_LAST_MM = 5, 100
# Of the median distance from the median: a value this far out is unusual whatever the distribution.
UNUSUAL = 8.0


def type_counts(lesions: pd.DataFrame) -> pd.DataFrame:
    """Columns coarse_type, here, published; the types in the order of what is published."""
    counts = types(lesions).value_counts()
    names = [*PUBLISHED_TYPES, NOT_LABELLED]
    return pd.DataFrame(
        {
            "coarse_type": names,
            "here": [int(counts.get(name, 0)) for name in names],
            "published": pd.array([PUBLISHED_TYPES.get(name) for name in names], dtype="Int64"),
        }
    )


def types(lesions: pd.DataFrame) -> pd.Series[str]:
    """The type's name of each lesion, `not labelled` where there is none."""
    return lesions["coarse_type"].astype(object).where(lesions["coarse_type"].notna(), NOT_LABELLED)


def places(lesions: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """Where lesions lie, a random share of them: lesion_id, coarse_type, norm_x, norm_y, norm_z."""
    chosen = lesions
    if share < 1:
        chosen = lesions.sample(frac=share, random_state=seed).sort_values("lesion_id")
    table = chosen[["lesion_id", "norm_x", "norm_y", "norm_z"]].reset_index(drop=True)
    table.insert(1, "coarse_type", types(chosen).to_numpy())
    return table


def diameters(lesions: pd.DataFrame) -> pd.DataFrame:
    """Lesions by long and short diameter, in bins of 5 mm; the last one holds all that is longer."""
    edges = np.array([*range(0, DIAMETER_LAST_MM + 1, DIAMETER_BIN_MM), np.inf])
    columns = {
        f"{axis}_diameter": np.histogram(lesions[f"{axis}_diameter_mm"], edges)[0]
        for axis in ("long", "short")
    }
    return pd.DataFrame({"from_mm": edges[:-1], "to_mm": edges[1:], **columns})


def spacings(volumes: pd.DataFrame) -> pd.DataFrame:
    """Volumes by pixel spacing of the source, in bins of 0.05 mm, empty bins at the ends left out."""
    edges = np.round(np.arange(0, 1.5001, 0.05), 2)
    found = np.histogram(volumes["source_spacing_x_mm"].clip(upper=1.499), edges)[0]
    table = pd.DataFrame({"from_mm": edges[:-1], "to_mm": edges[1:], "volumes": found})
    used = np.flatnonzero(found)
    return table.iloc[used[0] : used[-1] + 1].reset_index(drop=True) if len(used) else table.iloc[:0]


def slice_intervals(volumes: pd.DataFrame) -> pd.DataFrame:
    """Volumes by slice interval of the source: each value that occurs, with its count."""
    counts = volumes["source_spacing_z_mm"].round(3).value_counts().sort_index()
    return pd.DataFrame({"slice_interval_mm": counts.index, "volumes": counts.to_numpy()})


def ages(lesions: pd.DataFrame) -> pd.DataFrame:
    """Lesions by age in decades and split; the last row counts those without an age."""
    decades = lesions["age_years"].astype("Float64") // 10 * 10
    last = int(decades.max()) if decades.notna().any() else 0
    rows = [f"{low} to {low + 9}" for low in range(0, last + 1, 10)]
    by_split = {
        split: [int((decades[lesions["split"] == split] == low).sum()) for low in range(0, last + 1, 10)]
        + [int(decades[lesions["split"] == split].isna().sum())]
        for split in SPLITS
    }
    return pd.DataFrame({"age_years": [*rows, "missing"], **by_split})


def sexes(lesions: pd.DataFrame) -> pd.DataFrame:
    """Lesions by sex and split."""
    return pd.DataFrame(
        {"sex": ["F", "M"]}
        | {
            split: [int(((lesions["sex"] == sex) & (lesions["split"] == split)).sum()) for sex in "FM"]
            for split in SPLITS
        }
    )


def unusual_volumes(volumes: pd.DataFrame) -> pd.DataFrame:
    """Volumes whose HU statistics lie far from those of the others, the farthest first.

    Columns: volume_id, statistic, value, median (of all volumes), distance in median absolute deviations.
    """
    found = []
    for name in ("hu_minimum", "hu_maximum", "hu_mean", "hu_standard_deviation"):
        values = volumes[name].astype(float)
        away = (values - values.median()).abs()
        # A deviation of 0 (most volumes reach the same end of the clip) would make anything unusual.
        scale = max(float(away.median()), 1.0)
        table = pd.DataFrame(
            {
                "volume_id": volumes["volume_id"],
                "statistic": name,
                "value": values,
                "median": values.median(),
                "distance": away / scale,
            }
        )
        # The ends of the clip say that something was clipped, not that it is odd.
        found.append(
            table[table["distance"] > UNUSUAL] if name not in ("hu_minimum", "hu_maximum") else table[:0]
        )
    return pd.concat(found).sort_values("distance", ascending=False, ignore_index=True)


def gaps(volumes: pd.DataFrame) -> pd.DataFrame:
    """Series with missing slices: their runs, and how many slices are between the first and the last run."""
    key = ["patient_index", "study_index", "series_index"]
    rows = []
    for _, runs in volumes.sort_values([*key, "slice_first"]).groupby(key, sort=True):
        if len(runs) < 2:
            continue
        first, last = runs["slice_first"].to_numpy(), runs["slice_last"].to_numpy()
        rows.append(
            {
                "series_id": runs["volume_id"].iloc[0].rsplit("_", 1)[0],
                "runs": len(runs),
                "slices": int((last - first + 1).sum()),
                "slices_between": int((first[1:] - last[:-1] - 1).sum()),
                "volumes": " ".join(runs["volume_id"].str.rsplit("_", n=1).str[1]),
            }
        )
    table = pd.DataFrame(rows, columns=["series_id", "runs", "slices", "slices_between", "volumes"])
    return table.sort_values("slices_between", ascending=False, ignore_index=True, kind="stable")


def disagreeing_locations(lesions: pd.DataFrame) -> pd.DataFrame:
    """Lesions whose place, recomputed from their key slice, is not the published one; the farthest first."""
    if "location_agrees" not in lesions:
        return pd.DataFrame(columns=["lesion_id", "file_name", "norm_x_difference", "norm_y_difference"])
    wrong = lesions[lesions["location_agrees"].eq(False).fillna(False).astype(bool)]
    table = wrong[["lesion_id", "file_name", "norm_x_difference", "norm_y_difference"]]
    away = table[["norm_x_difference", "norm_y_difference"]].abs().max(axis=1)
    return table.iloc[np.argsort(-away.to_numpy(), kind="stable")].reset_index(drop=True)
