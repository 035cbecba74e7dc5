"""Lesions of a synthetic release lie in its pixels where its rows and the truth say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from etl.phantom import PhantomLesion
from tests.support.phantom_pixels import Phantom, Pixels, numbers, rows_of


def lesion_weights(
    pixels: Pixels, lesion: PhantomLesion
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Share of the lesion, by value, in the voxels around it: (weight, 1-based x, 1-based y, slice index)."""
    spacing_x, _, interval = lesion.spacing_mm
    reach_z = (lesion.depth_mm / 2 + interval) / interval
    radius = (lesion.diameter_mm / 2 + 2) / spacing_x
    indices = range(math.ceil(lesion.centre_slice - reach_z), math.floor(lesion.centre_slice + reach_z) + 1)
    size = len(pixels.hu(lesion.series_id, lesion.slice_index))
    columns, rows = (
        range(math.floor(centre - radius), min(math.ceil(centre + radius), size) + 1)
        for centre in lesion.centre_px
    )
    z, y, x = np.meshgrid(indices, rows, columns, indexing="ij")
    part = np.s_[rows[0] - 1 : rows[-1], columns[0] - 1 : columns[-1]]
    volume = np.stack([pixels.hu(lesion.series_id, index)[part] for index in indices])
    near = np.hypot(x - lesion.centre_px[0], y - lesion.centre_px[1]) <= radius
    weight = (volume[near] - lesion.background_hu) / (lesion.hu - lesion.background_hu)
    return weight, x[near], y[near], z[near]


@pytest.mark.slow
def test_lesions_lie_where_the_truth_and_the_csv_say(phantom: Phantom, pixels: Pixels) -> None:
    out, truth = phantom
    for row, lesion in zip(rows_of(out), truth.lesions, strict=True):
        weight, x, y, z = lesion_weights(pixels, lesion)
        centroid = [float((weight * axis).sum() / weight.sum()) for axis in (x, y, z)]
        assert centroid == pytest.approx([*lesion.centre_px, lesion.centre_slice], abs=0.15), lesion.file_name
        box = numbers(row["Bounding_boxes"])
        assert centroid[:2] == pytest.approx([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], abs=0.15)
        volume_mm3 = math.pi / 6 * lesion.diameter_mm * lesion.short_diameter_mm * lesion.depth_mm
        assert weight.sum() * math.prod(lesion.spacing_mm) == pytest.approx(volume_mm3, rel=0.06)


@pytest.mark.slow
def test_recist_runs_along_the_lesion(phantom: Phantom, pixels: Pixels) -> None:
    for row, lesion in zip(rows_of(phantom[0]), phantom[1].lesions, strict=True):
        if lesion.diameter_mm / lesion.short_diameter_mm < 1.25:
            continue
        weight, x, y, _ = lesion_weights(pixels, lesion)
        inside = weight > 0.5
        _, axes = np.linalg.eigh(np.cov(np.stack([x[inside], y[inside]])))
        recist = np.reshape(numbers(row["Measurement_coordinates"]), (4, 2))
        long = (recist[1] - recist[0]) / math.dist(recist[0], recist[1])
        assert abs(long @ axes[:, 1]) > math.cos(math.radians(15)), lesion.file_name


def test_lesions_have_their_value_and_nothing_else_is_near(phantom: Phantom, pixels: Pixels) -> None:
    for lesion in phantom[1].lesions:
        hu = pixels.hu(lesion.series_id, lesion.slice_index)
        axis = np.arange(1, len(hu) + 1)
        distance = np.hypot(axis[None, :] - lesion.centre_px[0], axis[:, None] - lesion.centre_px[1])
        distance_mm = distance * lesion.spacing_mm[0]
        if lesion.depth_mm > 4 * lesion.spacing_mm[2]:
            assert np.median(hu[distance_mm < 2]) == pytest.approx(lesion.hu, abs=10)
        around = hu[(distance_mm > lesion.diameter_mm / 2 + 1) & (distance_mm < lesion.clear_radius_mm - 0.5)]
        around = around[around > -1024]
        assert len(around) > 20
        assert np.abs(around - lesion.background_hu).max() < 6 * 8


def naive_body_box(stored: np.ndarray) -> tuple[int, int, int, int]:
    windows = np.lib.stride_tricks.sliding_window_view(stored > 32000, (7, 7))
    opened = np.zeros(stored.shape, bool)
    for row, column in np.argwhere(windows.all(axis=(2, 3))):
        opened[row : row + 7, column : column + 7] = True
    rows, columns = np.nonzero(opened)
    if not rows.size:
        return 0, 0, stored.shape[1] - 1, stored.shape[0] - 1
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


@pytest.mark.slow
def test_published_locations_follow_the_recipe(phantom: Phantom, pixels: Pixels) -> None:
    heights: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row, lesion in zip(rows_of(phantom[0]), phantom[1].lesions, strict=True):
        left, top, right, bottom = naive_body_box(pixels.stored(lesion.series_id, lesion.slice_index))
        box = numbers(row["Bounding_boxes"])
        x = 0.996425 * ((box[0] + box[2]) / 2 - left) / (right - left) - 0.009063
        y = 0.813521 * ((box[1] + box[3]) / 2 - top) / (bottom - top) + 0.119793
        published = numbers(row["Normalized_lesion_location"])
        assert published[:2] == pytest.approx([x, y], abs=1e-6)
        assert 0 < published[2] < 1
        heights.setdefault((lesion.series_id, row["Slice_range"]), []).append(
            (lesion.slice_index, published[2])
        )
    for found in heights.values():
        assert [z for _, z in sorted(set(found))] == sorted({z for _, z in found})
