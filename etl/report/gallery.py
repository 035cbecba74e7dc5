"""The gallery: key slices as a radiologist's figure, with what was measured on them drawn over them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from etl.export.key_slices import KeyImage, Marks, key_images, marks_of
from etl.export.protocol import Selected
from etl.export.selection import lesion_types
from etl.imaging.location import norm_location_px
from etl.imaging.window import to_grey
from etl.report.planes import THREADS, data_url, jpeg, read_plane
from etl.store.reader import Store

MOST_PICTURES = 240
MOST_BYTES = 7_500_000
"""Of all JPEGs; in the page they are a third more."""
LARGEST_PX = 512
QUALITY = 80
_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Figure:
    """One key slice through its window.

    Attributes:
        picture: JPEG, grey, of the whole plane; smaller than it where that has more than 512 pixels.
        marks: of each lesion in it, in voxels of the plane.
        lines: relative (x, y) of each lesion as published, in voxels of the plane; None where not known.
    """

    image: KeyImage
    picture: bytes
    marks: tuple[Marks, ...]
    lines: tuple[tuple[float, float] | None, ...]

    @property
    def data_url(self) -> str:
        """The picture, to be put into a page."""
        return data_url(self.picture)


@dataclass(frozen=True, eq=False)
class Gallery:
    """The pictures shown.

    Attributes:
        key_slices: how many there are in the version; a picture is one of them in one window.
        failed: how many could not be read, and why the first one could not.
    """

    figures: tuple[Figure, ...]
    key_slices: int
    failed: tuple[str, ...]


def make_gallery(store: Store, tables: tuple[pd.DataFrame, ...], first: Sequence[int]) -> Gallery:
    """A random sample of key slices, always the same one, after those of the lesions named.

    Args:
        tables: lesions, volumes and slices of the version.
        first: lesion_ids that are shown whatever the sample, where there is room.
    """
    lesions, volumes, slices = tables
    key = ["volume_id", "key_slice_index"]
    chosen = sample(lesions, first, MOST_PICTURES)
    wanted = lesions.merge(chosen[key].drop_duplicates(), on=key)
    order = {lesion_id: place for place, lesion_id in enumerate(chosen["lesion_id"])}
    images = key_images(Selected(wanted, volumes[volumes["volume_id"].isin(wanted["volume_id"])]))
    images.sort(key=lambda image: min(order.get(lesion.lesion_id, len(order)) for lesion in image.lesions))
    places = _Places(wanted, volumes, slices)

    figures: list[Figure] = []
    failed: list[str] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(images), _AT_ONCE):
            for found in pool.map(
                lambda image: _figure(store, image, places), images[start : start + _AT_ONCE]
            ):
                if isinstance(found, str):
                    failed.append(found)
                else:
                    figures.append(found)
            if sum(len(figure.picture) for figure in figures) > MOST_BYTES:
                break
    while sum(len(figure.picture) for figure in figures) > MOST_BYTES:
        figures.pop()
    return Gallery(tuple(figures), len(lesions.drop_duplicates(key)), tuple(failed))


def sample(lesions: pd.DataFrame, first: Sequence[int], count: int, seed: int = 0) -> pd.DataFrame:
    """Rows of lesions: those named, then others at random, evenly from each type and split.

    Args:
        first: lesion_ids.
        count: of rows, at most.
    """
    named = lesions[lesions["lesion_id"].isin(first)]
    named = named.iloc[np.argsort([list(first).index(lesion_id) for lesion_id in named["lesion_id"]])]
    others = lesions[~lesions["lesion_id"].isin(first)].sample(frac=1, random_state=seed)
    turn = others.groupby([lesion_types(others), others["split"]]).cumcount()
    others = others.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    return pd.concat([named, others]).head(count)


class _Places:
    """Where relative positions lie in the planes of some key slices."""

    def __init__(self, lesions: pd.DataFrame, volumes: pd.DataFrame, slices: pd.DataFrame) -> None:
        self.volumes = {row.volume_id: row for row in volumes.itertuples(index=False)}
        near = slices[slices["volume_id"].isin(lesions["volume_id"])]
        near = near[near["slice_index"].isin(lesions["key_slice_index"])]
        self.slices = {(row.volume_id, row.slice_index): row for row in near.itertuples(index=False)}
        self.masked = "location_mask_row_first" in slices

    def lines(self, lesion: Any) -> tuple[float, float] | None:
        """(x, y) in voxels of the stored plane: the centre of its box, where the row is of this slice."""
        if not self.masked:
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


def _figure(store: Store, image: KeyImage, places: _Places) -> Figure | str:
    """The figure, or why there is none."""
    plane = read_plane(store, image.volume_id, places.volumes[image.volume_id].path, image.plane)
    if isinstance(plane, str):
        return plane
    lines = tuple(places.lines(lesion) for lesion in image.lesions)
    marks = tuple(map(marks_of, image.lesions))
    return Figure(image, jpeg(to_grey(plane, image.window_hu), LARGEST_PX, QUALITY), marks, lines)
