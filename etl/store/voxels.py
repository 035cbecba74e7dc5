"""Read the voxels of a stored volume lazily, as an xarray.DataArray with coordinates in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from etl.io.places import Objects
from etl.store.group_metadata import read_metadata
from etl.store.held import Held
from etl.store.layout import AXES, ORIENTATION, Shape
from etl.store.level_voxels import LevelVoxels, open_level
from etl.store.versions import readable


class StoredVoxels(BackendArray):
    """The source of a level for xarray. It holds no open file or connection, so it can be pickled."""

    def __init__(self, voxels: LevelVoxels) -> None:
        self._voxels = voxels
        self.shape, self.dtype = voxels.shape, voxels.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._voxels.oindex.__getitem__
        )


def open_volume(
    objects: Objects, path: str, level: int = 0, held: Held | None = None, threads: int = 1
) -> xarray.DataArray:
    """Open one level of a stored volume with coordinates and units; arguments as of `open_level`.

    Returns:
        int16 HU, axes (z, y, x), read lazily. Coordinates are centres of voxels in mm, from the centre of the
        first voxel of level 0, as the `*_mm` columns of `lesions` count. Attributes: units, ids and spacing.

    Raises:
        StoreError: there is no such volume or level, or it can't be read.
    """
    voxels = StoredVoxels(open_level(objects, path, level, held, threads))
    with readable(objects):
        attributes = read_metadata(objects, path)["attributes"]
    own, multiscale = attributes["deeplesion"], attributes["ome"]["multiscales"][0]
    placed = {t["type"]: t[t["type"]] for t in multiscale["datasets"][level]["coordinateTransformations"]}
    spacing_mm, first_mm = placed["scale"], placed.get("translation", [0.0, 0.0, 0.0])
    described = {
        "long_name": "radiodensity",
        "units": own["unit"],
        "volume_id": own["volume_id"],
        "series_id": own["series_id"],
        "slice_first": own["slice_first"],
        "slice_last": own["slice_last"],
        "spacing_mm": spacing_mm,
        "source_spacing_mm": own["source_spacing_mm"],
        "fingerprint": own["fingerprint"],
    }
    return place_voxels(indexing.LazilyIndexedArray(voxels), spacing_mm, described, first_mm=first_mm)


def attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of `open_volume` for a row of `volumes` with `CATALOGUE_COLUMNS`."""
    return {
        "long_name": "radiodensity",
        "units": "HU",
        "volume_id": row["volume_id"],
        "series_id": row["volume_id"].rpartition("_")[0],
        "slice_first": int(row["slice_first"]),
        "slice_last": int(row["slice_last"]),
        "spacing_mm": [float(row[f"spacing_{axis}_mm"]) for axis in AXES],
        "source_spacing_mm": [float(row[f"source_spacing_{axis}_mm"]) for axis in AXES],
        "fingerprint": row["fingerprint"],
    }


def place_voxels(
    voxels: Any,
    spacing_mm: Sequence[float],
    attributes: Mapping[str, Any],
    *,
    start: Shape = (0, 0, 0),
    first_mm: Sequence[float] = (0.0, 0.0, 0.0),
    name: str = "hu",
) -> xarray.DataArray:
    """Return voxels with the coordinates of their centres; a part has exactly those of the whole.

    Args:
        voxels: an array (z, y, x), in memory or of xarray's lazy kind.
        start: index of its first voxel in the grid.
        first_mm: centre of the grid's first voxel, from that of the volume.
    """
    coordinates = {
        axis: xarray.Variable(
            axis, first + spacing * (begin + np.arange(n)), {"units": "mm", "long_name": direction}
        )
        for axis, direction, first, spacing, begin, n in zip(
            AXES, ORIENTATION, first_mm, spacing_mm, start, voxels.shape, strict=True
        )
    }
    return xarray.DataArray(
        xarray.Variable(AXES, voxels), coords=coordinates, name=name, attrs=dict(attributes)
    )
