"""Do recomputed locations follow from the masks of their slices, and the version's share from them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from etl.imaging.location import AGREES_WITHIN, EXACT_WITHIN, norm_location
from etl.store.versions import Version
from etl.verify.problems import Problem, Repair, differences
from etl.verify.tables import TableRows

# Sums and quotients of floats.
TOLERANCE = 1e-9


def check_locations(tables: Mapping[str, TableRows], version: Version, where: str) -> Iterator[Problem]:
    """`lesions` against `slices`, and the version's `locations` against `lesions`."""
    if not (tables["lesions"].complete and tables["slices"].complete):
        return
    lesions, slices = tables["lesions"].rows, tables["slices"].rows
    if "location_agrees" not in lesions:
        return  # a version from before they were compared
    keys = ["volume_id", "slice_index"]
    placed = lesions.rename(columns={"key_slice_index": "slice_index"}).merge(
        slices.drop_duplicates(keys), on=keys, suffixes=("", "_of_slice"), validate="m:1"
    )
    furthest = np.zeros(len(placed))
    for axis, side in (("x", "column"), ("y", "row")):
        low_px, high_px, first, last, found, difference, published = (
            placed[name].to_numpy(float)
            for name in (
                *(f"bbox_{axis}1_px", f"bbox_{axis}2_px"),
                *(f"location_mask_{side}_first", f"location_mask_{side}_last"),
                *(f"norm_{axis}_recomputed", f"norm_{axis}_difference", f"norm_{axis}"),
            )
        )
        expected = norm_location(axis, low_px, high_px, first, last)
        furthest = np.maximum(furthest, np.abs(expected - published))
        for name, values, right in (
            (f"norm_{axis}_recomputed", found, expected),
            (f"norm_{axis}_difference", difference, expected - published),
        ):
            same = np.isclose(values, right, rtol=0, atol=TOLERANCE, equal_nan=True)
            yield from _wrong(placed, name, values, right, same)
    agrees = (furthest <= AGREES_WITHIN).astype(object)
    agrees[np.isnan(furthest)] = None
    named = placed["location_agrees"].to_numpy(object)
    yield from _wrong(placed, "location_agrees", named, agrees, named == agrees)

    compared = lesions[lesions["location_agrees"].notna()]
    differ = compared[["norm_x_difference", "norm_y_difference"]].abs().max(axis=1)
    known = {
        "compared": len(compared),
        "agreeing": int(compared["location_agrees"].astype(bool).sum()),
        "exact": int((differ <= EXACT_WITHIN).sum()),
    }
    counts = [(f"locations.{name}", version["locations"][name], value) for name, value in known.items()]
    yield from differences(where, Repair.CONTENT, counts)


def _wrong(
    lesions: pd.DataFrame, name: str, found: np.ndarray, expected: np.ndarray, same: np.ndarray
) -> Iterator[Problem]:
    columns = (lesions["lesion_id"].to_numpy(), found, expected)
    for lesion_id, value, right in zip(*(column[~same] for column in columns), strict=True):
        text = f"{name} is not what the slice's mask gives"
        yield Problem(text, f"lesions: lesion_id {lesion_id}", Repair.CONTENT, f"{value}", f"{right}")
