"""Lesions of the synthetic release: ellipsoids whose weighted centroid in the slices is their centre.

Along z, a lesion is averaged with a triangle whose width at half height is the slice interval. Sums over
slices of such averages keep the first moment for every size and position; box averages do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.phantom.anatomy import Canvas, Image, ellipse_alpha

CLEAR_MARGIN_MM = 4.0
_SUBPIXELS = 5


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid in the body; one principal axis runs along z.

    Attributes:
        centre_mm: (x, y, z) in the body, see `anatomy`.
        half_mm: long and short half axis in the slice, half axis along z.
        angle_rad: direction of the long axis, from +x towards +y.
        hu: value inside.
        background_hu: value of everything else within reach.
        coarse_type: 1..8, as the CSV numbers them.
    """

    centre_mm: tuple[float, float, float]
    half_mm: tuple[float, float, float]
    angle_rad: float
    hu: float
    background_hu: float
    coarse_type: int

    def clear_radius_mm(self) -> float:
        """Return the distance in the slice within which there is only the lesion and its background."""
        return self.half_mm[0] + CLEAR_MARGIN_MM

    def clear_half_depth_mm(self, interval_mm: float) -> float:
        """Return the same distance along z, in a run of slices with this interval."""
        return self.half_mm[2] + 2 * interval_mm

    def cross_section_mm(self, z_mm: float) -> tuple[float, float]:
        """Return long and short half axis of the section at a height; zeros above and below the lesion."""
        height = (z_mm - self.centre_mm[2]) / self.half_mm[2]
        share = float(np.sqrt(max(0.0, 1 - height * height)))
        return self.half_mm[0] * share, self.half_mm[1] * share


def _triangle_integral(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the integral from -1 to z of the unit triangle on [-1, 1]."""
    z = np.clip(z, -1, 1)
    return 0.5 + z - 0.5 * z * np.abs(z)


def coverage(
    lesion: Lesion, x_mm: Image, y_mm: Image, pixel_mm: float, z_mm: float, interval_mm: float
) -> Image:
    """Return the share of the lesion in each voxel, shape (len(y_mm), len(x_mm)), 0..1.

    It is exact along z, and averaged over 5 x 5 points in a pixel.
    """
    shifts = ((np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5) * pixel_mm
    x = (x_mm.astype(np.float64)[:, None] + shifts).ravel()[None, :] - lesion.centre_mm[0]
    y = (y_mm.astype(np.float64)[:, None] + shifts).ravel()[:, None] - lesion.centre_mm[1]
    cos, sin = np.cos(lesion.angle_rad), np.sin(lesion.angle_rad)
    along, across = (x * cos + y * sin) / lesion.half_mm[0], (y * cos - x * sin) / lesion.half_mm[1]
    half_chord = lesion.half_mm[2] * np.sqrt(np.maximum(0, 1 - along * along - across * across))
    middle = lesion.centre_mm[2] - z_mm
    share = _triangle_integral((middle + half_chord) / interval_mm)
    share -= _triangle_integral((middle - half_chord) / interval_mm)
    blocks = share.reshape(len(y_mm), _SUBPIXELS, len(x_mm), _SUBPIXELS)
    averaged: Image = blocks.mean(axis=(1, 3)).astype(np.float32)
    return averaged


def clear_surroundings(canvas: Canvas, lesion: Lesion, z_mm: float, interval_mm: float) -> None:
    """Replace the surroundings of a lesion with its background."""
    if abs(z_mm - lesion.centre_mm[2]) > lesion.clear_half_depth_mm(interval_mm):
        return
    x, y, _ = lesion.centre_mm
    pixel_mm = canvas.grid.pixel_mm
    radius = lesion.clear_radius_mm() + pixel_mm
    where = canvas.window(x, y, radius + pixel_mm, radius + pixel_mm)
    rows, columns = where
    alpha = ellipse_alpha(canvas.axis_mm[columns], canvas.axis_mm[rows], (x, y), (radius, radius), pixel_mm)
    canvas.blend(where, alpha, lesion.background_hu)


def paint_lesion(canvas: Canvas, lesion: Lesion, z_mm: float, interval_mm: float) -> None:
    """Add a lesion to a slice whose surroundings were cleared."""
    if abs(z_mm - lesion.centre_mm[2]) >= lesion.half_mm[2] + interval_mm:
        return
    x, y, _ = lesion.centre_mm
    reach = lesion.half_mm[0] + 2 * canvas.grid.pixel_mm
    where = canvas.window(x, y, reach, reach)
    rows, columns = where
    share = coverage(
        lesion, canvas.axis_mm[columns], canvas.axis_mm[rows], canvas.grid.pixel_mm, z_mm, interval_mm
    )
    canvas.blend(where, share, lesion.hu)
