"""Weights and thresholds of matching: a dated file, made of pairs by `deeplesion calibrate-matching`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from etl.core.errors import ConfigError
from etl.derive.lesion_arrays import Floats, LesionArrays

COMMITTED = Path(__file__).with_name("match_calibration.json")
FEATURES = (
    *("x", "y", "z", "log_long_diameter", "log_short_diameter"),
    *("image_x", "image_y", "z_of_series", "elongation_cos", "elongation_sin"),
)
MM_A_UNIT = 900.0
"""Millimetres a unit of z: the median slope of published z on slice position in series that span 40 mm."""
IMAGE_MM = 400.0
DIVISORS = ("degrees_of_freedom", "same_study_mm", "local_shift_mm", "local_shift_pairs")
"""Values that matching divides by."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Weights and thresholds of `etl.derive.matching`.

    Attributes:
        residual: (10, 10) covariance of one lesion's difference between two studies, in `FEATURES`, the
            studies' common shift taken away.
        shift: (10, 10) covariance of that common shift.
        degrees_of_freedom: of the Student t; small ones forgive single large differences.
        threshold: groups whose mean distance is below it are joined.
        no_match_distance: where a lesion is as likely to have no match in the other study.
        angle_weight: of 1 - cos(2 x turn of the long diameter).
        embedding_weight: of 1 - cosine of the embeddings, where there are any.
        same_study_mm: one unit of distance between lesions of one study.
        same_study_largest: cap of that distance.
        largest_distance: cap of every distance, so that one pair can't outvote a group.
        shift_rounds: how often shift and likely pairs are computed in turn.
        local_shift_mm: standard deviation of the weights of pairs near a pair.
        local_shift_pairs: so many pairs without a move of their own are added to those nearby.
        paper_threshold: of Algorithm 1.
        made: date, inputs and how values were chosen.
    """

    residual: Floats
    shift: Floats
    degrees_of_freedom: float = 4.0
    threshold: float = 12.0
    no_match_distance: float = 12.0
    angle_weight: float = 1.0
    embedding_weight: float = 10.0
    same_study_mm: float = 4.0
    same_study_largest: float = 25.0
    largest_distance: float = 60.0
    shift_rounds: int = 6
    local_shift_mm: float = 80.0
    local_shift_pairs: float = 0.5
    paper_threshold: float = 0.07
    made: Mapping[str, Any] | None = None


def vectors(lesions: LesionArrays) -> Floats:
    """Return the (n, 10) values of `FEATURES`.

    `z_of_series` is the mean published z of a series plus each slice's own position: exact inside a series,
    where the published z has the noise of its regressor. Elongation is 1 - short / long diameter, as a vector
    in twice the angle of the long diameter.
    """
    long, short = lesions.log_diameters.T
    elongation = 1 - np.exp(np.minimum(short - long, 0))
    twice = 2 * lesions.long_angle_rad
    columns = [
        lesions.place,
        lesions.log_diameters,
        lesions.centre_mm[:, :2] / IMAGE_MM,
        _z_of_series(lesions)[:, None],
        (elongation * np.cos(twice))[:, None],
        (elongation * np.sin(twice))[:, None],
    ]
    return np.concatenate(columns, axis=1)


def _z_of_series(lesions: LesionArrays) -> Floats:
    key = np.stack([lesions.patient, lesions.study, lesions.series], axis=1)
    _, series = np.unique(key, axis=0, return_inverse=True)
    series = series.reshape(-1)
    count = np.bincount(series)
    z, slice_mm = lesions.place[:, 2], lesions.centre_mm[:, 2]
    mean_z, mean_mm = (np.bincount(series, values) / count for values in (z, slice_mm))
    return mean_z[series] + (slice_mm - mean_mm[series]) / MM_A_UNIT


def encode(calibration: Calibration) -> str:
    """Return the calibration as JSON text, ten significant digits a number."""
    values = asdict(calibration)
    for name in ("residual", "shift"):
        values[name] = [[float(f"{value:.10g}") for value in row] for row in values[name]]
    return json.dumps({"features": FEATURES, **values}, indent=1) + "\n"


def read_calibration(path: Path = COMMITTED) -> Calibration:
    """Read a calibration file.

    Raises:
        ConfigError: the file is absent, no JSON, lacks a key, or has values that are useless.
    """
    try:
        values = json.loads(path.read_text())
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        if tuple(values.pop("features")) != FEATURES:
            raise ValueError(f"features are not {', '.join(FEATURES)}")
        wanted = {field.name for field in fields(Calibration)}
        if set(values) != wanted:
            raise ValueError(f"keys that differ: {', '.join(sorted(set(values) ^ wanted))}")
        residual, shift = (np.array(values.pop(name), np.float64) for name in ("residual", "shift"))
        made = values.pop("made")
        _check(residual, shift, values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "the calibration of matching can't be read",
            where=str(path),
            value=str(error),
            allowed=f"JSON with features and the keys of {Calibration.__name__}, finite numbers from 0 up",
            remedy="make it with deeplesion calibrate-matching DL_INFO.csv PAIRS.json --out FILE",
        ) from None
    return Calibration(residual, shift, **values, made=made)


def _check(residual: Floats, shift: Floats, numbers: Mapping[str, Any]) -> None:
    """Raise ValueError where matching can't compute with the values."""
    for name, matrix in (("residual", residual), ("shift", shift)):
        if matrix.shape != (len(FEATURES), len(FEATURES)):
            raise ValueError(f"{name} is not {len(FEATURES)} x {len(FEATURES)}")
        if not np.isfinite(matrix).all() or not np.array_equal(matrix, matrix.T):
            raise ValueError(f"{name} is not symmetric and finite")
    if not np.min(np.linalg.eigvalsh(residual)) > 0:
        raise ValueError("residual is no covariance of ten values that vary")
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r} and no number from 0 up")
        if name in DIVISORS and not value:
            raise ValueError(f"{name} is 0")
    if not isinstance(numbers["shift_rounds"], int):
        raise ValueError(f"shift_rounds is {numbers['shift_rounds']!r} and no whole number")
