"""Is one volume what its receipt and the version say it is: every byte, every voxel, all metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import zarr
from ome_zarr_models.v05.image import Image
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from etl.imaging.geometry import voxel_to_lps_mm
from etl.imaging.hounsfield import statistics
from etl.imaging.pyramid import level_translation_mm
from etl.release.names import is_ignorable
from etl.store.layout import CONTRACT_VERSION, RECEIPT, SPLIT_RECORD
from etl.store.objects import ObjectInfo, Objects, object_info
from etl.store.problems import CountedReads, Problem, Repair, collect, describe, differences, read_whole
from etl.store.receipts import Receipt, Shape
from etl.store.volumes import AXES

METADATA = "zarr.json"
# The one shard of a level, by Zarr's default chunk key encoding.
SHARD = "c/0/0/0"


@dataclass(frozen=True, eq=False)
class VolumeCheck:
    """What verification found out about one volume.

    Attributes:
        volume_id, path: which volume; as in the version file.
        receipt: None where it is not the one that the version names.
        problems: all that is wrong.
        objects, bytes: read, the receipt included.
    """

    volume_id: str
    path: str
    receipt: Receipt | None
    problems: tuple[Problem, ...]
    objects: int
    bytes: int


def verify_volume(objects: Objects, entry: Mapping[str, Any]) -> VolumeCheck:
    """Read and decode one volume whole: one unit of work, independent of every other.

    Each object is read once and held in memory, compressed, beside one level's decoded voxels. Voxels and
    metadata are checked where their bytes are as the receipt lists them; otherwise that is the problem.

    Args:
        entry: of the version file's `volumes`: volume_id, path, bytes and sha256.

    Returns:
        What was found; nothing is raised, whatever state the volume is in.
    """
    path, reads = str(entry.get("path")), CountedReads(objects)
    receipt, problems = _read_receipt(reads, entry, path)
    named = None if problems else receipt
    if receipt is not None:
        problems += collect(_check_names(objects, path, receipt), path, Repair.VOLUME)
        problems += collect(_check_content(reads, path, receipt), path, Repair.VOLUME)
    return VolumeCheck(str(entry.get("volume_id")), path, named, tuple(problems), reads.count, reads.bytes)


def _read_receipt(
    reads: CountedReads, entry: Mapping[str, Any], path: str
) -> tuple[Receipt | None, list[Problem]]:
    """(the receipt where there is one, in what it is not the one of the entry)."""
    where = f"{path}/{RECEIPT}"
    try:
        data = reads.read(where)
        receipt = Receipt.from_bytes(data)
        size = len(data) + sum(item.bytes for item in receipt.objects)
        values = [
            ("SHA-256", object_info(where, data).sha256, entry["sha256"]),
            ("volume_id", receipt.volume_id, entry["volume_id"]),
            ("path by its fingerprint", receipt.path, path),
            ("size of the volume", size, entry["bytes"]),
        ]
    except FileNotFoundError:
        return None, [Problem("is missing", where, Repair.VOLUME)]
    except Exception as error:
        return None, [Problem("can't be read", where, Repair.VOLUME, describe(error))]
    return receipt, list(differences(where, Repair.VOLUME, values))


def _check_content(reads: CountedReads, path: str, receipt: Receipt) -> Iterator[Problem]:
    whole: dict[str, bytes] = {}
    for item in receipt.objects:
        info = ObjectInfo(f"{path}/{item.path}", item.bytes, item.sha256)
        data, problems = read_whole(reads, info, Repair.VOLUME)
        yield from problems
        if data is not None:
            whole[item.path] = data
    store = MemoryStore({name: Buffer.from_bytes(data) for name, data in whole.items()}, read_only=True)
    levels = _levels(receipt)
    if {METADATA, *(f"{level}/{METADATA}" for level in levels)} <= whole.keys():
        group = f"{path}/{METADATA}"
        yield from _check_ome_zarr(store, group)
        yield from collect(_check_metadata(whole[METADATA], receipt, levels, group), group, Repair.VOLUME)
    for level in levels:
        if {f"{level}/{METADATA}", f"{level}/{SHARD}"} <= whole.keys():
            array = f"{path}/{level}"
            yield from collect(_check_level(store, level, receipt, array), array, Repair.VOLUME)


def _levels(receipt: Receipt) -> list[int]:
    names = {item.path.split("/")[0] for item in receipt.objects if "/" in item.path}
    return sorted(int(name) for name in names if name.isdecimal())


def _check_names(objects: Objects, path: str, receipt: Receipt) -> Iterator[Problem]:
    """The receipt lists what a volume consists of, and nothing else lies there."""
    listed = [item.path for item in receipt.objects]
    levels = range(max(len(_levels(receipt)), 1))
    expected = {METADATA, *(f"{level}/{name}" for level in levels for name in (METADATA, SHARD))}
    where = f"{path}/{RECEIPT}"
    yield from differences(where, Repair.VOLUME, [("list of objects", sorted(listed), sorted(expected))])
    known = {*listed, RECEIPT, SPLIT_RECORD}
    for name in objects.list(path):
        if name.removeprefix(f"{path}/") not in known and not is_ignorable(name):
            yield Problem("is no part of this volume", name, Repair.VOLUME)


def _check_ome_zarr(store: MemoryStore, where: str) -> Iterator[Problem]:
    try:
        Image.from_zarr(zarr.open_group(store, mode="r"))
    except Exception as error:
        yield Problem("is not a valid OME-Zarr 0.5 image", where, Repair.VOLUME, describe(error))


def _check_metadata(data: bytes, receipt: Receipt, levels: Sequence[int], where: str) -> Iterator[Problem]:
    """The group says what the receipt says: identity, axes, spacing and place of each level."""
    attributes = json.loads(data)["attributes"]
    own, multiscale = attributes["deeplesion"], attributes["ome"]["multiscales"][0]
    affine = [list(row) for row in voxel_to_lps_mm(receipt.spacing_mm)]
    axes = [(axis["name"], axis["unit"]) for axis in multiscale["axes"]]
    paths = [dataset["path"] for dataset in multiscale["datasets"]]
    values: list[tuple[str, Any, Any]] = [
        ("contract_version", own["contract_version"], CONTRACT_VERSION),
        ("volume_id", own["volume_id"], receipt.volume_id),
        ("fingerprint", own["fingerprint"], receipt.fingerprint),
        ("voxel_to_lps_mm", own["voxel_to_lps_mm"], affine),
        ("axes", axes, [(name, "millimeter") for name in AXES]),
        ("list of levels", paths, [str(level) for level in levels]),
    ]
    for level, dataset in zip(levels, multiscale["datasets"], strict=False):
        placed = {t["type"]: t[t["type"]] for t in dataset["coordinateTransformations"]}
        spacing = [s * 2**level for s in receipt.spacing_mm]
        first = list(level_translation_mm(level, receipt.spacing_mm))
        values.append((f"spacing of level {level} (z, y, x) in mm", placed.get("scale"), spacing))
        values.append(
            (f"place of level {level} (z, y, x) in mm", placed.get("translation", [0.0, 0.0, 0.0]), first)
        )
    yield from differences(where, Repair.VOLUME, values)


def _check_level(store: MemoryStore, level: int, receipt: Receipt, where: str) -> Iterator[Problem]:
    """The array is as it should be, every voxel decodes, and level 0 has the receipt's HU."""
    try:
        array = zarr.open_array(store, path=str(level), mode="r")
    except Exception as error:
        yield Problem("is not a Zarr array", f"{where}/{METADATA}", Repair.VOLUME, describe(error))
        return
    layout = differences(
        f"{where}/{METADATA}",
        Repair.VOLUME,
        [
            ("shape (z, y, x)", tuple(array.shape), _level_shape(receipt.shape, level)),
            ("data type", str(array.dtype), "int16"),
        ],
    )
    wrong = list(layout)
    yield from wrong
    if wrong:
        return
    try:
        voxels = np.ascontiguousarray(array[...], dtype=np.int16)
    except Exception as error:
        yield Problem("voxels can't be decoded", f"{where}/{SHARD}", Repair.VOLUME, describe(error))
        return
    if level == 0:
        found, expected = asdict(statistics(voxels)), asdict(receipt.hu)
        values = [(f"HU {name} of the voxels", found[name], expected[name]) for name in expected]
        yield from differences(f"{where}/{SHARD}", Repair.VOLUME, values)


def _level_shape(shape: Shape, level: int) -> Shape:
    z, y, x = (-(-n // 2**level) for n in shape)
    return z, y, x
