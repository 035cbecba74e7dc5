"""The two masks of a slice: on slices made by hand, on the phantom's anatomy and table, on real slices."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from etl.imaging.body import body_mask, measure_masks
from etl.imaging.hounsfield import to_hu
from etl.phantom.anatomy import Canvas, Grid, paint_body
from etl.phantom.plan import Series, plan_release
from etl.phantom.slices import draw_slice
from tests.support.packed import unpack

AIR, FAT, FOAM, SHELL = -1000, -100, -900, -60


def slice_of(rows: int, columns: int, *parts: tuple[slice, slice, int]) -> NDArray[np.int16]:
    """Air with rectangles: rows, columns, HU."""
    hu = np.full((rows, columns), AIR, np.int16)
    for y, x, value in parts:
        hu[y, x] = value
    return hu


def test_the_location_mask_drops_what_holds_no_7x7_block() -> None:
    hu = slice_of(40, 60)
    found = measure_masks(hu, (1.0, 1.0))["location"]
    assert found.tolist() == (0, 59, 0, 39, 0, 0, 0)  # no mask: the whole slice, of no area
    hu[10:17, 20:27] = -767
    hu[30:36, :] = FAT
    hu[5:15, 50:57] = -768
    found = measure_masks(hu, (1.0, 1.0))["location"]
    assert found.tolist() == (20, 26, 10, 16, 49, 49 * 23, 49 * 13)
    hu[33:40, 53:60] = -767
    found = measure_masks(hu, (1.0, 1.0))["location"]
    assert found.tolist()[:4] == (20, 59, 10, 39)


def test_the_location_mask_is_not_clipped_and_ignores_the_spacing() -> None:
    hu = slice_of(20, 20, (slice(2, 12), slice(3, 15), 32767), (slice(15, 20), slice(0, 20), -32768))
    for spacing_mm in ((0.2, 0.2), (3.0, 3.0)):
        assert measure_masks(hu, spacing_mm)["location"].tolist()[:5] == (3, 14, 2, 11, 120)


def test_the_body_has_no_table_and_no_holes() -> None:
    body = (slice(20, 60), slice(20, 80), FAT)
    lungs = (slice(30, 45), slice(25, 45), -850)
    shell = (slice(70, 73), slice(0, 100), SHELL)
    arm = (slice(30, 50), slice(85, 95), FAT)
    found = measure_masks(slice_of(90, 100, body, lungs, shell, arm), (1.0, 1.0))["body"]
    assert found.tolist() == (20, 79, 20, 59, 2400, 2400 * 99 // 2, 2400 * 79 // 2)


def test_a_table_that_touches_the_body_is_removed() -> None:
    body = (slice(20, 60), slice(20, 80), FAT)
    touching = slice_of(90, 100, body, (slice(60, 63), slice(0, 100), SHELL))
    found = measure_masks(touching, (1.0, 1.0))["body"].tolist()
    assert found[:4] == (20, 79, 20, 62)  # the part right below the body looks the same
    assert found[4] == 2400 + 3 * 60
    # A closed shell with foam in it, joined to the body by a thin bridge.
    bridged = slice_of(
        110,
        100,
        body,
        (slice(60, 70), slice(50, 52), SHELL),
        (slice(70, 95), slice(0, 100), SHELL),
        (slice(72, 93), slice(2, 98), FOAM),
    )
    assert measure_masks(bridged, (1.0, 1.0))["body"].tolist()[:5] == (20, 79, 20, 59, 2400)


def test_no_body() -> None:
    hu = slice_of(30, 30, (slice(3, 5), slice(0, 30), FAT))
    assert measure_masks(hu, (1.0, 1.0))["body"].tolist() == (0,) * 7
    assert measure_masks(np.full((3, 3), FAT, np.int16), (1.0, 1.0))["body"].tolist() == (0,) * 7
    assert measure_masks(np.zeros((1, 1), np.int16), (20.0, 20.0))["body"].tolist() == (0, 0, 0, 0, 1, 0, 0)


@pytest.mark.parametrize("z_mm", [60.0, 150.0, 230.0, 330.0, 430.0, 520.0])
@pytest.mark.parametrize("pixel_mm", [0.6, 0.9])
def test_the_body_of_the_phantom_is_its_trunk(z_mm: float, pixel_mm: float) -> None:
    canvas = Canvas(Grid(512, pixel_mm))
    trunk = paint_body(canvas, plan_release(1, 0)[0].body, z_mm) > 0.5
    hu = np.rint(canvas.hu).astype(np.int16)
    assert ((hu > -500) & ~trunk).sum() > 1000  # the table
    found = unpack(body_mask(hu, (pixel_mm, pixel_mm)), 512)
    assert (found ^ trunk).sum() < 0.01 * trunk.sum()


def test_a_body_that_the_scanner_circle_cuts_stays_whole() -> None:
    series: Series = next(s for s in plan_release(8, 0) if s.plan.padding_hu == -3024)
    index, run = series.slices()[3]
    hu = to_hu(draw_slice(series, run, index, 0))
    measured = measure_masks(hu, (series.grid.pixel_mm,) * 2)
    half_x, half_y = (half / series.grid.pixel_mm for half in series.body.half_axes_mm(run.z_mm(index)))
    middle = (series.grid.size - 1) / 2
    box = measured["body"].tolist()[:4]
    expected = (middle - half_x, middle + half_x, middle - half_y, middle + half_y)
    assert box == pytest.approx([min(max(edge, 0), series.grid.size - 1) for edge in expected], abs=2)


def test_real_bodies_are_one_solid_piece_above_the_table(real_release: Path) -> None:
    rows = pd.read_csv(real_release / "DL_info_images.csv")
    compared = 0
    for name, spacing in set(zip(rows["File_name"], rows["Spacing_mm_px_"], strict=True)):
        png = real_release / "Images_png" / name[:12] / name[13:]
        if not png.is_file():
            continue
        hu = to_hu(iio.imread(png, plugin="pillow"))
        pixel_mm = float(spacing.split(",")[0])
        body = unpack(body_mask(hu, (pixel_mm, pixel_mm)), hu.shape[1])
        # Trunks in these slices, looked at one by one; tables and blankets lie outside.
        assert 45_000 < body.sum() * pixel_mm**2 < 105_000, name
        # A table's curve would leave its box emptier.
        y, x = np.nonzero(body)
        box = (np.ptp(y) + 1) * (np.ptp(x) + 1)
        assert 0.7 < body.sum() / box < 0.95, name
        assert (hu[body] > -500).mean() > 0.5, name
        compared += 1
    assert compared == 26 - 1
