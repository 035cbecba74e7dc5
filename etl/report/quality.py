"""Checks of the tables: rows that are out of the ordinary, the worst first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from etl.tables.locations import AGREES_WITHIN, EXACT_WITHIN

UNUSUAL = 8.0
"""Limit in median absolute deviations from the median; robust for any distribution."""
LARGEST_AGE_YEARS = 110
BLANK_HU = -500
ROUNDING_PX = 0.002
"""Difference of printed diameters that rounding explains: 65 rows of the release, at most 0.0014 px."""
ROWS_SHOWN = 10
"""Rows of each check that the page lists, each with its picture."""

_SERIES = ["patient_index", "study_index", "series_index"]


@dataclass(frozen=True, eq=False)
class Check:
    """The result of one check of every row of a table.

    Attributes:
        name: name of its CSV.
        title: a few words for the rows that were found.
        meaning: the criterion, with its limits, and what may be the cause.
        checked: number of rows that were checked.
        found: rows that meet the criterion, the worst first; with `lesion_id` and `volume_id` if they apply.
    """

    name: str
    title: str
    meaning: str
    checked: int
    found: pd.DataFrame


def checks(
    lesions: pd.DataFrame, volumes: pd.DataFrame, slices: pd.DataFrame, unusual: float = UNUSUAL
) -> list[Check]:
    """Return every check, in the order of the page.

    Args:
        unusual: limit in median absolute deviations from the median.
    """
    compared = int(lesions["location_agrees"].notna().sum()) if "location_agrees" in lesions else 0
    return [
        Check(
            "disagreeing_locations",
            "Lesions whose recomputed location disagrees",
            "The relative x or y, recomputed from the box and the stored key slice, differs from the "
            f"published one by more than {AGREES_WITHIN:g}: the row may belong to another slice. The largest "
            "difference is first.",
            compared,
            disagreeing_locations(lesions),
        ),
        Check(
            "inexact_locations",
            "Lesions whose location agrees, but not exactly",
            f"The difference from the published location is between {EXACT_WITHIN:g} and {AGREES_WITHIN:g}. "
            "Equal pixels give about 1e-6, so the row may belong to a neighbouring slice. The largest "
            "difference is first.",
            compared,
            inexact_locations(lesions),
        ),
        Check(
            "unusual_volumes",
            "Volumes with unusual HU statistics",
            f"The mean or standard deviation is more than {unusual:g} median absolute deviations from the "
            "median of all volumes.",
            len(volumes),
            unusual_volumes(volumes, unusual),
        ),
        Check(
            "outlying_slices",
            "Slices with outlying HU",
            f"No pixel is denser than {BLANK_HU} HU, all pixels are equal, or the mean is more than "
            f"{unusual:g} median absolute deviations from the median of all slices.",
            len(slices),
            outlying_slices(slices, unusual),
        ),
        Check(
            "gaps",
            "Series with gaps",
            "Slices between the first and the last are absent, so the series is stored as several volumes. "
            "Most gaps are the release's own: it has only the slices around each lesion.",
            volumes.groupby(_SERIES).ngroups,
            gaps(volumes),
        ),
        Check(
            "flagged_lesions",
            "Lesions to look at",
            "The authors flagged the row as possibly noisy, the box extends past the image's edge, the "
            f"age is 0 or above {LARGEST_AGE_YEARS}, the patient is in several splits, an end of a RECIST "
            "diameter lies farther outside the image than the image is large, or the short diameter is "
            f"longer than the long one by more than {ROUNDING_PX:g} px.",
            len(lesions),
            flagged_lesions(lesions),
        ),
    ]


def disagreeing_locations(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return lesions whose location, recomputed from their key slice, disagrees; the farthest first.

    Columns: lesion_id, volume_id, file_name, norm_x_difference, norm_y_difference.
    """
    return _apart(lesions, agree=False, more_than=0.0)


def inexact_locations(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return lesions whose recomputed location agrees, but not exactly; the farthest first.

    Columns: those of `disagreeing_locations`.
    """
    return _apart(lesions, agree=True, more_than=EXACT_WITHIN)


def _apart(lesions: pd.DataFrame, *, agree: bool, more_than: float) -> pd.DataFrame:
    columns = ["lesion_id", "volume_id", "file_name", "norm_x_difference", "norm_y_difference"]
    if "location_agrees" not in lesions:
        return pd.DataFrame(columns=columns)
    away = lesions[columns[3:]].abs().max(axis=1)
    found = lesions["location_agrees"].eq(agree).fillna(False) & away.gt(more_than)
    order = np.argsort(-away[found].to_numpy(), kind="stable")
    return lesions.loc[found, columns].iloc[order].reset_index(drop=True)


def unusual_volumes(volumes: pd.DataFrame, limit: float = UNUSUAL) -> pd.DataFrame:
    """Return volumes whose HU mean or standard deviation is far from the median, the farthest first.

    Columns: volume_id, statistic, value, median (of all volumes), deviations.
    """
    found = [
        _outlying(volumes, name, limit)[["volume_id", "statistic", "value", "median", "deviations"]]
        for name in ("hu_mean", "hu_standard_deviation")
    ]
    table = pd.concat(found).sort_values("deviations", ascending=False, kind="stable")
    return table.drop_duplicates("volume_id").reset_index(drop=True)


def outlying_slices(slices: pd.DataFrame, limit: float = UNUSUAL) -> pd.DataFrame:
    """Return slices without tissue, of one value, or with an unusual mean; blank ones first.

    Columns: volume_id, slice_index, what, hu_minimum, hu_maximum, hu_mean, deviations.
    """
    far = _outlying(slices, "hu_mean", limit)
    blank = slices[(slices["hu_maximum"] < BLANK_HU) | (slices["hu_minimum"] == slices["hu_maximum"])]
    blank = blank.assign(what="blank", deviations=np.nan)
    far = far[~far.index.isin(blank.index)].assign(what="mean")
    far = far.sort_values("deviations", ascending=False, kind="stable")
    columns = ["volume_id", "slice_index", "what", "hu_minimum", "hu_maximum", "hu_mean", "deviations"]
    parts = [part[columns] for part in (blank, far) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _outlying(rows: pd.DataFrame, name: str, limit: float) -> pd.DataFrame:
    values = rows[name].astype(float)
    away = (values - values.median()).abs()
    # At least 1 HU: a smaller difference is never unusual, even if most rows are equal.
    deviations = away / max(float(away.median()), 1.0) if len(rows) else away
    table = rows.assign(statistic=name, value=values, median=values.median(), deviations=deviations.round(1))
    return table[deviations > limit]


def gaps(volumes: pd.DataFrame) -> pd.DataFrame:
    """Return series that consist of several runs of slices, the one with the most absent slices first.

    Columns: series_id, volume_id (of the first run), runs, slices, slices_between, slice_ranges.
    """
    ordered = volumes.sort_values([*_SERIES, "slice_first"], kind="stable")
    several = ordered[ordered.duplicated(_SERIES, keep=False)]
    parts = several["volume_id"].str.rsplit("_", n=1)
    series, first, last = parts.str[0], several["slice_first"], several["slice_last"]
    groups = pd.DataFrame(
        {
            "series_id": series,
            "volume_id": several["volume_id"],
            "runs": 1,
            "slices": last - first + 1,
            "slices_between": (first - last.groupby(series).shift() - 1).fillna(0).astype(int),
            "slice_ranges": parts.str[1],
        }
    ).groupby("series_id", sort=True)
    table = groups.agg(
        {
            "volume_id": "first",
            "runs": "sum",
            "slices": "sum",
            "slices_between": "sum",
            "slice_ranges": " ".join,
        }
    ).reset_index()
    return table.sort_values("slices_between", ascending=False, ignore_index=True, kind="stable")


def flagged_lesions(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return lesions with a flag or an implausible age, in the order of the CSV.

    Columns: lesion_id, volume_id, file_name, what, age_years.
    """
    age = lesions["age_years"].astype("float64")
    reasons = {
        "possibly noisy": lesions["possibly_noisy"],
        "box past the edge": lesions["bbox_past_edge"],
        "age": age.le(0) | age.gt(LARGEST_AGE_YEARS),
        "patient in several splits": lesions.groupby("patient_index")["split"].transform("nunique").gt(1),
        "RECIST far outside the image": _far_outside(lesions),
        "short diameter longer": lesions["short_diameter_px"].gt(lesions["long_diameter_px"] + ROUNDING_PX),
    }
    what = pd.Series("", index=lesions.index)
    for name, applies in reasons.items():
        what = what.where(~applies.astype(bool), what + f", {name}")
    table = lesions.assign(what=what.str.removeprefix(", "))[what != ""]
    return table[["lesion_id", "volume_id", "file_name", "what", "age_years"]].reset_index(drop=True)


def _far_outside(lesions: pd.DataFrame) -> pd.Series:
    """Return True for lesions with a RECIST end farther outside the image than the image is large."""
    found = pd.Series(False, index=lesions.index)
    for axis, size in (("x", lesions["image_width_px"]), ("y", lesions["image_height_px"])):
        for name in (f"recist_{which}_{axis}{end}_px" for which in ("long", "short") for end in "12"):
            found |= lesions[name].lt(-size) | lesions[name].gt(2 * size)
    return found
