"""Properties of lesions that matching and retrieval use, as NumPy arrays, without pixels or file names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALLEST_DIAMETER_MM = 0.1
"""Diameters below this count as this long, so that their logarithm exists."""


@dataclass(frozen=True, eq=False)
class LesionArrays:
    """Lesions as arrays of n rows, sorted by patient and lesion_id.

    Attributes:
        lesion_id: 0-based row of the release's CSV.
        patient, study: numbers as published. Study numbers are ordinals without dates.
        series: a number for each published series number and slice interval: runs of one series at different
            intervals count as two series.
        place: (n, 3) x, y, z of Normalized_lesion_location.
        log_diameters: (n, 2) natural logarithm of the long and the short diameter in mm.
        centre_mm: (n, 3) centre of the box from the middle of the image along x and y, and the key slice's
            number times the slice interval. The third is comparable inside one series only.
        long_angle_rad: (n,) direction of the long diameter in the image; the sign has no meaning.
        embedding: (n, d) vectors of length one, NaN for a lesion that has none; or None.
    """

    lesion_id: Ints
    patient: Ints
    study: Ints
    series: Ints
    place: Floats
    log_diameters: Floats
    centre_mm: Floats
    long_angle_rad: Floats
    embedding: Floats | None = None

    def __len__(self) -> int:
        return len(self.lesion_id)

    @property
    def are_embedded(self) -> bool:
        """True if each of the lesions has a vector."""
        return self.embedding is not None and bool(np.isfinite(self.embedding).all())

    def take(self, rows: Ints | slice) -> LesionArrays:
        """Return the lesions of some rows, in the given order."""
        taken = {name: value[rows] for name, value in vars(self).items() if value is not None}
        return LesionArrays(**taken)

    def by_patient(self) -> Iterator[LesionArrays]:
        """Yield each patient's lesions, patients in order."""
        edges = [0, *(np.flatnonzero(np.diff(self.patient)) + 1).tolist(), len(self)]
        for start, stop in itertools.pairwise(edges):
            if stop > start:
                yield self.take(slice(start, stop))


def lesion_arrays(lesions: pd.DataFrame, embedding: NDArray[np.floating[Any]] | None = None) -> LesionArrays:
    """Return the arrays of a lesions table, or of `Annotations.lesions`, sorted by patient and lesion_id.

    Args:
        lesions: the columns of `etl.release.annotations.LESION_DTYPES`; any others are ignored.
        embedding: one vector a row of `lesions`, in its order; scaled to length one here. One that is zero or
            not finite is none.
    """
    order = np.lexsort((lesions["lesion_id"].to_numpy(), lesions["patient_index"].to_numpy()))

    def column(name: str) -> Floats:
        return lesions[name].to_numpy(np.float64)[order]

    def number(name: str) -> Ints:
        return lesions[name].to_numpy(np.int64)[order]

    spacing = [column(f"spacing_{axis}_mm") for axis in "xyz"]
    ends = {
        name: [(column(f"recist_{name}_{axis}2_px") - column(f"recist_{name}_{axis}1_px")) for axis in "xy"]
        for name in ("long", "short")
    }
    lengths = [np.hypot(dx * spacing[0], dy * spacing[1]) for dx, dy in ends.values()]
    _, series = np.unique(np.stack([column("series_index"), spacing[2]]), axis=1, return_inverse=True)
    middle = [(column(f"bbox_{axis}1_px") + column(f"bbox_{axis}2_px")) / 2 for axis in "xy"]
    half = [column("image_width_px") / 2, column("image_height_px") / 2]
    unit: Floats | None = None
    if embedding is not None:
        wide = np.asarray(embedding, np.float64)
        norm = np.linalg.norm(wide, axis=1, keepdims=True)
        there = np.isfinite(norm) & (norm > 0)
        unit = (np.where(there, wide, np.nan) / np.where(there, norm, 1))[order]
    return LesionArrays(
        lesion_id=number("lesion_id"),
        patient=number("patient_index"),
        study=number("study_index"),
        series=series.reshape(-1).astype(np.int64),
        place=np.stack([column(f"norm_{axis}") for axis in "xyz"], axis=1),
        log_diameters=np.log(np.maximum(np.stack(lengths, axis=1), SMALLEST_DIAMETER_MM)),
        centre_mm=np.stack(
            [
                (middle[0] - half[0]) * spacing[0],
                (middle[1] - half[1]) * spacing[1],
                column("key_slice_index") * spacing[2],
            ],
            axis=1,
        ),
        long_angle_rad=np.arctan2(ends["long"][1] * spacing[1], ends["long"][0] * spacing[0]),
        embedding=unit,
    )
