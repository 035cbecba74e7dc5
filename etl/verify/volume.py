"""Verify one volume against its receipt and the version: every byte, every voxel, all metadata."""

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
from etl.imaging.hounsfield import HuStatistics, statistics
from etl.imaging.pyramid import level_translation_mm
from etl.io.opening import open_objects
from etl.io.places import ObjectInfo, Objects, object_info
from etl.release.names import is_ignorable
from etl.store.layout import AXES, LABELS, METADATA, SEAL_AT, SHARD, Shape, contract_of, receipt_path
from etl.store.receipts import Receipt
from etl.store.sealed import is_intact
from etl.tables.checks import VolumeFacts, digest
from etl.tables.slices import mask_columns
from etl.verify.labels import check_labels
from etl.verify.problems import CountedReads, Problem, Repair, collect, describe, differences, read_whole

SpacingYX = tuple[float, float]
MOST_PROBLEMS = 20
"""Problems listed per volume; a folder of foreign files would give thousands."""


@dataclass(frozen=True, eq=False)
class VolumeCheck:
    """The result of verifying one volume.

    Attributes:
        volume_id, path: identify the volume, as in the version file.
        facts: None if the receipt is not the one that the version names.
        problems: the first `MOST_PROBLEMS`, and the number of others.
        objects, bytes: numbers of objects and bytes read, including the receipt.
    """

    volume_id: str
    path: str
    facts: VolumeFacts | None
    problems: tuple[Problem, ...]
    objects: int
    bytes: int


@dataclass(frozen=True)
class VolumeTask:
    """A volume, or labels of one, to verify.

    Attributes:
        entry: entry of the version file's `volumes` or `labels`: volume_id, path, bytes and sha256.
        source_spacing_mm: from the table `volumes`; None if the table has none.
    """

    entry: Mapping[str, Any]
    source_spacing_mm: SpacingYX | None = None


@dataclass(frozen=True)
class VolumeVerifier:
    """`verify_volume` as a value that travels to workers.

    Attributes:
        store: the store's place, reached from every worker.
    """

    store: str

    def __call__(self, task: VolumeTask) -> VolumeCheck:
        return verify_volume(open_objects(self.store), task)


def facts_of(receipt: Receipt, source_spacing_mm: SpacingYX | None) -> VolumeFacts:
    """Return what a receipt says that the tables say too."""
    columns: dict[str, Any] = {
        f"hu_{name}": [getattr(hu, name) for hu in receipt.slice_hu]
        for name in HuStatistics.__dataclass_fields__
    }
    count, masks = len(receipt.slice_hu), len(receipt.slice_masks)
    # A receipt of the contract's first version has no masks.
    if source_spacing_mm is not None and masks == count:
        columns |= mask_columns(receipt.slice_masks, np.tile(source_spacing_mm, (count, 1)))
    digests = {name: digest(values) for name, values in columns.items()}
    return VolumeFacts(
        receipt.fingerprint, receipt.shape, receipt.spacing_mm, receipt.hu, count, masks, digests
    )


def verify_volume(objects: Objects, task: VolumeTask) -> VolumeCheck:
    """Read and decode a whole volume: one unit of work, independent of all others.

    Each object is read once and kept in memory, compressed, together with the decoded voxels of one level.
    Voxels and metadata are checked only if their bytes match the receipt; a mismatch is a problem itself.

    Returns:
        The result; no state of the volume raises an error.

    Raises:
        OSError, MemoryError: the store can't be read now, or this machine is out of memory; worth a retry.
    """
    entry, reads = task.entry, CountedReads(objects)
    path = str(entry.get("path"))
    receipt, facts, problems = None, None, list[Problem]()
    if path.startswith(f"{LABELS}/"):
        problems += collect(check_labels(reads, objects, entry), path, Repair.LABELS)
    else:
        receipt, facts, problems = _read_receipt(reads, task, path)
    if receipt is not None:
        problems += collect(_check_names(objects, path, receipt), path, Repair.VOLUME)
        problems += collect(_check_content(reads, path, receipt), path, Repair.VOLUME)
    if len(problems) > MOST_PROBLEMS:
        more = Problem(f"and {len(problems) - MOST_PROBLEMS:,} more", path, Repair.VOLUME)
        problems = [*problems[:MOST_PROBLEMS], more]
    return VolumeCheck(str(entry.get("volume_id")), path, facts, tuple(problems), reads.count, reads.bytes)


def _read_receipt(
    reads: CountedReads, task: VolumeTask, path: str
) -> tuple[Receipt | None, VolumeFacts | None, list[Problem]]:
    """Return (the receipt if there is one, its facts if the entry names it, problems otherwise)."""
    where, entry = receipt_path(path), task.entry
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
        facts = facts_of(receipt, task.source_spacing_mm)
    except FileNotFoundError:
        return None, None, [Problem("is missing", where, Repair.VOLUME)]
    except Exception as error:
        return None, None, [Problem("can't be read", where, Repair.VOLUME, describe(error))]
    problems = list(differences(where, Repair.VOLUME, values))
    return receipt, None if problems else facts, problems


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
        yield from _check_seals(whole, path)
        yield from collect(_check_metadata(whole[METADATA], receipt, levels, group), group, Repair.VOLUME)
    for level in levels:
        if {f"{level}/{METADATA}", f"{level}/{SHARD}"} <= whole.keys():
            array = f"{path}/{level}"
            yield from collect(_check_level(store, level, receipt, array), array, Repair.VOLUME)


def _levels(receipt: Receipt) -> list[int]:
    names = {item.path.split("/")[0] for item in receipt.objects if "/" in item.path}
    return sorted(int(name) for name in names if name.isdecimal())


def _check_names(objects: Objects, path: str, receipt: Receipt) -> Iterator[Problem]:
    """Check that the receipt lists all objects of the volume, and that there are no others."""
    listed = [item.path for item in receipt.objects]
    levels = range(max(len(_levels(receipt)), 1))
    expected = {METADATA, *(f"{level}/{name}" for level in levels for name in (METADATA, SHARD))}
    where = receipt_path(path)
    yield from differences(where, Repair.VOLUME, [("list of objects", sorted(listed), sorted(expected))])
    known = {*listed, "receipt.json", "split.json"} if contract_of(path) == 1 else {*listed}
    for name in objects.list(path):
        if name.removeprefix(f"{path}/") not in known and not is_ignorable(name):
            yield Problem("is no part of this volume", name, Repair.VOLUME)


def _check_ome_zarr(store: MemoryStore, where: str) -> Iterator[Problem]:
    try:
        Image.from_zarr(zarr.open_group(store, mode="r"))
    except Exception as error:
        yield Problem("is not a valid OME-Zarr 0.5 image", where, Repair.VOLUME, describe(error))


def _check_seals(whole: Mapping[str, bytes], path: str) -> Iterator[Problem]:
    """Check the checksum that each `zarr.json` holds of itself; those of contract 1 have none."""
    for name, data in whole.items():
        if name.endswith(METADATA) and contract_of(path) > 1 and not is_intact(json.loads(data), SEAL_AT):
            yield Problem("its own SHA-256 is wrong", f"{path}/{name}", Repair.VOLUME)


def _check_metadata(data: bytes, receipt: Receipt, levels: Sequence[int], where: str) -> Iterator[Problem]:
    """Check the metadata against the receipt: identity, axes, spacing and position of each level."""
    attributes = json.loads(data)["attributes"]
    own, multiscale = attributes["deeplesion"], attributes["ome"]["multiscales"][0]
    affine = [list(row) for row in voxel_to_lps_mm(receipt.spacing_mm)]
    axes = [(axis["name"], axis["unit"]) for axis in multiscale["axes"]]
    paths = [dataset["path"] for dataset in multiscale["datasets"]]
    values: list[tuple[str, Any, Any]] = [
        ("contract_version", own["contract_version"], receipt.contract_version),
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
    """Check the shape and type of an array, decode every voxel, and compare level 0 with the receipt's HU."""
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
