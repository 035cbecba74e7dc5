"""The body of the synthetic release: Hounsfield units of an axial slice at any height.

Millimetres throughout. x runs from the patient's right to the left and y from front to back, both from the
scanner's axis; z runs from the top of the lungs towards the feet. Point samples with edges one pixel wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

AIR_HU = -1000.0
LUNG_HU = -850.0
FAT_HU = -95.0
SKIN_FAT_HU = -105.0
CHEST_HU = 35.0
MUSCLE_HU = 50.0
LIVER_HU = 75.0
KIDNEY_HU = 110.0
MARROW_HU = 250.0
CORTEX_HU = 600.0


class Grid(NamedTuple):
    """Square pixel grid of a slice, centred on the scanner's axis."""

    size: int
    pixel_mm: float

    def axis_mm(self) -> Image:
        """Return pixel centres in mm, shape (size,); equal for rows and columns."""
        return ((np.arange(self.size) - (self.size - 1) / 2) * self.pixel_mm).astype(np.float32)

    def to_px(self, position_mm: float) -> float:
        """Return the 1-based pixel coordinate, as in the CSV, of a position in mm."""
        return position_mm / self.pixel_mm + (self.size + 1) / 2

    def to_mm(self, position_px: float) -> float:
        """Return the position in mm of a 1-based pixel coordinate."""
        return (position_px - (self.size + 1) / 2) * self.pixel_mm


class Ellipsoid(NamedTuple):
    """An organ: centre and half axes along x, y, z in mm, painted with a constant value."""

    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    half_z: float
    hu: float


# Painted in this order; later ones lie on top. Very long ones are tubes.
CHEST = (
    Ellipsoid(-74, 0, 140, 54, 70, 135, LUNG_HU),
    Ellipsoid(74, 0, 140, 54, 70, 135, LUNG_HU),
    Ellipsoid(18, -32, 215, 52, 42, 55, 45),
    Ellipsoid(0, 5, 40, 9, 9, 85, AIR_HU),
    Ellipsoid(-22, 5, 130, 14, 6, 16, AIR_HU),
    Ellipsoid(22, 5, 130, 14, 6, 16, AIR_HU),
)
ABDOMEN = (
    Ellipsoid(-56, -5, 325, 66, 62, 78, LIVER_HU),
    Ellipsoid(88, 25, 310, 30, 34, 50, 65),
    Ellipsoid(52, -38, 315, 38, 26, 42, 30),
    Ellipsoid(52, -52, 315, 24, 9, 30, -950),
    Ellipsoid(-58, 35, 385, 28, 24, 58, KIDNEY_HU),
    Ellipsoid(58, 35, 385, 28, 24, 58, KIDNEY_HU),
    Ellipsoid(-40, 46, 450, 20, 17, 110, MUSCLE_HU),
    Ellipsoid(40, 46, 450, 20, 17, 110, MUSCLE_HU),
    Ellipsoid(-80, -20, 430, 22, 18, 60, 30),
    Ellipsoid(-80, -24, 430, 12, 10, 40, -700),
    Ellipsoid(92, 5, 410, 18, 20, 70, 30),
    Ellipsoid(0, -48, 385, 70, 13, 18, 35),
    Ellipsoid(-25, -25, 425, 26, 14, 16, 40),
    Ellipsoid(30, -20, 455, 30, 16, 16, 40),
    Ellipsoid(-30, -45, 470, 34, 13, 16, 35),
    Ellipsoid(45, -48, 495, 26, 14, 18, 40),
    Ellipsoid(0, -32, 555, 40, 32, 42, 8),
)
VESSELS = (
    Ellipsoid(9, 26, 260, 11, 11, 700, 150),
    Ellipsoid(-18, 24, 370, 11, 10, 400, 130),
)
BACK = (
    Ellipsoid(-36, 76, 300, 28, 17, 3000, MUSCLE_HU),
    Ellipsoid(36, 76, 300, 28, 17, 3000, MUSCLE_HU),
    Ellipsoid(-92, 18, 530, 18, 46, 65, CORTEX_HU),
    Ellipsoid(-92, 18, 530, 13, 40, 60, 180),
    Ellipsoid(92, 18, 530, 18, 46, 65, CORTEX_HU),
    Ellipsoid(92, 18, 530, 13, 40, 60, 180),
)


@dataclass(frozen=True)
class Body:
    """One person: the size of the trunk relative to the standard one, and the course of lung vessels.

    Attributes:
        scale: factor on x and y; z is not scaled.
        lung_vessels: (x, y) in mm at z = 0 and slopes (dx, dy) in mm per mm, one row each.
    """

    scale: float
    lung_vessels: tuple[tuple[float, float, float, float], ...]

    def half_axes_mm(self, z_mm: float) -> tuple[float, float]:
        """Return half width and half depth of the trunk at a height."""
        width = np.interp(z_mm, (0, 60, 170, 330, 430, 560), (138, 158, 168, 160, 156, 172))
        depth = np.interp(z_mm, (0, 60, 170, 330, 430, 560), (94, 106, 114, 110, 104, 108))
        return float(width) * self.scale, float(depth) * self.scale


def ellipse_alpha(
    x: Image, y: Image, centre: tuple[float, float], half: tuple[float, float], pixel_mm: float
) -> Image:
    """Return the share of each pixel inside an ellipse with a soft edge, shape (len(y), len(x)), 0..1."""
    radius = np.hypot((x[None, :] - centre[0]) / half[0], (y[:, None] - centre[1]) / half[1])
    alpha: Image = np.clip((1 - radius) * (min(half) / pixel_mm) + 0.5, 0, 1).astype(np.float32)
    return alpha


class Canvas:
    """A slice being painted, in HU; it starts as air."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.axis_mm = grid.axis_mm()
        self.hu: Image = np.full((grid.size, grid.size), AIR_HU, np.float32)

    def blend(self, where: tuple[slice, slice], alpha: Image, hu: float) -> None:
        """Mix `hu` into the pixels of `where` by their share `alpha`."""
        self.hu[where] += alpha * (hu - self.hu[where])

    def window(self, x: float, y: float, reach_x: float, reach_y: float) -> tuple[slice, slice]:
        """Return rows and columns within a distance of a point, in mm; empty outside the slice."""
        low = np.searchsorted(self.axis_mm, (y - reach_y, x - reach_x))
        high = np.searchsorted(self.axis_mm, (y + reach_y, x + reach_x), side="right")
        return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))

    def ellipse(
        self, x: float, y: float, half_x: float, half_y: float, hu: float, within: Image | None = None
    ) -> Image:
        """Paint an ellipse, limited to `within` (share of each pixel, whole slice); return its own share."""
        margin = 2 * self.grid.pixel_mm
        where = self.window(x, y, half_x + margin, half_y + margin)
        rows, columns = where
        alpha = ellipse_alpha(
            self.axis_mm[columns], self.axis_mm[rows], (x, y), (half_x, half_y), self.grid.pixel_mm
        )
        self.blend(where, alpha if within is None else alpha * within[where], hu)
        return alpha

    def organ(self, organ: Ellipsoid, z_mm: float, scale: float, within: Image | None = None) -> None:
        """Paint the cross-section of an ellipsoid at a height."""
        height = (z_mm - organ.z) / organ.half_z
        share = np.sqrt(max(0.0, 1 - height * height)) * scale
        if share * min(organ.half_x, organ.half_y) > self.grid.pixel_mm:
            self.ellipse(
                organ.x * scale, organ.y * scale, organ.half_x * share, organ.half_y * share, organ.hu, within
            )


def _table(canvas: Canvas, top_mm: float) -> None:
    """Paint a curved couch: a thin shell around foam."""
    x, y = canvas.axis_mm[None, :], canvas.axis_mm[:, None]
    rows = slice(int(np.searchsorted(canvas.axis_mm, top_mm - 25)), canvas.grid.size)
    middle = top_mm + 12 - x * x / 2400
    for half_thickness, hu in ((12.0, -60.0), (10.0, -900.0)):
        depth = np.abs(y[rows] - middle)
        alpha = np.clip((half_thickness - depth) / canvas.grid.pixel_mm + 0.5, 0, 1)
        alpha *= np.abs(x) < 200 + half_thickness
        canvas.blend((rows, slice(None)), alpha.astype(np.float32), hu)


def _ribs(canvas: Canvas, z_mm: float, half: tuple[float, float]) -> None:
    """Paint ribs, which slope down towards the front, so that a slice cuts them into pieces."""
    x, y = canvas.axis_mm[None, :], canvas.axis_mm[:, None]
    radius = np.hypot(x / (half[0] - 26), y / (half[1] - 22))
    shell = np.clip((4 - np.abs(radius - 1) * half[1]) / canvas.grid.pixel_mm + 0.5, 0, 1)
    slope = np.clip((np.cos(2 * np.pi * (z_mm + 0.45 * y) / 30) - 0.1) * 6, 0, 1)
    canvas.blend((slice(None), slice(None)), (shell * slope).astype(np.float32), 450)


def _spine(canvas: Canvas, z_mm: float, scale: float) -> None:
    """Paint vertebral bodies and discs, the canal behind them, and the arch."""
    s = scale
    if z_mm % 34 < 7:
        canvas.ellipse(0, 58 * s, 21 * s, 16 * s, 90)
    else:
        canvas.ellipse(0, 58 * s, 22 * s, 17 * s, CORTEX_HU)
        canvas.ellipse(0, 58 * s, 19.5 * s, 14.5 * s, MARROW_HU)
    canvas.ellipse(0, 82 * s, 12.5 * s, 11.5 * s, CORTEX_HU)
    canvas.ellipse(0, 95 * s, 3.5 * s, 8 * s, 420)
    canvas.ellipse(0, 82 * s, 9 * s, 8.5 * s, 20)


def paint_body(canvas: Canvas, body: Body, z_mm: float) -> Image:
    """Paint a person lying on the scanner's table at a height.

    Returns:
        The share of each pixel inside the trunk, shape (rows, columns), 0..1.
    """
    scale, half = body.scale, body.half_axes_mm(z_mm)
    _table(canvas, top_mm=118 * scale)
    trunk = canvas.ellipse(0, 0, *half, SKIN_FAT_HU)
    whole = np.zeros_like(canvas.hu)
    whole[canvas.window(0, 0, *(h + 2 * canvas.grid.pixel_mm for h in half))] = trunk
    canvas.ellipse(0, 0, half[0] - 14, half[1] - 12, MUSCLE_HU)
    abdominal = float(np.clip((z_mm - 275) / 30, 0, 1))
    inner_half = half[0] - 28, half[1] - 24
    canvas.ellipse(0, 0, *inner_half, CHEST_HU + abdominal * (FAT_HU - CHEST_HU))
    inner = ellipse_alpha(canvas.axis_mm, canvas.axis_mm, (0, 0), inner_half, canvas.grid.pixel_mm)
    for organ in CHEST:
        canvas.organ(organ, z_mm, scale, inner)
    if 12 < z_mm < 260:
        for x, y, dx, dy in body.lung_vessels:
            canvas.ellipse((x + dx * z_mm) * scale, (y + dy * z_mm) * scale, 1.9, 2.3, 20, inner)
        canvas.organ(CHEST[2], z_mm, scale, inner)
    if z_mm < 300:
        _ribs(canvas, z_mm, half)
    for organ in ABDOMEN:
        canvas.organ(organ, z_mm, scale, inner)
    for organ in (*VESSELS, *BACK):
        canvas.organ(organ, z_mm, scale)
    _spine(canvas, z_mm, scale)
    return whole
