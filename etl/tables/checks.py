"""Tables as verification reads them, and what a table's own checks say about them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from etl.imaging.hounsfield import HuStatistics


@dataclass(frozen=True)
class Wrong:
    """One contradiction between whole files.

    Attributes:
        what: what is wrong.
        where: table, row and field.
        found, expected: the value as it is and as it should be; empty where `what` says it all.
    """

    what: str
    where: str
    found: str = ""
    expected: str = ""


@dataclass(frozen=True)
class VolumeFacts:
    """The content of a volume's receipt that tables also have; about a kilobyte for any number of slices.

    Attributes:
        shape, spacing_mm: shape and spacing of the stored voxels (z, y, x).
        slice_count, mask_count: number of source slices, and of those with masks.
        slice_digests: digests of the columns of `slices` that the receipt measured, by name. See `digest`.
    """

    fingerprint: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    hu: HuStatistics
    slice_count: int
    mask_count: int
    slice_digests: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class StoredTables:
    """All tables of one version.

    Attributes:
        version: the version file's content.
        where: path of the version file.
        rows: whole rows by table, of the files that could be read.
        complete: tables of which every file could be read.
        facts: by volume_id, of the volumes that were looked at and whose receipt is right.
    """

    version: Mapping[str, Any]
    where: str
    rows: Mapping[str, pd.DataFrame]
    complete: frozenset[str]
    facts: Mapping[str, VolumeFacts]


def differing(where: str, values: Iterable[tuple[str, Any, Any]]) -> Iterator[Wrong]:
    """Yield a finding for each (name, found, expected) that are not equal."""
    for name, found, expected in values:
        if found != expected:
            yield Wrong(f"{name} is wrong", where, repr(found), repr(expected))


def digest(values: npt.ArrayLike) -> str:
    """Return a digest of numbers in their order; equal lists have the same, NaN being equal to NaN."""
    numbers = np.asarray(values, dtype="<f8") + 0.0  # -0.0 becomes 0.0, which it equals
    numbers[np.isnan(numbers)] = np.nan
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]
