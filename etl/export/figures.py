"""Key slices with what was measured on them drawn in, for people to look at. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

RED, GREEN, YELLOW = (255, 48, 48), (0, 220, 0), (255, 235, 0)
CENTRE_RADIUS_PX = 1

Segment = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marks:
    """What is drawn of one lesion; (x1, y1, x2, y2) in pixels of the slice, the first one's centre at 0.

    Attributes:
        long_diameter, short_diameter: their two ends.
        box: two opposite corners.
    """

    long_diameter: Segment
    short_diameter: Segment
    box: Segment


def draw_marks(grey: NDArray[np.uint8], marks: Iterable[Marks], scale: int = 1) -> NDArray[np.uint8]:
    """A slice in colour, as the release draws its review images.

    RECIST diameters are red, boxes green, the boxes' centres yellow. Lines are one pixel wide, so a larger
    `scale` hides less of the lesion.

    Args:
        grey: (y, x).
        scale: pixels of the picture to one of the slice, along each axis.

    Returns:
        (y * scale, x * scale, 3).
    """
    height, width = grey.shape
    picture = Image.fromarray(grey).resize((width * scale, height * scale), Image.Resampling.BILINEAR)
    picture = picture.convert("RGB")
    draw = ImageDraw.Draw(picture)

    def place(value: float) -> int:
        return round((value + 0.5) * scale - 0.5)

    for mark in marks:
        x1, y1, x2, y2 = mark.box
        draw.rectangle(tuple(map(place, mark.box)), outline=GREEN)
        for diameter in (mark.long_diameter, mark.short_diameter):
            draw.line(tuple(map(place, diameter)), fill=RED)
        x, y, r = place((x1 + x2) / 2), place((y1 + y2) / 2), CENTRE_RADIUS_PX
        draw.rectangle((x - r, y - r, x + r, y + r), fill=YELLOW)
    return np.asarray(picture)
