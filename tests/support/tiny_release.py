"""Small releases made by hand: a few slices of 16 x 16 pixels and rows of DL_info.csv with exact numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etl.convert.results import Conversion
from etl.core.config import Config
from etl.imaging.body import SLICE_MASKS_DTYPE
from etl.imaging.hounsfield import HuStatistics
from etl.io.places import ObjectInfo
from etl.phantom import encode_png, format_rows
from etl.pipeline.build import Build, build, load_plan
from etl.plan.plan import Plan, PlannedVolume, make_plan
from etl.release.annotations import COLUMNS, Annotations, parse_annotations
from etl.release.index import SLICE_DTYPE, Container, SliceIndex
from etl.release.names import file_name, parse_series_id
from etl.run.serial import SerialExecutor
from etl.store.receipts import Receipt

SIZE_PX = 16

Present = Mapping[str, Iterable[int]]
"""Series -> numbers of its slices."""


def csv_row(series: str, key_slice: int, slice_range: tuple[int, int], **cells: str) -> dict[str, str]:
    """One row of DL_info.csv: 0.5 x 0.5 x 2 mm, 16 x 16 pixels, a box from (4, 5) to (12, 13) in a body that
    fills the slice, split val.

    Args:
        cells: other values, by column.
    """
    key = parse_series_id(series)
    assert key is not None
    values = {
        "File_name": file_name(key, key_slice),
        "Patient_index": str(key.patient),
        "Study_index": str(key.study),
        "Series_ID": str(key.series),
        "Key_slice_index": str(key_slice),
        "Measurement_coordinates": "6, 9, 11, 9, 8, 7, 8, 10",
        "Bounding_boxes": "4, 5, 12, 13",
        "Lesion_diameters_Pixel_": "5, 3",
        "Normalized_lesion_location": "0.522364, 0.607906, 0.6",
        "Coarse_lesion_type": "5",
        "Possibly_noisy": "0",
        "Slice_range": f"{slice_range[0]}, {slice_range[1]}",
        "Spacing_mm_px_": "0.5, 0.5, 2",
        "Image_size": f"{SIZE_PX}, {SIZE_PX}",
        "DICOM_windows": "-175, 275",
        "Patient_gender": "F",
        "Patient_age": "62",
        "Train_Val_Test": "2",
    }
    assert cells.keys() <= values.keys()
    return values | cells


def csv_bytes(rows: Iterable[Mapping[str, str]]) -> bytes:
    return format_rows([[row[name] for name in COLUMNS] for row in rows])


def parse_rows(*rows: Mapping[str, str]) -> Annotations:
    return parse_annotations(csv_bytes(rows), "DL_info.csv")


def slice_index(present: Present, **fields: int) -> SliceIndex:
    """A listing of one archive without the archive, for planning; CRCs and sizes differ from slice to slice.

    Args:
        fields: values of `SLICE_DTYPE` for all slices.
    """
    numbers = [(parse_series_id(series), index) for series in sorted(present) for index in present[series]]
    slices = np.zeros(len(numbers), SLICE_DTYPE)
    for row, (key, index) in zip(slices, numbers, strict=True):
        assert key is not None
        row["patient"], row["study"], row["series"], row["index"] = *key, index
    slices["crc32"] = slices["index"] * 7919 + slices["patient"]
    slices["bytes"] = slices["stored_bytes"] = 500 + slices["index"]
    for name, value in fields.items():
        slices[name] = value
    container = Container(
        "/release/Images_png_01.zip", "Images_png_01.zip", True, 10_000, len(slices), "ab" * 32
    )
    return SliceIndex((container,), slices, (), len(slices))


def tiny_plan(present: Present, *rows: Mapping[str, str], **sections: Any) -> Plan:
    """The plan of a made-up listing; `sections` are the config's."""
    config = {"store": "s", "source": {"annotations": "a", "images": "b"}} | sections
    return make_plan(parse_rows(*rows), slice_index(present), Config.model_validate(config))


def made_up_masks(slices: int) -> np.ndarray:
    """Masks of a volume's slices: the same box in all, the body's centroid another column in each."""
    masks = np.zeros(slices, SLICE_MASKS_DTYPE)
    masks["location"] = (0, 15, 0, 15, 256, 256 * 7, 256 * 8)
    masks["body"] = (2, 11, 3, 12, 100, 0, 100 * 7)
    masks["body"]["column_sum"] = 100 * (np.arange(slices) + 4)
    return masks


def made_up_conversion(volume: PlannedVolume) -> Conversion:
    """Return the result of a conversion, without pixels: values that are easy to distinguish."""
    receipt = Receipt(
        volume.volume_id,
        volume.fingerprint,
        volume.shape,
        volume.spacing_mm,
        HuStatistics(-1024, 3071, 0.5, 100.0),
        tuple(HuStatistics(-2048 + n, 100, -n / 2, 10.0) for n in range(len(volume.slices))),
        made_up_masks(len(volume.slices)),
        (ObjectInfo("0/c/0/0/0", 1234, "00" * 32),),
    )
    return Conversion(volume.volume_id, ((volume, receipt),), 1, (), len(volume.slices), volume.source_bytes)


def slice_hu(series: str, index: int) -> np.ndarray:
    """int16 (rows, columns): a slope along both axes, another level in every slice and patient."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    return (10 * y + 3 * x + 7 * index + int(series[:6]) - 100).astype(np.int16)


def slice_png(series: str, index: int) -> bytes:
    return encode_png((slice_hu(series, index).astype(np.int32) + 32768).astype(np.uint16))


def write_release(
    folder: Path, present: Present, rows: Iterable[Mapping[str, str]], *, zipped: bool = True
) -> None:
    """Write DL_info.csv and the slices: one stored archive, or a folder of files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "DL_info.csv").write_bytes(csv_bytes(rows))
    members = {
        f"{series}/{index:03d}.png": slice_png(series, index)
        for series in present
        for index in present[series]
    }
    if zipped:
        with zipfile.ZipFile(folder / "Images_png_01.zip", "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(f"Images_png/{name}"), data)
        return
    for name, data in members.items():
        path = folder / "Images_png" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def tiny_config(release: Path, store: Path, *, zipped: bool = True, **sections: Any) -> Config:
    """A config for `write_release`: chunks of 8; any rejects or locations unless `limits` say no."""
    source: dict[str, Any] = {"annotations": str(release / "DL_info.csv")}
    if zipped:
        source["archives"] = (str(release / "Images_png_01.zip"),)
    else:
        source["images"] = str(release / "Images_png")
    return Config.model_validate(
        {
            "store": str(store),
            "source": source | sections.pop("source", {}),
            "volume": {"chunk": (8, 8, 8)} | sections.pop("volume", {}),
            "limits": {"rejects": 1.0, "location_disagreement": 1.0} | sections.pop("limits", {}),
            "cluster": "serial",
            **sections,
        }
    )


def written(
    folder: Path, present: Present, rows: Iterable[Mapping[str, str]], *, zipped: bool = True, **sections: Any
) -> Config:
    """Write a release into `folder/release`; return the config of a store of it in `folder/store`."""
    write_release(folder / "release", present, rows, zipped=zipped)
    return tiny_config(folder / "release", folder / "store", zipped=zipped, **sections)


def build_serial(config: Config) -> Build:
    return build(config, load_plan(config), SerialExecutor())
