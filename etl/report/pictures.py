"""The charts of the page, each with its caption and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from etl.core.counted import counted
from etl.export.protocol import UNLABELLED
from etl.export.selection import lesion_types
from etl.report.charts import Group, Points, bars, scatter
from etl.report.statistics import (
    PUBLISHED_TYPES,
    ages,
    diameters,
    places,
    sexes,
    slice_intervals,
    slice_means,
    spacings,
    type_counts,
    voxel_hu,
)
from etl.report.voxels import PlaneSample
from etl.tables.lesions import SPLITS

TYPE_COLOURS = {
    "lung": "colour-blue",
    "abdomen": "colour-orange",
    "mediastinum": "colour-vermilion",
    "liver": "colour-green",
    "pelvis": "colour-purple",
    "soft tissue": "colour-sky",
    "kidney": "colour-yellow",
    "bone": "colour-ink",
    UNLABELLED: "colour-grey",
}
"""Classes of the page's style sheet, in the colours of Okabe and Ito."""
_AIR_HU = -900
SPLIT_COLOURS = dict(zip(SPLITS, ("colour-blue", "colour-orange", "colour-green"), strict=True))


@dataclass(frozen=True, eq=False)
class Picture:
    """A chart of the page.

    Attributes:
        name: name of its CSV.
        caption: text that says what is counted, with totals.
        table: one row per bar, bin or point.
        drawing: SVG and legend, ready for the page.
        listed: columns of the table that the page lists, too.
    """

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    drawing: str
    listed: tuple[str, ...] = ()


def release_pictures(lesions: pd.DataFrame, volumes: pd.DataFrame, share: float) -> list[Picture]:
    """Return the distributions that the release's authors published.

    Args:
        share: share of the lesions that the map shows, 0 to 1.
    """
    total, patients = counted(len(lesions), "lesion"), counted(lesions["patient_index"].nunique(), "patient")
    return [
        _map(lesions, share),
        _types(lesions),
        _diameters(lesions),
        _spacings(volumes),
        _intervals(volumes),
        _by_split("ages", "Ages", ages(lesions), "age (years)", f"{total} of {patients}, by age and split."),
        _by_split("sexes", "Sexes", sexes(lesions), "sex", f"{total} of {patients}, by sex and split."),
    ]


def hu_pictures(slices: pd.DataFrame, drawn: PlaneSample) -> list[Picture]:
    """Return the distributions of HU."""
    means, voxels = slice_means(slices), voxel_hu(drawn.counts)
    failed = f" {drawn.failed:,} more could not be read." if drawn.failed else ""
    air = voxels["from_hu"] < _AIR_HU
    denser = voxels[~air]
    # From the first bin that holds a slice to the last, and one on both sides.
    held = np.flatnonzero(means["slices"])
    shown = means.iloc[max(held[0] - 1, 0) : held[-1] + 2] if len(held) else means
    return [
        Picture(
            "voxel_hu",
            "HU of voxels",
            f"{int(voxels['voxels'].sum()):,} stored voxels in bins of 50 HU, from {len(drawn.counts):,} "
            f"planes drawn at random from the {drawn.planes:,} of the version.{failed} "
            f"Air below {_AIR_HU} HU, {voxels['percent'][air].sum():.0f} % of the voxels, is not drawn; the "
            "last bin includes all denser voxels.",
            voxels,
            _histogram(denser, [Group("", denser["percent"], "colour-blue")], "HU", "voxels (%)"),
        ),
        Picture(
            "slice_means",
            "Mean HU of slices",
            f"{counted(len(slices), 'slice')} by their mean as read, padding included, in bins of 50 HU. "
            "The first and the last bin include all values beyond them.",
            means,
            _histogram(shown, [Group("", shown["slices"], "colour-blue")], "mean (HU)", "slices"),
        ),
    ]


def _map(lesions: pd.DataFrame, share: float) -> Picture:
    table = places(lesions, share)
    groups = dict(iter(table.groupby("coarse_type")))
    # Reversed, so that lesions without a type lie beneath the others.
    points = [
        Points(name, groups[name]["norm_x"].tolist(), groups[name]["norm_z"].tolist(), colour)
        for name, colour in reversed(TYPE_COLOURS.items())
        if name in groups
    ]
    which = "All" if len(table) == len(lesions) else f"A random {len(table):,} of"
    return Picture(
        "places",
        "Where the lesions lie",
        f"{which} {counted(len(lesions), 'lesion')} by relative position in the body, as published, seen "
        "from the front: the head is at the top, the patient's right on the left. Dashed lines are the sides "
        "of the body. The release labels types in val and test only.",
        table,
        scatter(
            points,
            "relative x (0 patient's right, 1 left)",
            "relative z (0 head, 1 feet)",
            edges=(0, 1),
        ),
    )


def _types(lesions: pd.DataFrame) -> Picture:
    table = type_counts(lesions)
    shown = table[table["coarse_type"] != UNLABELLED]
    labelled, unlabelled = int(shown["lesions"].sum()), int((lesion_types(lesions) == UNLABELLED).sum())
    return Picture(
        "types",
        "Types",
        f"Shares of the {labelled:,} lesions with a type in this store, and of the "
        f"{sum(PUBLISHED_TYPES.values()):,} that were published for val and test of the whole release. "
        f"{unlabelled:,} lesions without a type are not drawn.",
        table,
        bars(
            shown["coarse_type"].tolist(),
            [
                Group("in this store", shown["percent"].tolist(), "colour-blue"),
                Group("published", shown["published_percent"].tolist(), "colour-orange"),
            ],
            "type",
            "lesions (%)",
        ),
        listed=("coarse_type", "lesions", "published"),
    )


def _diameters(lesions: pd.DataFrame) -> Picture:
    table = diameters(lesions)
    return Picture(
        "diameters",
        "RECIST diameters",
        f"{counted(len(lesions), 'lesion')} in bins of 5 mm; the last bin includes longer ones. "
        f"The longest is {lesions['long_diameter_mm'].max():.1f} mm.",
        table,
        _histogram(
            table,
            [
                Group("long diameter", table["long_diameter"], "colour-blue"),
                Group("short diameter", table["short_diameter"], "colour-orange"),
            ],
            "diameter (mm)",
            "lesions",
        ),
    )


def _spacings(volumes: pd.DataFrame) -> Picture:
    table = spacings(volumes)
    return Picture(
        "spacings",
        "Pixel spacing of the source",
        f"{counted(len(volumes), 'volume')} in bins of 0.05 mm.",
        table,
        _histogram(table, [Group("", table["volumes"], "colour-blue")], "pixel spacing (mm)", "volumes"),
    )


def _intervals(volumes: pd.DataFrame) -> Picture:
    table = slice_intervals(volumes)
    return Picture(
        "slice_intervals",
        "Slice interval of the source",
        f"{counted(len(volumes), 'volume')}; each interval that occurs.",
        table,
        bars(
            [f"{value:g}" for value in table["slice_interval_mm"]],
            [Group("", table["volumes"], "colour-blue")],
            "slice interval (mm)",
            "volumes",
        ),
    )


def _by_split(name: str, title: str, table: pd.DataFrame, x_title: str, caption: str) -> Picture:
    groups = [
        Group(f"{split} ({int(table[split].sum()):,})", table[split], colour)
        for split, colour in SPLIT_COLOURS.items()
    ]
    return Picture(name, title, caption, table, bars(table.iloc[:, 0].tolist(), groups, x_title, "lesions"))


def _histogram(table: pd.DataFrame, groups: Sequence[Group], x_title: str, y_title: str) -> str:
    """Return bars of bins; the first column of the table is the lower end of each bin."""
    starts = [f"{edge:g}" for edge in table.iloc[:, 0]]
    return bars(starts, groups, x_title, y_title, labels_at="start")
