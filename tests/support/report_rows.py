"""Rows of the tables with only the columns that a test is about."""

from __future__ import annotations

from typing import Any

import pandas as pd


def lesions(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of `lesions`: a lung lesion of 20 x 10 mm in the test split, with what each row says otherwise."""
    usual = {
        "volume_id": "000001_01_01_001-009",
        "file_name": "000001_01_01_005.png",
        "key_slice_index": 5,
        "patient_index": 1,
        "split": "test",
        "coarse_type": "lung",
        "image_width_px": 512,
        "image_height_px": 512,
        **{f"recist_{a}_{b}{n}_px": 100.0 for a in ("long", "short") for b in "xy" for n in "12"},
        "long_diameter_px": 25.0,
        "short_diameter_px": 12.5,
        "long_diameter_mm": 20.0,
        "short_diameter_mm": 10.0,
        "norm_x": 0.25,
        "norm_y": 0.5,
        "norm_z": 0.75,
        "possibly_noisy": False,
        "bbox_past_edge": False,
        "sex": "F",
        "age_years": 62,
    }
    table = pd.DataFrame([usual | {"lesion_id": number} | row for number, row in enumerate(rows)])
    return table.astype({"age_years": "Int16"})


def volumes(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of `volumes`: slices 1 to 9, with what each row says otherwise."""
    usual = {
        "volume_id": "000001_01_01_001-009",
        "patient_index": 1,
        "study_index": 1,
        "series_index": 1,
        "slice_first": 1,
        "slice_last": 9,
        "source_spacing_x_mm": 0.82,
        "source_spacing_z_mm": 5.0,
        "spacing_z_mm": 1.0,
        "shape_z": 41,
        "hu_mean": -500.0,
        "hu_standard_deviation": 400.0,
    }
    return pd.DataFrame([usual | row for row in rows])


def slices(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of `slices`, with what each row says otherwise."""
    usual = {
        "volume_id": "000001_01_01_001-009",
        "hu_minimum": -1024,
        "hu_maximum": 1200,
        "hu_mean": -500.0,
    }
    return pd.DataFrame([usual | {"slice_index": number} | row for number, row in enumerate(rows)])
