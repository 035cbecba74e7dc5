"""Read the voxels of stored volumes, lazily: as a Zarr array, or as an xarray.DataArray with mm."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from etl.core.errors import StoreError
from etl.io.places import Objects
from etl.store.layout import AXES, METADATA, SHARD
from etl.store.versions import readable

REMEDY = "deeplesion verify lists all damage and what repairs it"


def open_level(objects: Objects, path: str, level: int = 0) -> zarr.Array[Any]:
    """Open one level of a stored volume.

    Args:
        path: of the volume, relative to the store.

    Returns:
        int16 HU, (z, y, x), read lazily.

    Raises:
        StoreError: there is no such array, or its shard is missing or empty: Zarr would read air.
        OSError: the store can't be read.
    """
    where = f"{objects.root}/{path}/{level}"
    try:
        array = zarr.open_array(where, mode="r", zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError("no such volume", where=where, value=str(error)) from error
    size = objects.size(f"{path}/{level}/{SHARD}")
    if not size:
        raise StoreError(
            "a volume's voxels are missing",
            where=f"{where}/{SHARD}",
            value="no such object" if size is None else "0 bytes",
            allowed="the shard that the volume's receipt lists",
            remedy=REMEDY,
        )
    return array


class StoredVoxels(BackendArray):
    """The source of a level for xarray. It holds no open file or connection, so it can be pickled."""

    def __init__(self, objects: Objects, path: str, level: int) -> None:
        self._objects, self._path, self._level = objects, path, level
        array = open_level(objects, path, level)
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        return open_level(self._objects, self._path, self._level).oindex[key]


def open_volume(objects: Objects, path: str, level: int = 0) -> xarray.DataArray:
    """Open one level of a stored volume with coordinates and units.

    Returns:
        int16 HU, axes (z, y, x), read lazily. Coordinates are centres of voxels in mm, from the centre of the
        first voxel of level 0, as the `*_mm` columns of `lesions` count. Attributes: units, ids and spacing.

    Raises:
        StoreError: there is no such volume or level, or it can't be read.
    """
    voxels = StoredVoxels(objects, path, level)
    with readable(objects):
        attributes = _attributes(objects, path)
    own, multiscale = attributes["deeplesion"], attributes["ome"]["multiscales"][0]
    placed = {t["type"]: t[t["type"]] for t in multiscale["datasets"][level]["coordinateTransformations"]}
    spacing_mm, first_mm = placed["scale"], placed.get("translation", [0.0, 0.0, 0.0])
    coordinates = {
        name: xarray.Variable(
            name,
            first_mm[axis] + spacing_mm[axis] * np.arange(voxels.shape[axis]),
            {"units": "mm", "long_name": multiscale["axes"][axis]["orientation"]["value"]},
        )
        for axis, name in enumerate(AXES)
    }
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
    lazy = indexing.LazilyIndexedArray(voxels)
    return xarray.DataArray(xarray.Variable(AXES, lazy), coords=coordinates, name="hu", attrs=described)


def _attributes(objects: Objects, path: str) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads(objects.read(f"{path}/{METADATA}"))["attributes"]
    except (ValueError, KeyError) as error:
        raise StoreError(
            "a volume's metadata is damaged",
            where=f"{objects.root}/{path}/{METADATA}",
            value=str(error),
            remedy=REMEDY,
        ) from error
    return attributes
