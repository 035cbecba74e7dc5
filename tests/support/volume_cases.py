"""Kinds of damage to a volume, and what verification is to say of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from etl.verify.problems import Repair
from tests.support.damage import (
    VOLUME,
    Cases,
    Damage,
    cut,
    edit_json,
    flip,
    forge_volume,
    overwrite,
    receipt_file,
    volume_folder,
)

HERE = f"volumes/{VOLUME}"


def group_json(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Metadata of a volume that is wrong from the start: every digest follows it."""

    def damage(store: Path) -> None:
        edit_json(volume_folder(store) / "zarr.json", change)
        forge_volume(store)

    return damage


def array_json(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(store: Path) -> None:
        edit_json(volume_folder(store) / "0/zarr.json", change)
        forge_volume(store)

    return damage


def multiscale(group: dict[str, Any]) -> dict[str, Any]:
    return group["attributes"]["ome"]["multiscales"][0]


def garbage_in_shard(store: Path) -> None:
    shard = volume_folder(store) / "0/c/0/0/0"
    shard.write_bytes(bytes(len(shard.read_bytes())))
    forge_volume(store)


def other_statistics(store: Path) -> None:
    forge_volume(store, lambda receipt: replace(receipt, hu=replace(receipt.hu, maximum=3000)))


def no_second_level(store: Path) -> None:
    shutil.rmtree(volume_folder(store) / "1")
    forge_volume(store)


def folder_in_place_of_shard(store: Path) -> None:
    shard = volume_folder(store) / "0/c/0/0/0"
    shard.unlink()
    shard.mkdir()


VOLUME_CASES: Cases = {
    # bytes that are not what they were
    "truncated shard": (
        lambda store: cut(volume_folder(store) / "0/c/0/0/0"),
        Repair.VOLUME,
        [(f"{HERE}/0/c/0/0/0", "size is wrong")],
    ),
    "flipped bit in a shard": (
        lambda store: flip(volume_folder(store) / "1/c/0/0/0", 1000),
        Repair.VOLUME,
        [(f"{HERE}/1/c/0/0/0", "SHA-256 is wrong")],
    ),
    "missing shard": (
        lambda store: (volume_folder(store) / "0/c/0/0/0").unlink(),
        Repair.VOLUME,
        [(f"{HERE}/0/c/0/0/0", "is missing")],
    ),
    "folder in place of a shard": (
        folder_in_place_of_shard,
        Repair.VOLUME,
        [(f"{HERE}/0/c/0/0/0", "can't be read")],
    ),
    "edited zarr.json": (
        lambda store: edit_json(
            volume_folder(store) / "zarr.json", lambda group: multiscale(group).update(name="other")
        ),
        Repair.VOLUME,
        [(f"{HERE}/zarr.json", "size is wrong")],
    ),
    "object that nobody lists": (
        lambda store: overwrite(volume_folder(store) / "0/c/0/0/1", b"stray"),
        Repair.VOLUME,
        [(f"{HERE}/0/c/0/0/1", "is no part of this volume")],
    ),
    "missing volume": (
        lambda store: shutil.rmtree(volume_folder(store).parent),
        Repair.VOLUME,
        [(f"{HERE}/receipt.json", "is missing")],
    ),
    "truncated receipt": (
        lambda store: cut(receipt_file(store)),
        Repair.VOLUME,
        [(f"{HERE}/receipt.json", "can't be read")],
    ),
    "receipt with another digest": (
        lambda store: edit_json(
            receipt_file(store),
            lambda receipt: receipt["objects"][0].update(sha256="f" * 64),
            is_sealed=True,
        ),
        Repair.VOLUME,
        [(f"{HERE}/receipt.json", "SHA-256 is wrong"), (f"{HERE}/0/c/0/0/0", "SHA-256 is wrong")],
    ),
    "receipt of another volume": (
        lambda store: edit_json(
            receipt_file(store),
            lambda receipt: receipt.update(volume_id="000002_02_01_009-020"),
            is_sealed=True,
        ),
        Repair.VOLUME,
        [
            (f"{HERE}/receipt.json", "SHA-256 is wrong"),
            (f"{HERE}/receipt.json", "volume_id is wrong"),
            (f"{HERE}/receipt.json", "path by its fingerprint is wrong"),
            (f"{HERE}/zarr.json", "volume_id is wrong"),
        ],
    ),
    # volumes that are wrong although every digest is right
    "shard that can't be decoded": (
        garbage_in_shard,
        Repair.VOLUME,
        [(f"{HERE}/0/c/0/0/0", "voxels can't be decoded")],
    ),
    "level left out": (
        no_second_level,
        Repair.VOLUME,
        [
            (f"{HERE}/zarr.json", "is not a valid OME-Zarr 0.5 image"),
            (f"{HERE}/zarr.json", "list of levels is wrong"),
        ],
    ),
    "other HU statistics": (
        other_statistics,
        Repair.VOLUME,
        [
            (f"{HERE}/0/c/0/0/0", "HU maximum of the voxels is wrong"),
            (f"volumes: {VOLUME}", "hu_maximum is wrong"),
        ],
    ),
    "another shape": (
        array_json(lambda array: array["shape"].__setitem__(2, array["shape"][2] - 1)),
        Repair.VOLUME,
        [(f"{HERE}/0/zarr.json", "shape (z, y, x) is wrong")],
    ),
    "another data type": (
        array_json(lambda array: array.update(data_type="int32")),
        Repair.VOLUME,
        [(f"{HERE}/0/zarr.json", "data type is wrong")],
    ),
    "axes that the arrays don't have": (
        array_json(lambda array: array.update(dimension_names=["x", "y", "z"])),
        Repair.VOLUME,
        [(f"{HERE}/zarr.json", "is not a valid OME-Zarr 0.5 image")],
    ),
    "another spacing": (
        group_json(
            lambda group: multiscale(group)["datasets"][0]["coordinateTransformations"][0].update(
                scale=[4.0, 4.0, 2.0]
            )
        ),
        Repair.VOLUME,
        [(f"{HERE}/zarr.json", "spacing of level 0 (z, y, x) in mm is wrong")],
    ),
    "another affine": (
        group_json(lambda group: group["attributes"]["deeplesion"].update(voxel_to_lps_mm=[])),
        Repair.VOLUME,
        [(f"{HERE}/zarr.json", "voxel_to_lps_mm is wrong")],
    ),
    "not OME-Zarr": (
        group_json(lambda group: group["attributes"]["ome"].update(version="0.4")),
        Repair.VOLUME,
        [(f"{HERE}/zarr.json", "is not a valid OME-Zarr 0.5 image")],
    ),
}
