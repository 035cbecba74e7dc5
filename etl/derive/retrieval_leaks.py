"""A test of leaks: if an embedding knows display windows, which tell types without a look at lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from etl.derive.lesion_arrays import Floats, Ints
from etl.derive.nearest import Vectors, nearest

HIDDEN = (
    *("window_low_hu", "window_high_hu", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm", "file_name"),
    *("image_width_px", "image_height_px", "slice_first", "slice_last", "possibly_noisy", "age_years", "sex"),
)
"""Columns of `lesions` that no model may see."""
PERMUTED = 20
SEED = 7


def permuted_windows(lesions: pd.DataFrame) -> pd.DataFrame:
    """Return lesions with the columns that no model may see given to others at random."""
    order = np.random.default_rng(SEED).permutation(len(lesions))
    return lesions.assign(**{name: lesions[name].to_numpy()[order] for name in HIDDEN})


def leaks(
    vectors: Vectors, permuted: Vectors, types: Ints, patient: Ints, lesion_id: Ints, windows: Floats
) -> dict[str, Any]:
    """Return how well types are told, before and after a permutation, and windows from the vectors.

    Args:
        vectors: (n, d) of lesions with a type.
        permuted: (n, d) the same, made from `permuted_windows`.
        windows: (n, 2) display windows.
    """
    nearest_row = _nearest(vectors, lesion_id, patient)
    _, code = np.unique(windows, axis=0, return_inverse=True)
    code = code.reshape(-1)
    random = np.random.default_rng(SEED)
    chance = []
    for _ in range(PERMUTED):
        mixed = code.copy()
        for kind in np.unique(types):
            rows = np.flatnonzero(types == kind)
            mixed[rows] = mixed[random.permutation(rows)]
        chance.append(_agree(mixed, nearest_row))
    return {
        "lesions": len(types),
        "type_top1": _agree(types, nearest_row),
        "type_top1_after_permuting_windows": _agree(types, _nearest(permuted, lesion_id, patient)),
        "largest_change_of_a_vector": float(np.abs(vectors - permuted).max(initial=0)),
        "type_top1_of_windows_alone": _agree(types, _nearest(windows, lesion_id, patient)),
        "window_top1": _agree(code, nearest_row),
        "window_top1_of_windows_permuted_within_types": round(float(np.mean(chance)), 4),
    }


def _nearest(vectors: Vectors, lesion_id: Ints, patient: Ints) -> Ints:
    found, _ = nearest(vectors, lesion_id, vectors, 1, patient, patient)
    return found[:, 0]


def _agree(values: Ints, nearest_row: Ints) -> float:
    right = (nearest_row >= 0) & (values[nearest_row] == values)
    return round(float(right.mean()), 4)
