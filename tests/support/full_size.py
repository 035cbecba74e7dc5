"""A store with tables of the release's size, made up from a seed: every volume is the same few voxels.

Counts are the release's (32,735 lesions, 20,094 volumes, 928,020 slices, 14,601 series, 4,427 patients),
types those of val and test; diameters, positions, spacings and windows are spread as in its published rows.

`python -m tests.support.full_size` says how long its report takes and how large it is.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from etl.io.local import LocalObjects
from etl.publish.carry import written
from etl.report.report import make_report
from etl.report.statistics import PUBLISHED_TYPES
from etl.store.layout import ROOT, root_metadata, to_json, version_path
from etl.store.parquet import Entry, encode_table
from etl.store.reader import Store
from etl.store.volumes import Encoding
from etl.tables.registry import BUILD_TABLES
from etl.tables.table import schema_columns
from tests.support.tiny_volume import PATH, write

LESIONS, VOLUMES, SLICES, SERIES, PATIENTS = 32_735, 20_094, 928_020, 14_601, 4_427
SPLIT_LESIONS = {"train": 22_919, "val": 4_889, "test": 4_927}
SHAPE = (61, 400, 400)
"""Voxels of 1 mm, as of a usual volume of 13 slices 5 mm apart."""

# Means of norm_x and norm_z of the published rows.
_PLACES = {
    "bone": (0.51, 0.57),
    "abdomen": (0.53, 0.65),
    "mediastinum": (0.49, 0.44),
    "liver": (0.30, 0.60),
    "lung": (0.46, 0.48),
    "kidney": (0.49, 0.66),
    "soft tissue": (0.51, 0.62),
    "pelvis": (0.49, 0.79),
}


def write_full_size(folder: Path, seed: int = 0) -> Store:
    """Write the store and open it."""
    rng = np.random.default_rng(seed)
    objects = LocalObjects(str(folder))
    write(objects, [_voxels(rng)], Encoding((64, 64, 64), "zstd", 1, "bitshuffle", -1024))
    volumes = _volumes(rng)
    lesions = _lesions(rng, volumes)
    columns = {"volumes": volumes, "lesions": lesions, "slices": _slices(rng, volumes), "rejects": _rejects()}
    objects.write(ROOT, root_metadata())
    entries: dict[str, list[Entry]] = {}
    for name, table in BUILD_TABLES.items():
        entries[name] = []
        for file in encode_table(table, table.rows(_completed(name, columns[name]))):
            entry, data = written(file, "full-size")
            objects.write(entry["path"], data)
            entries[name].append(entry)
    version = _version(entries, volumes["volume_id"])
    objects.write(version_path(1), to_json(version))
    # Not read back: all its volumes are one and the same, which no version may name.
    return Store(objects, version)


def _voxels(rng: np.random.Generator) -> np.ndarray:
    """An ellipse of noisy tissue in air."""
    _, y, x = np.indices(SHAPE, np.float32)
    inside = ((y - 200) / 130) ** 2 + ((x - 200) / 180) ** 2 < 1
    tissue = 40 + 60 * np.sin(x / 17) * np.sin(y / 23) + rng.normal(0, 12, SHAPE)
    return np.where(inside, tissue, -1000).astype(np.int16)


def _volumes(rng: np.random.Generator) -> dict[str, Any]:
    series = np.sort(np.concatenate([np.arange(SERIES), rng.integers(0, SERIES, VOLUMES - SERIES)]))
    patient = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, SERIES - PATIENTS)]))
    length = rng.multinomial(SLICES - 4 * VOLUMES, rng.dirichlet(np.full(VOLUMES, 2.0))) + 4
    run = np.arange(VOLUMES) - np.searchsorted(series, series)
    first = 1 + run * 400
    number = series - np.searchsorted(patient, patient)[series]
    names = zip(patient[series] + 1, number, first, first + length - 1, strict=True)
    spacing = np.clip(rng.normal(0.805, 0.11, VOLUMES), 0.18, 0.98).round(6)
    return {
        "volume_id": [f"{p:06d}_{n // 4 + 1:02d}_{n % 4 + 1:02d}_{a:03d}-{b:03d}" for p, n, a, b in names],
        "path": [PATH] * VOLUMES,
        "patient_index": patient[series] + 1,
        "study_index": number // 4 + 1,
        "series_index": number % 4 + 1,
        "slice_first": first,
        "slice_last": first + length - 1,
        "split": ["train"] * VOLUMES,
        **{f"shape_{axis}": np.full(VOLUMES, n) for axis, n in zip("zyx", SHAPE, strict=True)},
        **{f"spacing_{axis}_mm": np.ones(VOLUMES) for axis in "zyx"},
        "source_spacing_x_mm": spacing,
        "source_spacing_y_mm": spacing,
        "source_spacing_z_mm": rng.choice([1.0, 5.0, 2.5, 2.0, 0.25, 22.5], VOLUMES, p=_INTERVALS),
        "hu_mean": rng.normal(-450, 60, VOLUMES),
        "hu_standard_deviation": rng.normal(480, 30, VOLUMES),
    }


_INTERVALS = [0.48, 0.49, 0.01, 0.01, 0.005, 0.005]


def _lesions(rng: np.random.Generator, volumes: dict[str, Any]) -> dict[str, Any]:
    at = np.sort(np.concatenate([np.arange(VOLUMES), rng.integers(0, VOLUMES, LESIONS - VOLUMES)]))
    splits = [split for split, count in SPLIT_LESIONS.items() for _ in range(count)]
    labelled = [name for name, count in PUBLISHED_TYPES.items() for _ in range(count)]
    types = [None] * SPLIT_LESIONS["train"] + list(rng.permutation(labelled))
    long_mm = np.exp(rng.normal(2.89, 0.72, LESIONS)).clip(1.3, 343)
    short_mm = long_mm * rng.normal(0.73, 0.16, LESIONS).clip(0.13, 1)
    x, y = rng.uniform(80, 320, LESIONS), rng.uniform(120, 280, LESIONS)
    key = volumes["slice_first"][at] + rng.integers(0, 4, LESIONS)
    places = np.array([_PLACES.get(str(name), (0.49, 0.59)) for name in types])
    wrong = rng.random(LESIONS) < 0.001
    age = rng.normal(54, 16, LESIONS).clip(1, 96).round()
    return {
        "lesion_id": np.arange(LESIONS),
        "volume_id": [volumes["volume_id"][n] for n in at],
        "file_name": [f"{volumes['volume_id'][n][:12]}_{k:03d}.png" for n, k in zip(at, key, strict=True)],
        **{name: volumes[name][at] for name in ("patient_index", "study_index", "series_index")},
        "key_slice_index": key,
        **{f"bbox_x{n}_vox": x + side * long_mm / 2 for n, side in ((1, -1), (2, 1))},
        **{f"bbox_y{n}_vox": y + side * short_mm / 2 for n, side in ((1, -1), (2, 1))},
        **{f"recist_long_x{n}_vox": x + side * long_mm / 2 for n, side in ((1, -1), (2, 1))},
        **{f"recist_short_y{n}_vox": y + side * short_mm / 2 for n, side in ((1, -1), (2, 1))},
        **{f"recist_long_y{n}_vox": y for n in (1, 2)},
        **{f"recist_short_x{n}_vox": x for n in (1, 2)},
        "z_vox": rng.uniform(0, SHAPE[0] - 1, LESIONS),
        "long_diameter_mm": long_mm,
        "short_diameter_mm": short_mm,
        "norm_x": (places[:, 0] + rng.normal(0, 0.13, LESIONS)).clip(0.02, 0.95),
        "norm_y": rng.normal(0.5, 0.13, LESIONS).clip(0.14, 0.9),
        "norm_z": (places[:, 1] + rng.normal(0, 0.05, LESIONS)).clip(0.09, 0.95),
        "coarse_type": types,
        "location_agrees": ~wrong,
        "norm_x_difference": rng.normal(0, 1e-6, LESIONS) + 0.01 * wrong,
        "norm_y_difference": rng.normal(0, 1e-6, LESIONS),
        "possibly_noisy": np.arange(LESIONS) % 935 == 0,
        "window_low_hu": rng.choice([-175.0, -1500.0, -160.0], LESIONS, p=[0.75, 0.23, 0.02]),
        "window_high_hu": np.full(LESIONS, 400.0),
        "sex": rng.choice(["F", "M"], LESIONS),
        "age_years": [None, *age[1:].astype(int).tolist()],
        "split": splits,
    }


def _slices(rng: np.random.Generator, volumes: dict[str, Any]) -> dict[str, Any]:
    length = volumes["slice_last"] - volumes["slice_first"] + 1
    of = np.repeat(np.arange(VOLUMES), length)
    starts = np.cumsum(length) - length
    ids = pa.array(volumes["volume_id"]).take(pa.array(of))
    return {
        "volume_id": ids,
        "slice_index": volumes["slice_first"][of] + np.arange(SLICES) - starts[of],
        "hu_minimum": rng.choice([-1024, -2048, -3024], SLICES),
        "hu_maximum": rng.integers(900, 3000, SLICES),
        "hu_mean": rng.normal(-600, 120, SLICES),
        **{f"location_mask_{side}_first": np.full(SLICES, 20) for side in ("column", "row")},
        **{f"location_mask_{side}_last": np.full(SLICES, 480) for side in ("column", "row")},
    }


def _rejects() -> dict[str, Any]:
    return {
        "kind": ["slice"] * 2,
        "reason": ["slice_truncated"] * 2,
        "found_in": ["Images_png_23.zip: Images_png/001821_07_01/372.png", "Images_png_27.zip: x"],
        "message": ["ends early"] * 2,
    }


def _completed(name: str, columns: dict[str, Any]) -> dict[str, Any]:
    """Columns that the report doesn't show get one value each."""
    rows = len(next(iter(columns.values())))
    blank = {pa.string(): "", pa.bool_(): False, pa.list_(pa.string()): []}
    return {
        field.name: columns.get(
            field.name,
            pa.nulls(rows, field.type)
            if field.nullable
            else pa.array([blank.get(field.type, 0)] * rows, field.type),
        )
        for field in BUILD_TABLES[name].rows_schema
    }


def _version(tables: dict[str, Any], volume_ids: list[str]) -> dict[str, Any]:
    zeros = ("rows_rejected", "rows_not_selected", "slices_not_selected", "slices_missing")
    return {
        "contract_version": 2,
        "version": 1,
        "parent": None,
        "run_id": "full-size",
        "created_at": "2026-01-01T00:00:00+00:00",
        "counts": dict.fromkeys(zeros, 0)
        | {"volumes": VOLUMES, "slices": SLICES, "lesions": LESIONS, "patients": PATIENTS}
        | {"slices_rejected": 2},
        "annotations": {"name": "DL_info.csv", "rows": LESIONS},
        "archives": [
            {"name": f"Images_png_{n:02d}.zip", "bytes": 4 << 30, "slices": 1} for n in range(1, 57)
        ],
        "config": {"volume": {"spacing_mm": 1.0, "interpolation": "linear", "pyramid_levels": 1}},
        "code": {"deeplesion-store": "0"},
        "schemas": {n: schema_columns(table.schema) for n, table in BUILD_TABLES.items()},
        "tables": tables,
        "volumes": [
            {"volume_id": name, "path": PATH, "bytes": 27_000_000, "sha256": ""} for name in volume_ids
        ],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = write_full_size(Path(folder))
        start, start_cpu = time.perf_counter(), time.process_time()
        files = make_report(store)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    page = len(files["index.html"]) / 1e6
    print(f"{LESIONS:,} lesions: {seconds:.1f} s ({cpu_seconds:.1f} s of CPU), page {page:.1f} MB")


if __name__ == "__main__":
    main()
