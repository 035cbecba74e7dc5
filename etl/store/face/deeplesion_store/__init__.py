"""Readers of a DeepLesion store: `from deeplesion_store import open_store`.

The names are those of `etl.store`; this package has a name that no project's own folder has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import etl.store

if TYPE_CHECKING:
    from etl.store import KeySlabs, LesionCrops, Negatives, Store, VolumeCrops, open_store

__all__ = ["KeySlabs", "LesionCrops", "Negatives", "Store", "VolumeCrops", "open_store"]


def __getattr__(name: str) -> Any:
    """Import a reader on first use: the import of this package alone loads neither pandas nor zarr."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(etl.store, name)


def __dir__() -> list[str]:
    return __all__
