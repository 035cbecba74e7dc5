from __future__ import annotations

import csv
import io
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from etl.release.names import is_ignorable, parse_file_name, parse_member
from tests.support.phantom_pixels import Phantom, Pixels, numbers, rows_of


def members_of(out: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for archive in sorted(out.glob("Images_png_*.zip")):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                yield archive.name, info


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
