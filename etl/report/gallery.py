"""The gallery: key slices in their display windows, with the release's measurements drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from etl.core.errors import EtlError
from etl.export.key_slices import KeyImage, Marks, key_images, marks_of
from etl.export.protocol import Selected
from etl.export.selection import lesion_types, with_patients_split
from etl.imaging.location import norm_location_px
from etl.imaging.window import to_grey
from etl.report.voxels import THREADS, encode_jpeg, read_planes
from etl.store.masks import StoredMasks
from etl.store.reader import Store

MAX_PICTURES = 240
MAX_BYTES = 7_500_000
"""Total of the JPEGs; embedded in the page they take a third more."""
LARGEST_PX = 512
_PER_BATCH = 16


@dataclass(frozen=True, eq=False)
class Figure:
    """One key slice in its window.

    Attributes:
        jpeg: grey, the whole plane, at most 512 pixels along a side.
        marks: marks of each lesion, in voxels of the plane.
        lines: published relative (x, y) of each lesion, in voxels of the plane; None if unknown.
        masks: of each lesion in the plane by others, (y, x); None without one.
    """

    image: KeyImage
    jpeg: bytes
    marks: tuple[Marks, ...]
    lines: tuple[tuple[float, float] | None, ...]
    masks: tuple[NDArray[np.bool_] | None, ...]


@dataclass(frozen=True, eq=False)
class Gallery:
    """The pictures of a page.

    Attributes:
        key_slices: number of key slices in the version; a figure is one of them in one window.
        failed: for each figure that could not be read, the reason.
    """

    figures: tuple[Figure, ...]
    key_slices: int
    failed: tuple[str, ...]

    def listing(self) -> pd.DataFrame:
        """Return a row for each lesion in the gallery: lesion_id, volume, file, plane and window."""
        names = ["lesion_id", "volume_id", "file_name", "plane", "window_low_hu", "window_high_hu"]
        rows = [
            (lesion.lesion_id, image.volume_id, lesion.file_name, image.plane, *image.window_hu)
            for image in (figure.image for figure in self.figures)
            for lesion in image.lesions
        ]
        return pd.DataFrame(rows, columns=names)


def make_gallery(store: Store, tables: tuple[pd.DataFrame, ...], first: Sequence[int]) -> Gallery:
    """Return the key slices of the given lesions, then a random sample of others, always the same.

    Args:
        tables: lesions, volumes and slices of the version.
        first: lesion_ids to show first, as far as there is room.
    """
    lesions, volumes, slices = tables
    key = ["volume_id", "key_slice_index"]
    chosen = sample(lesions, first, MAX_PICTURES)
    wanted = lesions.merge(chosen[key].drop_duplicates(), on=key)
    order = {lesion_id: place for place, lesion_id in enumerate(chosen["lesion_id"])}
    shown = volumes[volumes["volume_id"].isin(wanted["volume_id"])]
    images = key_images(Selected(wanted, with_patients_split(shown, lesions)))
    images.sort(key=lambda image: min(order.get(lesion.lesion_id, len(order)) for lesion in image.lesions))
    positions, masks = _Positions(wanted, volumes, slices), store.masks

    figures: list[Figure] = []
    failed: list[str] = []
    size = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(images), _PER_BATCH):
            batch = images[start : start + _PER_BATCH]
            for found in pool.map(lambda image: _figure(store, image, positions, masks), batch):
                if isinstance(found, str):
                    failed.append(found)
                elif size + len(found.jpeg) <= MAX_BYTES:
                    size += len(found.jpeg)
                    figures.append(found)
                else:
                    return Gallery(tuple(figures), len(lesions.drop_duplicates(key)), tuple(failed))
    return Gallery(tuple(figures), len(lesions.drop_duplicates(key)), tuple(failed))


def sample(lesions: pd.DataFrame, first: Sequence[int], count: int) -> pd.DataFrame:
    """Return rows of the given lesions, then random others, evenly from each type and split.

    Args:
        first: lesion_ids.
        count: largest number of rows.
    """
    named = lesions[lesions["lesion_id"].isin(first)]
    named = named.iloc[np.argsort([list(first).index(lesion_id) for lesion_id in named["lesion_id"]])]
    others = lesions[~lesions["lesion_id"].isin(first)].sample(frac=1, random_state=0)
    turn = others.groupby([lesion_types(others), others["split"]]).cumcount()
    others = others.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    return pd.concat([named, others]).head(count)


class _Positions:
    """Converts published relative positions into voxels of the planes of some key slices."""

    def __init__(self, lesions: pd.DataFrame, volumes: pd.DataFrame, slices: pd.DataFrame) -> None:
        self.volumes = {row.volume_id: row for row in volumes.itertuples(index=False)}
        near = slices[slices["volume_id"].isin(lesions["volume_id"])]
        near = near[near["slice_index"].isin(lesions["key_slice_index"])]
        self.slices = {(row.volume_id, row.slice_index): row for row in near.itertuples(index=False)}
        # Versions from before the masks lack these columns.
        self.has_masks = "location_mask_row_first" in slices

    def line(self, lesion: Any) -> tuple[float, float] | None:
        """Return (x, y) in voxels of the stored plane: the box's centre, if the row is of this slice."""
        if not self.has_masks:
            return None
        row, volume = self.slices[lesion.volume_id, lesion.key_slice_index], self.volumes[lesion.volume_id]
        x, y = (
            norm_location_px(
                axis,
                getattr(lesion, f"norm_{axis}"),
                getattr(row, f"location_mask_{side}_first"),
                getattr(row, f"location_mask_{side}_last"),
            )
            * getattr(volume, f"source_spacing_{axis}_mm")
            / getattr(volume, f"spacing_{axis}_mm")
            for axis, side in (("x", "column"), ("y", "row"))
        )
        return x, y


def _figure(store: Store, image: KeyImage, positions: _Positions, masks: StoredMasks) -> Figure | str:
    """Return the figure, or the reason that its plane or a mask can't be read."""
    planes = read_planes(store, image.volume_id, [image.plane])
    if isinstance(planes, str):
        return planes
    jpeg = encode_jpeg(to_grey(planes[0], image.window_hu), LARGEST_PX)
    lines = tuple(positions.line(lesion) for lesion in image.lesions)
    try:
        found = tuple(masks.plane(lesion.lesion_id, image.plane, image.shape) for lesion in image.lesions)
    except EtlError as error:
        return str(error)
    return Figure(image, jpeg, tuple(map(marks_of, image.lesions)), lines, found)
