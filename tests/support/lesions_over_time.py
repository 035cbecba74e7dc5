"""Lesions of one patient as arrays, written by hand for tests of matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etl.derive.lesion_arrays import LesionArrays

BODY_MM = (350.0, 250.0, 900.0)
"""Millimetres a unit of x, y and z of the published place, about."""


def lesions_at(
    study: Sequence[int],
    place: Sequence[tuple[float, float, float]],
    series: Sequence[int] | None = None,
    diameters_mm: Sequence[tuple[float, float]] | None = None,
    lesion_id: Sequence[int] | None = None,
    patient: int = 1,
) -> LesionArrays:
    """Return lesions whose position in the image agrees with their place; 20 x 15 mm unless stated."""
    n = len(study)
    places = np.array(place, np.float64).reshape(n, 3)
    sizes = np.array(diameters_mm if diameters_mm is not None else [(20.0, 15.0)] * n, np.float64)
    return LesionArrays(
        lesion_id=np.array(lesion_id if lesion_id is not None else range(n), np.int64),
        patient=np.full(n, patient, np.int64),
        study=np.array(study, np.int64),
        series=np.array(series if series is not None else [1] * n, np.int64),
        place=places,
        log_diameters=np.log(sizes.reshape(n, 2)),
        centre_mm=(places - [0.5, 0.5, 0.0]) * BODY_MM,
        long_angle_rad=np.zeros(n),
    )
