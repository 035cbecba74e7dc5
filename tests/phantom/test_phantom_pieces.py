from __future__ import annotations

import csv
import io
import itertools
import math
import struct
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.phantom import encode_png, format_rows
from etl.phantom.anatomy import Grid
from etl.phantom.archives import archive_parts
from etl.phantom.lesions import Lesion, coverage
from etl.release.annotation_columns import COLUMNS


def test_rows_are_formatted_exactly() -> None:
    row = ["000001_01_01_109.png", "1", "1", "1", "109", "233.537, 95.0204", "1, 2, 3, 4", "11.9677, 5.10387"]
    row += ["0.44666, 0.283794, 0.434454", "3", "0", "103, 115", "0.488281, 0.488281, 5", "512, 512"]
    row += ["-182.5, 322.5", "F", "NaN", "3"]
    assert format_rows([row]) == (
        b"File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
        b"Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
        b"Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test\n"
        b'000001_01_01_109.png,1,1,1,109,"233.537, 95.0204","1, 2, 3, 4","11.9677, 5.10387",'
        b'"0.44666, 0.283794, 0.434454",3,0,"103, 115","0.488281, 0.488281, 5","512, 512",'
        b'"-182.5, 322.5",F,NaN,3\n'
    )


def test_formatting_is_that_of_the_real_rows(real_release: Path) -> None:
    data = (real_release / "DL_info_part.csv").read_bytes()
    header, *rows = csv.reader(io.StringIO(data.decode("ascii"), newline=""))
    assert header == list(COLUMNS)
    assert format_rows(rows) == data


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (512, 512)])
def test_png_is_16_bit_grey_and_lossless(shape: tuple[int, int]) -> None:
    stored = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    data = encode_png(stored)
    assert struct.unpack(">4sIIBBBBB", data[12:29]) == (b"IHDR", shape[1], shape[0], 16, 0, 0, 0, 0)
    decoded = iio.imread(data, plugin="pillow", extension=".png")
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, stored)


def test_grid_counts_pixels_from_one() -> None:
    grid = Grid(4, 0.5)
    assert grid.axis_mm().tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert [grid.to_px(position) for position in grid.axis_mm().tolist()] == [1, 2, 3, 4]
    assert grid.to_mm(grid.to_px(0.3)) == pytest.approx(0.3)


half_axis = st.floats(2.5, 15)


@pytest.mark.slow
@given(
    half_mm=st.tuples(half_axis, half_axis, half_axis),
    centre_mm=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-6, 6)),
    angle=st.floats(0, math.pi),
    interval_mm=st.sampled_from([1.0, 2.5, 5.0]),
)
def test_a_lesion_keeps_its_volume_and_its_centre(
    half_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float],
    angle: float,
    interval_mm: float,
) -> None:
    lesion = Lesion(centre_mm, half_mm, angle, hu=1, background_hu=0, coarse_type=7)
    grid = Grid(51, 0.7)
    axis = grid.axis_mm()
    heights = np.arange(-30, 31) * interval_mm
    shares = np.stack([coverage(lesion, axis, axis, 0.7, z, interval_mm) for z in heights]).astype(float)
    assert shares.min() >= 0
    assert shares.max() <= 1 + 1e-6
    volume = 4 / 3 * math.pi * math.prod(half_mm)
    assert shares.sum() * 0.7**2 * interval_mm == pytest.approx(volume, rel=0.02)
    total = shares.sum()
    centroid = [
        float((shares.sum((0, 1)) * axis).sum() / total),
        float((shares.sum((0, 2)) * axis).sum() / total),
        float((shares.sum((1, 2)) * heights).sum() / total),
    ]
    assert centroid == pytest.approx(centre_mm, abs=0.02)


@given(st.data())
def test_archives_share_the_slices(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=8))
    total = sum(counts)
    archives = data.draw(st.integers(1, min(99, total)))
    cuts = archive_parts(counts, archives)
    edges = [0, *cuts, total]
    assert len(cuts) == archives - 1
    assert all(a < b for a, b in itertools.pairwise(edges))
    if archives > 1 and max(counts) > 1:
        ends = set(np.cumsum(counts).tolist())
        assert any(cut not in ends for cut in cuts)
