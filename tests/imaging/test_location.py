from __future__ import annotations

import csv
from pathlib import Path
from random import Random

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.imaging.body import measure_masks
from etl.imaging.hounsfield import to_hu
from etl.imaging.location import fit_line, norm_location, norm_location_px


def test_a_location_worked_by_hand() -> None:
    # the centre of 4 and 12 is 8, at 8 - 2 of the 10 pixels from 2 to 12
    assert norm_location("x", 4.0, 12.0, 2, 12) == pytest.approx(0.996425 * 0.6 - 0.009063, abs=1e-15)
    assert norm_location("y", 4.0, 12.0, 2, 12) == pytest.approx(0.813521 * 0.6 + 0.119793, abs=1e-15)


def test_locations_of_arrays_and_of_a_mask_one_pixel_wide() -> None:
    found = norm_location("x", [1.0, 3.0], [3.0, 5.0], np.array([2, 4], np.int32), np.array([2, 8], np.int32))
    assert found.dtype == np.float64
    assert np.isnan(found[0])
    assert found[1] == -0.009063


@given(st.sampled_from("xy"), st.floats(1, 1024), st.integers(0, 500), st.integers(1, 500))
def test_the_pixel_of_a_location_is_the_box_s(axis: str, centre_px: float, first: int, width: int) -> None:
    norm = float(norm_location(axis, centre_px, centre_px, first, first + width))
    assert norm_location_px(axis, norm, first, first + width) == pytest.approx(centre_px - 1, abs=1e-6)


def test_published_locations_are_those_of_the_real_key_slices(real_release: Path) -> None:
    with (real_release / "DL_info_images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    differences = []
    for row in rows:
        series_id, index = row["File_name"].removesuffix(".png").rsplit("_", 1)
        png = real_release / "Images_png" / series_id / f"{index}.png"
        if png.is_file():
            mask = measure_masks(to_hu(iio.imread(png, plugin="pillow")), (1.0, 1.0))["location"]
            x1, y1, x2, y2 = map(float, row["Bounding_boxes"].split(","))
            x, y, _ = map(float, row["Normalized_lesion_location"].split(","))
            differences.append(norm_location("x", x1, x2, mask["column_first"], mask["column_last"]) - x)
            differences.append(norm_location("y", y1, y2, mask["row_first"], mask["row_last"]) - y)
    assert len(differences) == 2 * 26
    assert np.abs(differences).max() < 2e-6


def test_a_line_worked_by_hand() -> None:
    line = fit_line([0.0, 1.0, 2.0], [1.0, 2.0, 6.0])
    assert line is not None
    assert (line.slope, line.intercept, line.points) == pytest.approx((2.5, 0.5, 3))
    # the points are 0.5, -1 and 0.5 from it, with one degree of freedom
    assert (line.residual, line.largest_residual) == pytest.approx((np.sqrt(1.5), 1.0))


def test_two_points_have_no_residual_and_one_place_no_line() -> None:
    line = fit_line([3.0, 5.0], [1.0, 2.0])
    assert line is not None
    assert (line.slope, line.intercept, line.residual) == (0.5, -0.5, None)
    assert fit_line([], []) is None
    assert fit_line([3.0], [1.0]) is None
    assert fit_line([3.0, 3.0], [1.0, 2.0]) is None


@given(
    st.lists(st.tuples(st.integers(-500, 500), st.floats(-1, 1)), min_size=3, max_size=20).filter(
        lambda points: len({x for x, _ in points}) > 1
    ),
    st.randoms(use_true_random=False),
)
def test_a_line_is_numpys_and_does_not_depend_on_the_order(
    points: list[tuple[int, float]], random: Random
) -> None:
    x, y = zip(*points, strict=True)
    line = fit_line(x, y)
    assert line is not None
    middle = np.mean(x)
    slope, height = np.polyfit(np.array(x) - middle, y, 1)
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.intercept == pytest.approx(height - slope * middle, abs=1e-9)
    shuffled = list(points)
    random.shuffle(shuffled)
    assert fit_line(*zip(*shuffled, strict=True)) == line
