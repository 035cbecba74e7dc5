"""The store as readers see it: layout, volumes, tables, versions. A reader begins with `open_store`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl.store.key_slabs import KeySlabs
    from etl.store.lesion_crops import LesionCrops, Negatives
    from etl.store.reader import Store, open_store
    from etl.store.volume_crops import VolumeCrops

__all__ = ["KeySlabs", "LesionCrops", "Negatives", "Store", "VolumeCrops", "open_store"]

_MODULES = {
    "KeySlabs": "key_slabs",
    "LesionCrops": "lesion_crops",
    "Negatives": "lesion_crops",
    "Store": "reader",
    "VolumeCrops": "volume_crops",
    "open_store": "reader",
}


def __getattr__(name: str) -> Any:
    """Import a reader on first use, not when any module of this room is imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
