"""Rows of DL_info.csv as joins need them: by slice and by sub-volume, in 0-based pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pandas as pd

from etl.annotations.entries import Box
from etl.release.names import SeriesKey, volume_id

Key = TypeVar("Key")


@dataclass(frozen=True)
class PrintedRow:
    """One row.

    Attributes:
        lesion_id: 0-based row of the CSV that was given.
        series: the series.
        key_slice: number of the key slice.
        volume: first and last slice of the sub-volume.
        printed_box: x1, y1, x2, y2 as printed.
        recist_px: two points of the long axis, then two of the short one, x and y in 0-based pixels.
        spacing_mm: along x, y and z.
        size_px: width and height of the image.
        coarse_type: name of the body part, or None where it is not labelled.
        split: the official one.
    """

    lesion_id: int
    series: SeriesKey
    key_slice: int
    volume: tuple[int, int]
    printed_box: Box
    recist_px: tuple[tuple[float, float], ...]
    spacing_mm: tuple[float, float, float]
    size_px: tuple[int, int]
    coarse_type: str | None
    split: str

    @property
    def box_px(self) -> Box:
        """The box in 0-based pixels."""
        x1, y1, x2, y2 = self.printed_box
        return x1 - 1, y1 - 1, x2 - 1, y2 - 1

    @property
    def volume_id(self) -> str:
        """`000001_01_01_103-115`."""
        return volume_id(self.series, *self.volume)


_COLUMNS = (
    *("lesion_id", "patient_index", "study_index", "series_index", "key_slice_index"),
    *("slice_first", "slice_last", "bbox_x1_px", "bbox_y1_px", "bbox_x2_px", "bbox_y2_px"),
    *(f"recist_{axis}_{end}_px" for axis in ("long", "short") for end in ("x1", "y1", "x2", "y2")),
    *(
        "spacing_x_mm",
        "spacing_y_mm",
        "spacing_z_mm",
        "image_width_px",
        "image_height_px",
        "coarse_type",
        "split",
    ),
)


def printed_rows(lesions: pd.DataFrame) -> tuple[PrintedRow, ...]:
    """Return the rows of a table of lesions, of the CSV's or of the store's, in its order."""
    return tuple(
        PrintedRow(
            lesion_id=row[0],
            series=SeriesKey(row[1], row[2], row[3]),
            key_slice=row[4],
            volume=(row[5], row[6]),
            printed_box=(row[7], row[8], row[9], row[10]),
            recist_px=tuple((row[at] - 1, row[at + 1] - 1) for at in range(11, 19, 2)),
            spacing_mm=(row[19], row[20], row[21]),
            size_px=(row[22], row[23]),
            coarse_type=row[24] if isinstance(row[24], str) else None,
            split=row[25],
        )
        for row in zip(*(lesions[name].tolist() for name in _COLUMNS), strict=True)
    )


@dataclass(frozen=True)
class Rows:
    """The rows of one CSV.

    Attributes:
        rows: all of them, in the CSV's order.
        numbers: official row number by `lesion_id`, where it is certain.
        partial: series with further rows elsewhere: an entry that fits none of these may be of one of them.
    """

    rows: Sequence[PrintedRow]
    numbers: Mapping[int, int]
    partial: frozenset[SeriesKey] = frozenset()

    @cached_property
    def by_slice(self) -> Mapping[tuple[SeriesKey, int], Sequence[PrintedRow]]:
        """Rows of each key slice."""
        return _grouped(((row.series, row.key_slice), row) for row in self.rows)

    @cached_property
    def by_volume(self) -> Mapping[tuple[SeriesKey, tuple[int, int]], Sequence[PrintedRow]]:
        """Rows of each sub-volume."""
        return _grouped(((row.series, row.volume), row) for row in self.rows)

    @cached_property
    def by_series(self) -> Mapping[SeriesKey, Sequence[PrintedRow]]:
        """Rows of each series."""
        return _grouped((row.series, row) for row in self.rows)

    @cached_property
    def by_number(self) -> Mapping[int, PrintedRow]:
        """The row of each official number that is certain."""
        return {self.numbers[row.lesion_id]: row for row in self.rows if row.lesion_id in self.numbers}


def _grouped(pairs: Iterable[tuple[Key, PrintedRow]]) -> Mapping[Key, Sequence[PrintedRow]]:
    groups: dict[Key, list[PrintedRow]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return dict(groups)
