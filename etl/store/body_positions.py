"""Positions in the body of a version's slices, which `jobs/score_slices.py` published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from etl.core.errors import StoreError
from etl.store.parquet import read_table
from etl.store.versions import readable
from etl.tables.registry import declared

if TYPE_CHECKING:
    import pandas as pd

    from etl.store.reader import Store

TABLE = "body_positions"
OK = "ok"


def body_positions_of(store: Store, volume_id: str | None, split: str | None) -> pd.DataFrame:
    """Return the table `body_positions`; see `Store.body_positions`."""
    where = None
    if split is not None:
        names = store.volumes(split=split, columns=["volume_id"])["volume_id"].tolist()
        where = pc.field("volume_id").isin(pa.array(names, pa.string()))
    if volume_id is not None:
        store._path(volume_id)  # raises where there is no such volume
        of_volume = pc.field("volume_id") == volume_id
        where = of_volume if where is None else where & of_volume
    return read_positions(store, where)


def volumes_at(store: Store, norm_z: float, tolerance: float) -> pd.DataFrame:
    """Return the slice of each volume that is nearest to a position; see `Store.volume_at`."""
    for name, value in (("norm_z", norm_z), ("tolerance", tolerance)):
        if not _is_number(value) or (name == "tolerance" and value < 0):
            raise StoreError(
                "there are no slices at this position",
                where=f"volume_at, {name}",
                value=value,
                allowed="a number, of the release 0 to 1 from head to feet; a tolerance of at least 0",
            )
    near = pc.field("norm_z").is_valid() & (pc.field("order") == OK)
    near &= (pc.field("norm_z") >= norm_z - tolerance) & (pc.field("norm_z") <= norm_z + tolerance)
    found = read_positions(store, near)
    off = (found["norm_z"] - norm_z).abs()
    nearest = found.assign(off=off).sort_values(["off", "volume_id", "slice_index"])
    chosen = nearest.drop_duplicates("volume_id").drop(columns="off").reset_index(drop=True)
    return chosen[["volume_id", "slice_index", "mm", "norm_z", "region"]]


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def read_positions(store: Store, where: pc.Expression | None) -> pd.DataFrame:
    """Return rows of `body_positions`, sorted by volume and slice.

    Raises:
        StoreError: the version lacks the table.
    """
    if TABLE not in store.version["tables"]:
        raise StoreError(
            "the slices of this version were not scored",
            where=f"{store.objects.root}, version {store.version['version']}",
            value=", ".join(store.version["tables"]),
            allowed=f"a version with the table {TABLE}",
            remedy=f"score them: deeplesion score {store.objects.root} --model ID",
        )
    with readable(store.objects):
        rows = read_table(
            store.objects, store.version["tables"][TABLE], declared(store.version, TABLE), None, where
        )
    return rows.to_pandas()
