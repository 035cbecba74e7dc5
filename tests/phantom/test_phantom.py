from __future__ import annotations

import csv
import io
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from etl.phantom import PhantomLesion, PhantomTruth
from etl.release.names import is_ignorable, parse_file_name, parse_member

Phantom = tuple[Path, PhantomTruth]


def rows_of(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "DL_info.csv").read_text("ascii"), newline="")))


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(", ")]


def members_of(out: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for archive in sorted(out.glob("Images_png_*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                yield archive.name, info


class Pixels:
    """Slices of a release as HU, read out of its archives by zipfile and imageio."""

    def __init__(self, out: Path) -> None:
        self._archives = [zipfile.ZipFile(path) for path in sorted(out.glob("Images_png_*.zip"))]
        self._where = {
            (str(named[0]), named[1]): (archive, name)
            for archive in self._archives
            for name in archive.namelist()
            if not is_ignorable(name) and (named := parse_member(name))
        }

    def png(self, series_id: str, index: int) -> bytes:
        archive, name = self._where[series_id, index]
        return archive.read(name)

    def stored(self, series_id: str, index: int) -> np.ndarray:
        return iio.imread(self.png(series_id, index), plugin="pillow", extension=".png")

    def hu(self, series_id: str, index: int) -> np.ndarray:
        return self.stored(series_id, index).astype(np.int64) - 32768

    def slices(self) -> list[tuple[str, int]]:
        return sorted(self._where)


@pytest.fixture(scope="module")
def pixels(phantom: Phantom) -> Pixels:
    return Pixels(phantom[0])


def test_archives_have_the_official_layout(phantom: Phantom) -> None:
    out, truth = phantom
    assert sorted(path.name for path in out.iterdir()) == [
        "DL_info.csv", "Images_png_01.zip", "Images_png_02.zip", "Images_png_03.zip", "phantom.json",
    ]  # fmt: skip
    slices, ignored, folders, homes = [], [], set(), {}
    for archive, info in members_of(out):
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        if info.is_dir():
            folders.add((archive, info.filename))
            continue
        assert (archive, info.filename.rsplit("/", 1)[0] + "/") in folders, (
            "a folder's entry comes before its files"
        )
        stored = archive == "Images_png_02.zip"
        assert info.compress_type == (zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        if is_ignorable(info.filename):
            ignored.append(info.filename)
            continue
        named = parse_member(info.filename)
        assert named, info.filename
        slices.append(named)
        homes.setdefault(named[0], set()).add(archive)
    assert slices == sorted(set(slices))
    assert len(slices) == truth.slices
    assert len(homes) == truth.series
    assert ignored == ["Images_png/000001_01_01/._103.png"]
    assert {archive for archive, _ in folders} == {f"Images_png_0{number}.zip" for number in (1, 2, 3)}
    assert max(len(archives) for archives in homes.values()) == 2, "a series spans two archives"
    assert sum(path.stat().st_size for path in out.iterdir()) < 60e6


def test_slices_are_16_bit_grey_of_the_size_in_the_csv(phantom: Phantom, pixels: Pixels) -> None:
    sizes = {row["File_name"][:12]: numbers(row["Image_size"]) for row in rows_of(phantom[0])}
    for series_id, index in pixels.slices():
        head = struct.unpack(">4sIIBB", pixels.png(series_id, index)[12:26])
        assert head == (b"IHDR", *sizes[series_id], 16, 0)


def test_rows_have_18_columns_and_the_truth_in_them(phantom: Phantom) -> None:
    out, truth = phantom
    data = (out / "DL_info.csv").read_bytes()
    assert data.endswith(b"\n")
    assert b"\r" not in data
    assert {len(record) for record in csv.reader(io.StringIO(data.decode("ascii")))} == {18}
    rows = rows_of(out)
    assert len(rows) == len(truth.lesions)
    for number, (row, lesion) in enumerate(zip(rows, truth.lesions, strict=True)):
        named = parse_file_name(row["File_name"])
        assert named
        columns = ("Patient_index", "Study_index", "Series_ID", "Key_slice_index")
        assert [int(row[column]) for column in columns] == [*named[0], named[1]]
        assert (number, row["File_name"]) == (lesion.lesion_id, lesion.file_name)
        assert (str(named[0]), named[1]) == (lesion.series_id, lesion.slice_index)
        assert numbers(row["Spacing_mm_px_"]) == list(lesion.spacing_mm)
        first, last = numbers(row["Slice_range"])
        assert first <= lesion.run_first <= lesion.slice_index <= lesion.run_last <= last
        assert abs(lesion.centre_slice - lesion.slice_index) < 0.5
        assert row["Possibly_noisy"] == str(int(lesion.noisy))
        assert row["Coarse_lesion_type"] in (str(lesion.coarse_type), "-1")


def test_measurements_are_the_lesion_at_its_key_slice(phantom: Phantom) -> None:
    out, truth = phantom
    for row, lesion in zip(rows_of(out), truth.lesions, strict=True):
        recist = np.reshape(numbers(row["Measurement_coordinates"]), (4, 2))
        long, short = numbers(row["Lesion_diameters_Pixel_"])
        assert math.dist(recist[0], recist[1]) == pytest.approx(long, abs=0.002)
        assert math.dist(recist[2], recist[3]) == pytest.approx(short, abs=0.002)
        assert np.dot(recist[1] - recist[0], recist[3] - recist[2]) == pytest.approx(0, abs=0.05)
        assert recist.mean(axis=0) == pytest.approx(lesion.centre_px, abs=0.001)
        box = numbers(row["Bounding_boxes"])
        assert box == pytest.approx([*(recist.min(axis=0) - 5), *(recist.max(axis=0) + 5)], abs=0.002)
        width, height = numbers(row["Image_size"])
        past = min(box[:2]) < 0.5 or box[2] > width + 0.5 or box[3] > height + 0.5
        assert past == lesion.box_past_edge
        height_mm = (lesion.slice_index - lesion.centre_slice) * lesion.spacing_mm[2]
        share = math.sqrt(1 - (2 * height_mm / lesion.depth_mm) ** 2)
        assert long * lesion.spacing_mm[0] == pytest.approx(lesion.diameter_mm * share, abs=0.001)
        assert short * lesion.spacing_mm[0] == pytest.approx(lesion.short_diameter_mm * share, abs=0.001)


def test_it_holds_what_readers_trip_over(phantom: Phantom, pixels: Pixels) -> None:
    out, truth = phantom
    rows = rows_of(out)
    present = set(pixels.slices())
    promised = {
        (row["File_name"][:12], index)
        for row in rows
        for first, last in [numbers(row["Slice_range"])]
        for index in range(int(first), int(last) + 1)
    }
    assert promised - present == {("000002_01_01", 33)}
    assert present <= promised
    assert truth.missing_slices == ("000002_01_01_033.png",)
    assert truth.volumes == sum((series, index - 1) not in present for series, index in present)
    assert {lesion.run_last for lesion in truth.lesions} >= {32, 45}
    assert max(index for _, index in present) == 1016
    assert any(len(row["File_name"]) == len("000005_01_01_1003.png") for row in rows)

    runs = {(row["File_name"][:12], row["Slice_range"], row["Spacing_mm_px_"]) for row in rows}
    assert {(slices, spacing) for series, slices, spacing in runs if series == "000003_01_01"} == {
        ("30, 59", "0.742188, 0.742188, 1"),
        ("80, 91", "0.742188, 0.742188, 5"),
    }
    spacings = [numbers(row["Spacing_mm_px_"]) for row in rows]
    assert {spacing[2] for spacing in spacings} >= {1, 1.25, 2.5, 3, 5}
    assert 0.6 <= min(spacing[0] for spacing in spacings) < max(spacing[0] for spacing in spacings) <= 0.98
    assert {row["Image_size"] for row in rows} == {"512, 512", "768, 768"}
    assert [row["Possibly_noisy"] for row in rows].count("1") == 1
    assert {row["Patient_index"] for row in rows if row["Patient_age"] == "NaN"} == {"6"}
    assert [lesion.box_past_edge for lesion in truth.lesions].count(True) == 1
    assert "-182.5, 322.5" in {row["DICOM_windows"] for row in rows}
    assert {row["Patient_gender"] for row in rows} == {"F", "M"}

    splits = {(row["Patient_index"], row["Train_Val_Test"]) for row in rows}
    assert len(splits) == 8
    assert {split for _, split in splits} == {"1", "2", "3"}
    types = {split: set() for split in "123"}
    for row in rows:
        types[row["Train_Val_Test"]].add(row["Coarse_lesion_type"])
    assert types["1"] == {"-1"}
    assert types["2"] | types["3"] == set("12345678")
    diameters = [lesion.diameter_mm for lesion in truth.lesions]
    assert min(diameters) < 6.5
    assert max(diameters) > 28


def test_padding_lies_outside_the_scanner_circle(pixels: Pixels) -> None:
    found = {}
    for series_id in {series_id for series_id, _ in pixels.slices()}:
        index = min(index for series, index in pixels.slices() if series == series_id)
        hu = pixels.hu(series_id, index)
        size = len(hu)
        axis = np.arange(size) - (size - 1) / 2
        outside = np.hypot(axis[None, :], axis[:, None]) > size / 2
        values = set(hu[outside].tolist())
        assert len(values) == 1
        found[series_id] = values.pop()
        assert hu[~outside].min() >= -1024
        assert hu[~outside].max() < 1500
        assert -1005 < np.median(hu[~outside & (hu < -950)]) < -990
    assert found.pop("000002_01_01") == -2048
    assert found.pop("000006_01_02") == -3024
    assert set(found.values()) == {-1024}


def test_neighbouring_slices_differ_by_more_than_noise(pixels: Pixels) -> None:
    first, last = pixels.hu("000005_01_01", 985), pixels.hu("000005_01_01", 1016)
    assert (np.abs(first - last) > 200).mean() > 0.01


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
