"""The grids of a version's volumes, by the series and slices that they hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from etl.release.names import SeriesKey
from etl.store.label_images import Grid


class Grids:
    """The volumes of a version, by their series.

    Args:
        volumes: the table `volumes`.
        level_count: resolutions of each volume.
    """

    def __init__(self, volumes: pd.DataFrame, level_count: int = 1) -> None:
        self._by_series: dict[SeriesKey, list[Grid]] = {}
        for row in volumes.to_dict("records"):
            grid = Grid(
                row["volume_id"],
                row["path"],
                _axes(row, "shape_{}"),
                _axes(row, "spacing_{}_mm"),
                _axes(row, "source_shape_{}"),
                _axes(row, "source_spacing_{}_mm"),
                row["slice_first"],
                level_count,
            )
            series = SeriesKey(row["patient_index"], row["study_index"], row["series_index"])
            self._by_series.setdefault(series, []).append(grid)

    def holding(self, series: SeriesKey, first: int, last: int) -> Grid | None:
        """Return the first volume that holds one of these slices, the last included; None where none does."""
        for grid in self._by_series.get(series, ()):
            if grid.slice_first <= last and first < grid.slice_first + grid.source_shape[0]:
                return grid
        return None


def _axes(row: Mapping[Hashable, Any], name: str) -> tuple[Any, Any, Any]:
    return row[name.format("z")], row[name.format("y")], row[name.format("x")]
