"""What readers see: layout, volumes, tables, versions. `open_store` is where a reader begins."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etl.store.lesion_crops import LesionCrops
    from etl.store.reader import Store, open_store

__all__ = ["LesionCrops", "Store", "open_store"]

_MODULES = {"LesionCrops": "lesion_crops", "Store": "reader", "open_store": "reader"}


def __getattr__(name: str) -> Any:
    """pandas, xarray and zarr are loaded when a reader is asked for, not by whatever imports this room."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
