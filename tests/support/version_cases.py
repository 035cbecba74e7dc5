"""Kinds of damage to tables, version file and root, and what verification is to say of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from etl.verify.problems import Repair
from tests.support.damage import (
    VERSION,
    VOLUME,
    Cases,
    Damage,
    cut,
    edit_json,
    edit_version,
    flip,
    forge_table,
    set_value,
    table_file,
)


def in_table(name: str, column: str, value: Any, **key: Any) -> Damage:
    """A value of the rows where another column has a value."""
    return lambda store: forge_table(store, name, lambda table: set_value(table, column, value, **key))


def lesion(column: str, value: Any) -> Damage:
    return in_table("lesions", column, value, lesion_id=0)


def count(name: str, value: Any) -> Damage:
    return lambda store: edit_version(store, lambda version: version["counts"].update({name: value}))


def version_names_absent_volume(store: Path) -> None:
    def change(version: dict[str, Any]) -> None:
        (entry,) = (e for e in version["volumes"] if e["volume_id"] == VOLUME)
        entry["path"] = f"volumes/{VOLUME}/0123456789abcdef.ome.zarr"

    edit_version(store, change)


VERSION_CASES: Cases = {
    # tables
    "truncated table": (
        lambda store: cut(table_file(store, "volumes")),
        Repair.TABLE,
        [("volumes/part-0.parquet", "size is wrong")],
    ),
    "flipped bit in a table": (
        lambda store: flip(table_file(store, "slices"), 99),
        Repair.TABLE,
        [("slices/part-0.parquet", "SHA-256 is wrong")],
    ),
    "missing table": (
        lambda store: table_file(store, "rejects").unlink(),
        Repair.TABLE,
        [("rejects/part-0.parquet", "is missing")],
    ),
    "table without a column": (
        lambda store: forge_table(store, "slices", lambda table: table.drop_columns(["crc32"])),
        Repair.CONTENT,
        [("slices/part-0.parquet", "schema is not the version's")],
    ),
    "lesion below its volume": (
        lesion("z_vox", 500.0),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "z_vox is outside its volume")],
    ),
    "lesion outside its volume": (
        lesion("bbox_x2_vox", 500.0),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "bbox_x2_vox is outside its volume")],
    ),
    "lesion with no position": (
        lesion("bbox_y1_vox", float("nan")),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "bbox_y1_vox is outside its volume")],
    ),
    "lesion on a slice of another volume": (
        lesion("key_slice_index", 4000),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "key_slice_index is outside its volume")],
    ),
    "lesion in no volume": (
        lesion("volume_id", "000009_01_01_001-002"),
        Repair.CONTENT,
        [
            ("lesions: lesion_id 0", "its volume is not in this version"),
            ("volumes: 000001_01_01_103-115", "lesion_count is wrong"),
        ],
    ),
    "two lesions of one number": (
        lesion("lesion_id", 1),
        Repair.CONTENT,
        [("lesions: lesion_id 1", "occurs more than once")],
    ),
    "location as of another slice": (
        lesion("norm_x_recomputed", 0.5),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "norm_x_recomputed is not what the slice's mask gives")],
    ),
    "location that is said to agree": (
        lesion("location_agrees", None),
        Repair.CONTENT,
        [
            ("lesions: lesion_id 0", "location_agrees is not what the slice's mask gives"),
            (VERSION, "locations.compared is wrong"),
            (VERSION, "locations.agreeing is wrong"),
            (VERSION, "locations.exact is wrong"),
        ],
    ),
    "mask of another box": (
        in_table("slices", "body_mask_row_last", 7, volume_id=VOLUME),
        Repair.CONTENT,
        [(f"slices: {VOLUME}", "body_mask_row_last is wrong")],
    ),
    "catalogue of another shape": (
        in_table("volumes", "shape_y", 7, volume_id=VOLUME),
        Repair.CONTENT,
        [
            (f"volumes: {VOLUME}", "shape (z, y, x) is wrong"),
            (f"volumes: {VOLUME}", "shape (z, y, x), by its receipt, is wrong"),
        ],
    ),
    "catalogue of another path": (
        in_table("volumes", "path", "volumes/elsewhere", volume_id=VOLUME),
        Repair.CONTENT,
        [(f"volumes: {VOLUME}", "path is wrong")],
    ),
    "lost slice": (
        in_table("slices", "slice_index", 99, slice_index=103),
        Repair.CONTENT,
        [("slices: 000001_01_01_103-115", "list of slices is wrong")],
    ),
    "row that is rejected and kept": (
        in_table("rejects", "lesion_id", 0, reason="slice_missing"),
        Repair.CONTENT,
        [("lesions: lesion_id 0", "row is rejected as well")],
    ),
    # the version file and the root
    "version names a volume that isn't there": (
        version_names_absent_volume,
        Repair.VOLUME,
        [
            (f"volumes/{VOLUME}/receipt.json", "is missing"),
            (f"volumes: {VOLUME}", "path is wrong"),
        ],
    ),
    "lost lesions": (
        count("rows_rejected", 1000),
        Repair.CONTENT,
        [(VERSION, "counts.rows_found is wrong"), (VERSION, "counts.rows_rejected is wrong")],
    ),
    "lost slices": (count("slices_found", 3), Repair.CONTENT, [(VERSION, "counts.slices_found is wrong")]),
    "reasons that the table doesn't have": (
        count("rejects_by_reason", {}),
        Repair.CONTENT,
        [(VERSION, "counts.rejects_by_reason is wrong")],
    ),
    "truncated version": (
        lambda store: cut(store / VERSION),
        Repair.VERSION,
        [(VERSION, "the version file is damaged")],
    ),
    "no root": (lambda store: (store / "store.json").unlink(), Repair.ROOT, [("store.json", "is missing")]),
    "root of another contract": (
        lambda store: edit_json(
            store / "store.json", lambda root: root.update(contract_version=99), is_sealed=True
        ),
        Repair.ROOT,
        [("store.json", "is not a store's root")],
    ),
    "changed root": (
        lambda store: edit_json(store / "store.json", lambda root: root.update(source="elsewhere")),
        Repair.ROOT,
        [("store.json", "is not a store's root")],
    ),
    "changed version": (
        lambda store: edit_json(store / VERSION, lambda version: version["counts"].update(slices=3)),
        Repair.VERSION,
        [(VERSION, "the version file is damaged")],
    ),
}
