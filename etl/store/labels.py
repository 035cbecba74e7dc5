"""Masks of one volume by one source, as OME-Zarr labels: in the stored grid, and in the source's own.

    labels/<volume_id>/<fingerprint>.ome.zarr/           a group, no image
        labels/                                          lists the images
            lesions/      lesions_source/                masks of whole lesions; 0/ [, 1/ ...]
            key_slices/   key_slices_source/             masks of key slices
            lesions_2/    lesions_2_source/              those that overlap others, and so on
    labels/<volume_id>/<fingerprint>.receipt.json        written last

A voxel is 0 outside, and `lesion_id` + 1 inside. Each level is one shard, written whole, that has only the
chunks with a voxel inside. Two folders above each image lies the group, which viewers may open for writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from etl.imaging.box_masks import halve
from etl.io.places import ObjectInfo, Objects, object_info
from etl.store.label_images import (
    SOURCE_SUFFIX,
    Grid,
    LesionMask,
    group_metadata,
    image_attributes,
    label_array,
    label_shard,
    labels_path,
)
from etl.store.layout import CONTRACT_VERSION, LABELS, METADATA, SHARD, receipt_path, to_json
from etl.store.sealed import read_sealed, sealed

# Objects are a few kB: a disk syncs several in the time of one, and a bucket answers several at once.
_AT_ONCE = 8
LABELS_VERSION = 1
"""Part of fingerprints; increase it where the same masks give other bytes."""


@dataclass(frozen=True)
class LabelReceipt:
    """The record of a complete group of labels; the last of its objects to be written.

    Attributes:
        entry: the group's entry in a version: volume_id, source, path, bytes, sha256 of the receipt.
        masks: what the writer said of each of its files.
    """

    entry: Mapping[str, Any]
    masks: Sequence[Any]


def image_names(masks: Sequence[LesionMask]) -> list[str]:
    """Return the image that each mask goes to: the first of its kind where it overlaps no other."""
    images: dict[str, list[LesionMask]] = {}
    names = []
    for mask in masks:
        kind, number = ("lesions" if mask.is_3d else "key_slices"), 1
        while True:
            name = kind if number == 1 else f"{kind}_{number}"
            others = images.setdefault(name, [])
            if not any(_collide(mask, other) for other in others):
                break
            number += 1
        others.append(mask)
        names.append(name)
    return names


def _collide(a: LesionMask, b: LesionMask) -> bool:
    return a.lesion_id == b.lesion_id or a.source.overlaps(b.source) or a.stored.overlaps(b.stored)


def write_labels(
    objects: Objects,
    grid: Grid,
    source: str,
    fingerprint: str,
    masks: Sequence[LesionMask],
    outcomes: Sequence[Any],
) -> LabelReceipt:
    """Write a group of labels and, last, its receipt; overwrite the rest of an interrupted attempt.

    Args:
        source: name of the source in the config.
        masks: at least one.
        outcomes: of each file that was read, as plain JSON types, for the receipt.

    Raises:
        OSError: the store can't be written; no receipt was.
    """
    path = labels_path(grid.volume_id, fingerprint)
    built = _build(grid, source, masks)
    list(_threads().map(lambda name: objects.write(f"{path}/{name}", built[name]), built))
    fields = {
        "contract_version": CONTRACT_VERSION,
        "volume_id": grid.volume_id,
        "fingerprint": fingerprint,
        "source": source,
        "masks": list(outcomes),
        "objects": [vars(object_info(name, data)) for name, data in built.items()],
    }
    data = to_json(sealed(fields))
    objects.write(receipt_path(path), data)
    return _receipt(path, data, fields)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """Return this process's threads for writing: to start some for each group costs more than to write it."""
    return ThreadPoolExecutor(_AT_ONCE, "labels")


def find_labels(objects: Objects, volume_id: str, fingerprint: str) -> LabelReceipt | None:
    """Return the receipt of a complete group of labels, whose objects have their sizes; else None."""
    path = labels_path(volume_id, fingerprint)
    try:
        data = objects.read(receipt_path(path))
        fields = read_sealed(data)
        sizes = objects.sizes(path)
        if any(sizes.get(item["path"]) != item["bytes"] for item in fields["objects"]):
            return None
        return _receipt(path, data, fields)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def _receipt(path: str, data: bytes, fields: Mapping[str, Any]) -> LabelReceipt:
    info: ObjectInfo = object_info(path, data)
    entry = {
        "volume_id": fields["volume_id"],
        "source": fields["source"],
        "path": path,
        "bytes": len(data) + sum(item["bytes"] for item in fields["objects"]),
        "sha256": info.sha256,
    }
    return LabelReceipt(entry, fields["masks"])


def _build(grid: Grid, source: str, masks: Sequence[LesionMask]) -> dict[str, bytes]:
    """Return all objects of the group by name: shards first."""
    shards: dict[str, bytes] = {}
    metadata: dict[str, bytes] = {}
    names = image_names(masks)
    for name in dict.fromkeys(names):
        own = [mask for mask, image in zip(masks, names, strict=True) if image == name]
        dtype = np.dtype("<u2") if max(mask.lesion_id for mask in own) < 2**16 - 1 else np.dtype("<u4")
        grids = (
            (name, grid.shape, grid.spacing_mm, [mask.stored for mask in own]),
            (f"{name}{SOURCE_SUFFIX}", grid.source_shape, grid.source_spacing_mm, [m.source for m in own]),
        )
        for image, shape, spacing, placed in grids:
            at = f"{LABELS}/{image}"
            for level in range(grid.level_count):
                if level:
                    placed = [halve(mask, shape) for mask in placed]
                    z, y, x = ((n + 1) // 2 for n in shape)
                    shape = (z, y, x)
                values = [(mask.lesion_id + 1, part) for mask, part in zip(own, placed, strict=True)]
                shards[f"{at}/{level}/{SHARD}"] = label_shard(shape, dtype, values)
                metadata[f"{at}/{level}/{METADATA}"] = label_array(shape, dtype)
            metadata[f"{at}/{METADATA}"] = group_metadata(image_attributes(grid, source, image, spacing, own))
    images = [f"{name}{suffix}" for name in dict.fromkeys(names) for suffix in ("", SOURCE_SUFFIX)]
    metadata[f"{LABELS}/{METADATA}"] = group_metadata({"ome": {"version": "0.5", "labels": images}})
    metadata[METADATA] = group_metadata({})
    return shards | metadata
