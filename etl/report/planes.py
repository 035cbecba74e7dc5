"""Pictures of the planes that rows of the checks refer to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pandas as pd

from etl.imaging.window import to_grey
from etl.report.quality import ROWS_SHOWN, Check
from etl.report.voxels import THREADS, encode_jpeg, read_planes
from etl.store.reader import Store

WINDOW_HU = (-1024.0, 1024.0)
"""Wide enough to show any fault of a plane."""
_LARGEST_PX = 320


@dataclass(frozen=True)
class PlaneRef:
    """The picture that belongs to a row of a check: a lesion on its key slice, or a plane of a volume.

    Attributes:
        lesion_id: None if the row is about no lesion.
        plane: index in the stored volume, from 0; None if the row is about a lesion.
        slice_index: index of the source slice, if the row is about one.
    """

    volume_id: str
    lesion_id: int | None = None
    plane: int | None = None
    slice_index: int | None = None

    @property
    def anchor(self) -> str:
        """Anchor of the picture in the page."""
        if self.lesion_id is not None:
            return f"lesion-{self.lesion_id}"
        return f"plane-{self.volume_id}-{self.plane}"

    @property
    def view(self) -> str:
        """Fragment of the viewer's address that shows the plane."""
        return f"{self.volume_id}/{f'z={self.plane}' if self.lesion_id is None else self.lesion_id}"


@dataclass(frozen=True, eq=False)
class PlanePicture:
    """A plane of a volume in `WINDOW_HU`.

    Attributes:
        jpeg: grey, at most 320 pixels along a side.
        size_mm: (height, width) of the plane.
    """

    ref: PlaneRef
    jpeg: bytes
    size_mm: tuple[float, float]


def plane_refs(checks: Sequence[Check], volumes: pd.DataFrame) -> dict[str, list[PlaneRef]]:
    """Return, by name of the check, the picture of each row that the page lists.

    A row about a slice has the plane of that slice, a row about a whole volume its middle plane.
    """
    rows = volumes.set_index("volume_id", drop=False)
    return {
        check.name: [_plane_ref(row, rows) for row in check.found.head(ROWS_SHOWN).itertuples(index=False)]
        for check in checks
    }


def _plane_ref(row: Any, volumes: pd.DataFrame) -> PlaneRef:
    if hasattr(row, "lesion_id"):
        return PlaneRef(row.volume_id, lesion_id=int(row.lesion_id))
    volume = volumes.loc[row.volume_id]
    last = int(volume["shape_z"]) - 1
    if not hasattr(row, "slice_index"):
        return PlaneRef(row.volume_id, plane=last // 2)
    z_mm = (row.slice_index - volume["slice_first"]) * volume["source_spacing_z_mm"]
    plane = min(round(z_mm / volume["spacing_z_mm"]), last)
    return PlaneRef(row.volume_id, plane=plane, slice_index=int(row.slice_index))


def plane_pictures(
    store: Store, wanted: Sequence[PlaneRef], volumes: pd.DataFrame
) -> tuple[list[PlanePicture], list[str]]:
    """Return a picture of each different plane, in order, and why others can't be read."""
    rows = volumes.set_index("volume_id", drop=False)
    different = list({ref.anchor: ref for ref in wanted if ref.plane is not None}.values())

    def picture(ref: PlaneRef) -> PlanePicture | str:
        volume = rows.loc[ref.volume_id]
        planes = read_planes(store, ref.volume_id, [int(ref.plane or 0)])
        if isinstance(planes, str):
            return planes
        height, width = planes[0].shape
        size_mm = (float(height * volume["spacing_y_mm"]), float(width * volume["spacing_x_mm"]))
        return PlanePicture(ref, encode_jpeg(to_grey(planes[0], WINDOW_HU), _LARGEST_PX), size_mm)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(picture, different))
    return [p for p in found if not isinstance(p, str)], [why for why in found if isinstance(why, str)]
