"""Checks of lesions, sizes, levels and versions in the forms in which people ask a store for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from etl.core.errors import StoreError
from etl.store.versions import Version


def lesion_id_of(lesion: Any) -> int:
    """Return the lesion_id of a number, or of a row of `lesions`: a Series, a named tuple or a mapping.

    Raises:
        ValueError: it is none of these.
    """
    named = lesion.get("lesion_id") if isinstance(lesion, Mapping) else getattr(lesion, "lesion_id", lesion)
    found = np.asarray(named)
    if found.shape == () and found.dtype.kind in "iu":
        return int(found)
    raise ValueError(
        f"lesion is {str(lesion)[:80]!r}, {type(lesion).__name__}; "
        "allowed: a lesion_id, or one row of lesions(), such as lesions.iloc[0]"
    )


def edges_mm(size_mm: Any) -> np.ndarray[Any, Any]:
    """Return three edges along (z, y, x) in mm, from one number for all or three.

    Raises:
        ValueError: there are neither one nor three numbers, or one is not above 0.
    """
    sizes = np.asarray(size_mm, float)
    if sizes.shape not in ((), (3,)) or not (sizes > 0).all() or not np.isfinite(sizes).all():
        raise ValueError(
            f"size_mm is {size_mm}; allowed: above 0, one number for all edges or three along (z, y, x), "
            "such as (32, 64, 64)"
        )
    return np.broadcast_to(sizes, 3)


def check_level(version: Version, where: str, level: int) -> None:
    """Raise StoreError if the volumes of a version have no such level of resolution."""
    levels = version["config"]["volume"]["pyramid_levels"]
    if level not in range(levels):
        raise StoreError(
            "no such level in this version",
            where=f"{where}, version {version['version']}",
            value=level,
            allowed="0, full resolution" if levels == 1 else f"0, full resolution, to {levels - 1}",
            remedy=f"build the store with volume.pyramid_levels={int(level) + 1}" if level >= levels else "",
        )


def refuse_place(store: object, dataset: str) -> None:
    """Raise ValueError if a dataset is given the place of a store instead of an open store."""
    if isinstance(store, str | os.PathLike):
        place = os.fspath(store)
        raise ValueError(
            f"store is {place!r}; allowed: an open store, as in {dataset}(open_store({place!r}))"
        )
