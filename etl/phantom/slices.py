"""Slices of the synthetic release, as the official one stores them: 16-bit greyscale PNG, HU + 32768."""

from __future__ import annotations

from zlib import Z_RLE

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from etl.imaging.png import STORED_ZERO_HU
from etl.phantom.anatomy import Canvas, paint_body
from etl.phantom.lesions import clear_surroundings, paint_lesion
from etl.phantom.plan import Run, Series

NOISE_BODY_HU = 8.0
NOISE_AIR_HU = 2.0
Stored = npt.NDArray[np.uint16]


def draw_slice(series: Series, run: Run, slice_index: int, seed: int) -> Stored:
    """Return one slice as the release stores it: HU + 32768, shape (rows, columns)."""
    canvas = Canvas(series.grid)
    z_mm, interval_mm = run.z_mm(slice_index), run.plan.interval_mm
    trunk = paint_body(canvas, series.body, z_mm)
    for lesion in run.lesions:
        clear_surroundings(canvas, lesion, z_mm, interval_mm)
    for lesion in run.lesions:
        paint_lesion(canvas, lesion, z_mm, interval_mm)
    rng = np.random.default_rng((seed, *series.key, slice_index))
    noise = rng.standard_normal(canvas.hu.shape, np.float32)
    noise *= NOISE_AIR_HU + (NOISE_BODY_HU - NOISE_AIR_HU) * trunk
    hu = np.clip(np.rint(canvas.hu + noise), -1024, 3071)
    axis_px = np.arange(series.grid.size) - (series.grid.size - 1) / 2
    outside = axis_px[None, :] ** 2 + axis_px[:, None] ** 2 > (series.grid.size / 2) ** 2
    hu[outside] = series.plan.padding_hu
    stored: Stored = (hu + STORED_ZERO_HU).astype(np.uint16)
    return stored


def encode_png(stored: Stored) -> bytes:
    """Return a 16-bit greyscale PNG of an array of shape (rows, columns)."""
    return iio.imwrite(
        "<bytes>", stored, extension=".png", plugin="pillow", compress_level=1, compress_type=Z_RLE
    )
