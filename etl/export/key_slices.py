"""Key slices as images: each one once per display window of its lesions, plain or with marks drawn on it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from etl.export.protocol import Selected
from etl.imaging.window import to_grey
from etl.store.key_slabs import plane_positions, read_planes_at
from etl.store.reader import Store

RED, GREEN, YELLOW = (255, 48, 48), (0, 220, 0), (255, 235, 0)
CENTRE_RADIUS_PX = 1

Segment = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class KeyImage:
    """One key slice in one display window: the plane of stored voxels nearest to it.

    Attributes:
        image_id: smallest lesion_id in it, plus 1.
        path: `<split>/<key slice>_<low>_<high>.png`, with the window in HU; without it in HU.
        plane: index of the plane along z.
        shape: (y, x) of the plane.
        spacing_mm: (y, x) of the plane.
        spacing_z_mm: between planes of the volume.
        window_hu: (low, high); of the first lesion where the image is in HU.
        lesions: rows of the lesions table, as named tuples.
    """

    image_id: int
    path: str
    split: str
    volume_id: str
    plane: int
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    spacing_z_mm: float
    window_hu: tuple[float, float]
    lesions: tuple[Any, ...]

    def grey(self, store: Store) -> NDArray[np.uint8]:
        """Return the plane in its window, (y, x)."""
        return to_grey(np.asarray(store.array(self.volume_id)[self.plane]), self.window_hu)

    def hu(self, store: Store, neighbours_mm: float | None = None) -> NDArray[np.float32 | np.int16]:
        """Return the plane in HU, (y, x), or with a neighbour on both sides, (y, x, 3).

        Neighbours between stored planes are interpolated linearly; outside the volume they are air.
        """
        array = store.array(self.volume_id)
        if neighbours_mm is None:
            return np.asarray(array[self.plane])
        positions = plane_positions(self.plane, 3, neighbours_mm / self.spacing_z_mm)
        return np.moveaxis(read_planes_at(array, positions), 0, -1)


@dataclass(frozen=True)
class Marks:
    """The marks of one lesion as (x1, y1, x2, y2) in pixels; the centre of the first pixel is at 0.

    Attributes:
        long_diameter, short_diameter: the two ends of each.
        box: two opposite corners.
    """

    long_diameter: Segment
    short_diameter: Segment
    box: Segment


def key_images(selected: Selected) -> list[KeyImage]:
    """Return the images of the selected lesions, ordered by image_id; in HU one for all windows."""
    volumes = {row.volume_id: row for row in selected.volumes.itertuples(index=False)}
    keys = ["volume_id", "key_slice_index"]
    if not selected.pictures.hu:
        keys += ["window_low_hu", "window_high_hu"]
    images = []
    for (volume_id, *_), rows in selected.lesions.groupby(keys, sort=False):
        volume, lesions = volumes[volume_id], tuple(rows.itertuples(index=False))
        first = lesions[0]
        low, high = first.window_low_hu, first.window_high_hu
        stem = first.file_name.removesuffix(".png")
        stem += "" if selected.pictures.hu else f"_{low:g}_{high:g}"
        images.append(
            KeyImage(
                image_id=int(first.lesion_id) + 1,
                path=f"{volume.split}/{stem}.png",
                split=volume.split,
                volume_id=volume_id,
                plane=min(round(first.z_vox), int(volume.shape_z) - 1),
                shape=(int(volume.shape_y), int(volume.shape_x)),
                spacing_mm=(float(volume.spacing_y_mm), float(volume.spacing_x_mm)),
                spacing_z_mm=float(volume.spacing_z_mm),
                window_hu=(float(low), float(high)),
                lesions=lesions,
            )
        )
    return images


def marks_of(lesion: Any) -> Marks:
    """Return the marks of one row of the lesions table, in voxels of its plane."""

    def segment(name: str) -> Segment:
        x1, y1, x2, y2 = (float(getattr(lesion, f"{name}_{end}_vox")) for end in ("x1", "y1", "x2", "y2"))
        return x1, y1, x2, y2

    return Marks(segment("recist_long"), segment("recist_short"), segment("bbox"))


def draw_marks(grey: NDArray[np.uint8], marks: Iterable[Marks], scale: int = 1) -> NDArray[np.uint8]:
    """Return a slice in colour with marks drawn on it, as in the release's review images.

    RECIST diameters are red, boxes green, the boxes' centres yellow. Lines are one pixel wide, so a larger
    `scale` hides less of the lesion.

    Args:
        grey: (y, x).
        scale: pixels of the result per pixel of the slice, along each axis.

    Returns:
        (y * scale, x * scale, 3).
    """
    height, width = grey.shape
    picture = Image.fromarray(grey).resize((width * scale, height * scale), Image.Resampling.BILINEAR)
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)

    def scaled(value: float) -> int:
        return round((value + 0.5) * scale - 0.5)

    for mark in marks:
        x1, y1, x2, y2 = mark.box
        draw.rectangle(tuple(map(scaled, mark.box)), outline=GREEN)
        for diameter in (mark.long_diameter, mark.short_diameter):
            draw.line(tuple(map(scaled, diameter)), fill=RED)
        x, y, r = scaled((x1 + x2) / 2), scaled((y1 + y2) / 2), CENTRE_RADIUS_PX
        draw.rectangle((x - r, y - r, x + r, y + r), fill=YELLOW)
    return np.asarray(picture)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of grey (y, x) or colour (y, x, 3) pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
