from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from etl.release.annotations import parse_annotations


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows", "past_edge", "ages_missing"), [
    ("DL_info_part.csv", 5930, ["000211_02_01_018.png", "000211_04_01_022.png"], 1),
    ("DL_info_images.csv", 67, [], 0),
])  # fmt: skip
def test_real_rows(real_release: Path, name: str, rows: int, past_edge: list[str], ages_missing: int) -> None:
    data = (real_release / name).read_bytes()
    read = parse_annotations(data, name)
    lesions = read.lesions
    assert (read.row_count, len(lesions), read.rejects, len(read.geometries)) == (rows, rows, (), rows)
    assert lesions["file_name"][lesions["bbox_past_edge"]].tolist() == past_edge
    assert lesions["age_years"].isna().sum() == ages_missing

    raw = pd.read_csv(io.BytesIO(data))
    assert lesions["lesion_id"].tolist() == raw.index.tolist()
    assert lesions["file_name"].tolist() == raw["File_name"].tolist()
    for first, official in [
        ("recist_long_x1_px", "Measurement_coordinates"), ("bbox_x1_px", "Bounding_boxes"),
        ("norm_x", "Normalized_lesion_location"), ("slice_first", "Slice_range"),
        ("spacing_x_mm", "Spacing_mm_px_"), ("window_low_hu", "DICOM_windows"),
    ]:  # fmt: skip
        expected = np.array([[float(part) for part in cell.split(",")] for cell in raw[official]])
        start = list(lesions).index(first)
        found = lesions.iloc[:, start : start + expected.shape[1]].to_numpy(np.float64)
        np.testing.assert_array_equal(found, expected)
    for axis in ("long", "short"):
        x1, y1, x2, y2 = (lesions[f"recist_{axis}_{end}_px"] for end in ("x1", "y1", "x2", "y2"))
        assert np.abs(np.hypot(x2 - x1, y2 - y1) - lesions[f"{axis}_diameter_px"]).max() < 0.002
    assert (lesions["long_diameter_px"] >= lesions["short_diameter_px"]).all()
