"""A release of a few long series, of real slices where they are available, and stores of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sample import IMAGE, SPACING_ZYX_MM, slice_files
from etl.core.config import Config, Volume
from etl.phantom import format_rows
from etl.pipeline.build import build, load_plan
from etl.release.annotations import COLUMNS
from etl.release.names import SeriesKey, file_name
from etl.run.serial import SerialExecutor
from etl.store.reader import Store, open_store

LESIONS_PER_SERIES = 12


def published(
    folder: Path, chunk: tuple[int, int, int] | None, series: int, slices: int, *, native: bool = False
) -> Store:
    """Build a store of the release, written once, and open it without a cache of decoded chunks.

    Args:
        chunk: of its volumes; None for the default.
        native: in the source's own grid, not in that of the default.
    """
    release = folder / "release"
    if not release.exists():
        write_release(release, series, slices)
    fields: dict[str, Any] = ({} if chunk is None else {"chunk": chunk}) | (
        {"spacing_mm": "native"} if native else {}
    )
    volume = Volume(**fields)
    name = "default" if chunk is None else "x".join(map(str, chunk))
    store = folder / f"store-{name}{'-native' if native else ''}"
    data = {
        "store": str(store),
        "source": {"annotations": str(release / "DL_info.csv"), "images": str(release / "Images_png")},
        "volume": volume.model_dump(),
        "limits": {"rejects": 1.0, "location_disagreement": 1.0},
        "report": False,
    }
    config = Config.model_validate(data)
    build(config, load_plan(config), SerialExecutor())
    return open_store(config.store, cache_mb=0)


def write_release(release: Path, series: int, slices: int) -> None:
    """Link slices into series, in another order in each, and write lesions at random places of them."""
    _, files = slice_files(release.parent)
    rng = np.random.default_rng(0)
    rows = []
    z_mm, y_mm, x_mm = SPACING_ZYX_MM
    for patient in range(1, series + 1):
        key = SeriesKey(patient, 1, 1)
        folder = release / "Images_png" / str(key)
        folder.mkdir(parents=True)
        order = rng.permutation(len(files))
        for number, file in enumerate(itertools.islice(itertools.cycle(order), slices), 1):
            (folder / f"{number:03d}.png").symlink_to(files[file])
        for _ in range(LESIONS_PER_SERIES):
            x, y = (int(n) for n in rng.integers(100, 400, 2))
            rows.append(
                {
                    "File_name": file_name(key, int(rng.integers(1, slices + 1))),
                    "Patient_index": str(patient),
                    "Study_index": "1",
                    "Series_ID": "1",
                    "Key_slice_index": "0",
                    "Measurement_coordinates": f"{x}, {y}, {x + 20}, {y}, {x + 9}, {y - 8}, {x + 9}, {y + 8}",
                    "Bounding_boxes": f"{x - 5}, {y - 13}, {x + 25}, {y + 13}",
                    "Lesion_diameters_Pixel_": "20, 16",
                    "Normalized_lesion_location": "0.5, 0.5, 0.5",
                    "Coarse_lesion_type": "5",
                    "Possibly_noisy": "0",
                    "Slice_range": f"1, {slices}",
                    "Spacing_mm_px_": f"{x_mm}, {y_mm}, {z_mm}",
                    "Image_size": f"{IMAGE[0]}, {IMAGE[1]}",
                    "DICOM_windows": "-175, 275",
                    "Patient_gender": "F",
                    "Patient_age": "62",
                    "Train_Val_Test": "2",
                }
            )
            rows[-1]["Key_slice_index"] = str(int(rows[-1]["File_name"][-7:-4]))
    (release / "DL_info.csv").write_bytes(format_rows([[row[name] for name in COLUMNS] for row in rows]))
