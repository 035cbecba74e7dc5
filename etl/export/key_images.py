"""The pictures of an export: each key slice once for every display window that its lesions have."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from etl.export.selection import Selected
from etl.imaging.window import to_grey
from etl.store.reader import Store


@dataclass(frozen=True, eq=False)
class KeyImage:
    """One key slice seen through one window, in the plane of stored voxels nearest to it.

    Attributes:
        image_id: the least lesion_id in it, plus 1.
        path: `<split>/<key slice>_<low>_<high>.png`, the window in HU.
        plane: index of the plane along z.
        shape: (y, x) of the plane.
        spacing_mm: (y, x) of the plane.
        window_hu: (low, high).
        lesions: rows of the lesions table, named tuples.
    """

    image_id: int
    path: str
    split: str
    volume_id: str
    plane: int
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    window_hu: tuple[float, float]
    lesions: tuple[Any, ...]

    def grey(self, store: Store) -> NDArray[np.uint8]:
        """The plane through the window, (y, x)."""
        return to_grey(np.asarray(store.array(self.volume_id)[self.plane]), self.window_hu)


def key_images(selected: Selected) -> list[KeyImage]:
    """The images of the selected lesions, in the order of their ids."""
    volumes = {row.volume_id: row for row in selected.volumes.itertuples(index=False)}
    keys = ["volume_id", "key_slice_index", "window_low_hu", "window_high_hu"]
    images = []
    for (volume_id, _, low, high), rows in selected.lesions.groupby(keys, sort=False):
        volume, lesions = volumes[volume_id], tuple(rows.itertuples(index=False))
        first = lesions[0]
        stem = first.file_name.removesuffix(".png")
        images.append(
            KeyImage(
                image_id=int(first.lesion_id) + 1,
                path=f"{first.split}/{stem}_{low:g}_{high:g}.png",
                split=first.split,
                volume_id=volume_id,
                plane=min(round(first.z_vox), int(volume.shape_z) - 1),
                shape=(int(volume.shape_y), int(volume.shape_x)),
                spacing_mm=(float(volume.spacing_y_mm), float(volume.spacing_x_mm)),
                window_hu=(float(low), float(high)),
                lesions=lesions,
            )
        )
    return images


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of grey (y, x) or colour (y, x, 3) pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
