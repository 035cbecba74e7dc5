"""Planes of stored volumes: those that rows of the checks are about, and a random sample of all."""

from __future__ import annotations

import base64
import io
import itertools
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from etl.core.errors import EtlError
from etl.imaging.window import to_grey
from etl.report.quality import ROWS_SHOWN, Check
from etl.report.statistics import hu_counts
from etl.store.reader import Store

PLANES_COUNTED = 240
"""Of all planes, for the histogram of voxels."""
PLANES_TOGETHER = 64
"""Read at once where several of them are wanted: a layer of chunks, as the default has them."""
WINDOW_HU = (-1024.0, 1024.0)
"""Wide, so that what is odd about a plane is seen whatever it is."""
_SHARD = "0/c/0/0/0"
THREADS = 4
_LARGEST_PX = 320
_QUALITY = 80


@dataclass(frozen=True)
class Sight:
    """What there is to see of a row of a check: a lesion on its key slice, or a plane of a volume.

    Attributes:
        lesion_id: None where the row is about no lesion.
        plane: of the stored volume, from 0; None where the row is about a lesion.
        slice_index: of the source slice that the plane is of, where the row is about one.
    """

    volume_id: str
    lesion_id: int | None = None
    plane: int | None = None
    slice_index: int | None = None

    @property
    def anchor(self) -> str:
        """Of its picture in the page."""
        if self.lesion_id is not None:
            return f"lesion-{self.lesion_id}"
        return f"plane-{self.volume_id}-{self.plane}"

    @property
    def view(self) -> str:
        """The fragment of the viewer's address that shows it."""
        what = f"z={self.plane}" if self.lesion_id is None else self.lesion_id
        return f"{self.volume_id}/{what}"


@dataclass(frozen=True, eq=False)
class PlanePicture:
    """A plane of a volume through `WINDOW_HU`.

    Attributes:
        picture: JPEG, grey; of 320 pixels at most.
        size_mm: (height, width) of the plane.
    """

    sight: Sight
    picture: bytes
    size_mm: tuple[float, float]

    @property
    def data_url(self) -> str:
        """The picture, to be put into a page."""
        return data_url(self.picture)


def sights(checks: Sequence[Check], volumes: pd.DataFrame) -> dict[str, list[Sight]]:
    """By check, what there is to see of each row that the page lists.

    A row about a slice has its plane, one about a whole volume the plane in the middle.
    """
    rows = volumes.set_index("volume_id", drop=False)
    return {
        check.name: [_sight(row, rows) for row in check.found.head(ROWS_SHOWN).itertuples(index=False)]
        for check in checks
    }


def _sight(row: Any, volumes: pd.DataFrame) -> Sight:
    if hasattr(row, "lesion_id"):
        return Sight(row.volume_id, lesion_id=int(row.lesion_id))
    volume = volumes.loc[row.volume_id]
    last = int(volume["shape_z"]) - 1
    if not hasattr(row, "slice_index"):
        return Sight(row.volume_id, plane=last // 2)
    z_mm = (row.slice_index - volume["slice_first"]) * volume["source_spacing_z_mm"]
    plane = min(round(z_mm / volume["spacing_z_mm"]), last)
    return Sight(row.volume_id, plane=plane, slice_index=int(row.slice_index))


def plane_pictures(
    store: Store, wanted: Sequence[Sight], volumes: pd.DataFrame
) -> tuple[list[PlanePicture], list[str]]:
    """A picture of each different plane, in order, and why others can't be read."""
    rows = volumes.set_index("volume_id", drop=False)
    different = list({sight.anchor: sight for sight in wanted if sight.plane is not None}.values())

    def picture(sight: Sight) -> PlanePicture | str:
        volume = rows.loc[sight.volume_id]
        plane = read_plane(store, sight.volume_id, volume["path"], int(sight.plane or 0))
        if isinstance(plane, str):
            return plane
        spacing_mm = (volume["spacing_y_mm"], volume["spacing_x_mm"])
        height_mm, width_mm = (float(n * mm) for n, mm in zip(plane.shape, spacing_mm, strict=True))
        grey = to_grey(plane, WINDOW_HU)
        return PlanePicture(sight, jpeg(grey, _LARGEST_PX, _QUALITY), (height_mm, width_mm))

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(picture, different))
    return [p for p in found if not isinstance(p, str)], [why for why in found if isinstance(why, str)]


@dataclass(frozen=True, eq=False)
class PlaneSample:
    """Voxels of planes drawn at random, each plane of the version as likely as another.

    Attributes:
        counts: `hu_counts` of each plane.
        planes: how many planes the version has.
        failed: how many of those drawn could not be read.
    """

    counts: tuple[NDArray[np.int64], ...]
    planes: int
    failed: int


def sample_planes(store: Store, volumes: pd.DataFrame, seed: int = 0) -> PlaneSample:
    """Count voxels by HU in `PLANES_COUNTED` planes; the same ones for the same volumes."""
    ends = volumes["shape_z"].to_numpy(np.int64).cumsum()
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.random.default_rng(seed).choice(total, min(PLANES_COUNTED, total), replace=False)
    drawn.sort()
    # One alone costs as much as all of its layer of chunks.
    layers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, at in zip(drawn.tolist(), np.searchsorted(ends, drawn, side="right").tolist(), strict=True):
        plane = number - int(ends[at]) + int(volumes["shape_z"].iloc[at])
        layers[at, plane // PLANES_TOGETHER].append(plane)

    def counted(layer: tuple[tuple[int, int], list[int]]) -> list[NDArray[np.int64]]:
        (at, _), numbers = layer
        volume = volumes.iloc[at]
        planes = read_planes(store, volume["volume_id"], volume["path"], numbers)
        return [] if isinstance(planes, str) else list(map(hu_counts, planes))

    with ThreadPoolExecutor(THREADS) as pool:
        counts = tuple(itertools.chain.from_iterable(pool.map(counted, layers.items())))
    return PlaneSample(counts, total, len(drawn) - len(counts))


def read_plane(store: Store, volume_id: str, path: str, plane: int) -> NDArray[np.int16] | str:
    """A plane of a volume, (y, x) in HU, or why it can't be read. See `read_planes`."""
    planes = read_planes(store, volume_id, path, [plane])
    return planes if isinstance(planes, str) else planes[0]


def read_planes(store: Store, volume_id: str, path: str, planes: Sequence[int]) -> NDArray[np.int16] | str:
    """Planes that lie near each other in a volume, (planes, y, x) in HU, or why they can't be read.

    Args:
        path: of the volume, as `volumes` has it.
        planes: ascending, at least one.
    """
    first, last = planes[0], planes[-1]
    try:
        voxels = np.asarray(store.array(volume_id)[first : last + 1])[np.subtract(planes, first)]
        # Zarr reads a shard that is gone as air.
        is_flat = any(plane.min() == plane.max() for plane in voxels)
        if is_flat and store.objects.size(f"{path}/{_SHARD}") is None:
            return f"{volume_id}: its voxels are gone"
    except (OSError, EtlError, RuntimeError, ValueError) as error:
        return f"{volume_id}: {type(error).__name__}: {error}"
    return voxels


def jpeg(grey: NDArray[np.uint8], largest_px: int, quality: int) -> bytes:
    """A JPEG of a grey plane, made smaller where it is larger than so many pixels."""
    picture = Image.fromarray(grey)
    picture.thumbnail((largest_px, largest_px), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """A JPEG, to be put into a page."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
