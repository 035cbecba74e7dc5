"""Masks of the release's number, scaled down: read, joined and stored as labels through two workers."""

from __future__ import annotations

import gc
import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd

from benchmarks.timing import resident_mib, timed
from etl.annotations.grids import Grids
from etl.annotations.mask_sources import MaskStore, join_masks
from etl.annotations.printed_rows import PrintedRow, Rows
from etl.release.names import SeriesKey
from etl.run.cluster_kinds import Local
from etl.run.clusters import connect

RELEASE = 31_849, 20_000
"""Masks of ULS23, and volumes."""
SPACING_MM, SIZE_PX, SLICES, KEY = (0.8, 0.8, 5.0), 512, 60, 31
RADIUS_PX, MIDDLE_PX = 12, 250


def measure(folder: Path, share: float = 0.1) -> dict[str, Any]:
    """Measure the seconds for some masks and volumes, and for the same again, which reads none.

    The masks are made up: a disc on a key slice, float32, 256 x 256 x 128, zipped one by one in a tar as in
    the release of ULS23.
    """
    masks, volumes = (round(share * count) for count in RELEASE)
    rows = [_row(number, volumes) for number in range(masks)]
    place = folder / "labels.tar"
    _write_tar(place, rows)
    grids = Grids(pd.DataFrame([_volume(number) for number in range(1, volumes + 1)]))
    found: dict[str, Any] = {"masks": masks, "volumes": volumes}
    with connect(Local(kind="local"), None, "etl.annotations.mask_tasks") as executor:
        for name, count in (("warming", 200), ("first", masks), ("again", masks)):
            store = MaskStore(str(folder / ("warm" if name == "warming" else "store")), grids)
            gc.collect()
            before = resident_mib()

            def run(count: int = count, store: MaskStore = store) -> None:
                joined = join_masks("uls23", [str(place)], Rows(rows[:count], {}), executor, store)
                if sum(hasattr(item, "row") for item in joined.outcomes) != count:
                    raise ValueError("not all masks were joined")

            found[f"{name}_s"] = timed(run)
            gc.collect()
            found[f"{name}_driver_mib"] = resident_mib() - before
    stored = [path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file()]
    return {"masks": found | {"stored_mib": sum(stored) / 2**20, "objects": len(stored)}}


def _row(number: int, volumes: int) -> PrintedRow:
    x, low, high = MIDDLE_PX, MIDDLE_PX - RADIUS_PX, MIDDLE_PX + RADIUS_PX
    key = KEY + number // volumes
    return PrintedRow(
        number,
        SeriesKey(number % volumes + 1, 1, 1),
        key,
        (1, SLICES),
        (low - 4.0, low - 4.0, high + 6.0, high + 6.0),
        ((low, x), (high, x), (x, low), (x, high)),
        SPACING_MM,
        (SIZE_PX, SIZE_PX),
        None,
        "train",
    )


def _volume(patient: int) -> dict[str, Any]:
    volume_id = f"{patient:06d}_01_01_001-{SLICES:03d}"
    fields: dict[str, Any] = {
        "volume_id": volume_id,
        "path": f"volumes/{volume_id}/{'0' * 16}.ome.zarr",
        "patient_index": patient,
        "study_index": 1,
        "series_index": 1,
        "slice_first": 1,
    }
    source = {"z": (SLICES, 5.0), "y": (SIZE_PX, 0.8), "x": (SIZE_PX, 0.8)}
    for axis, (count, spacing) in source.items():
        fields |= {f"source_shape_{axis}": count, f"source_spacing_{axis}_mm": spacing}
        fields |= {f"shape_{axis}": int((count - 1) * spacing) + 1, f"spacing_{axis}_mm": 1.0}
    return fields


def _write_tar(place: Path, rows: list[PrintedRow]) -> None:
    y, x = np.mgrid[:256, :256] - 128
    files: dict[int, bytes] = {}
    with tarfile.open(place, "w") as archive:
        for row in rows:
            middle = min(SLICES - row.key_slice, row.key_slice - 1)
            if middle not in files:
                voxels = np.zeros((256, 256, 128), np.float32)
                voxels[..., 64] = (x**2 + y**2 <= (RADIUS_PX + 0.5) ** 2).T
                corner = SIZE_PX - 1 - MIDDLE_PX - 128
                affine = np.diag([*SPACING_MM, 1.0])
                affine[:3, 3] = np.multiply(SPACING_MM, (corner, corner, middle - 64))
                image = nibabel.nifti1.Nifti1Image(voxels, affine)
                files[middle] = gzip.compress(image.to_bytes(), 1, mtime=0)
            stem = f"{row.series}_{row.key_slice:03d}_sample_0.nii.gz"
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as one:
                one.writestr(stem, files[middle])
            info = tarfile.TarInfo(f"{stem}.zip")
            info.size = packed.tell()
            archive.addfile(info, io.BytesIO(packed.getvalue()))
