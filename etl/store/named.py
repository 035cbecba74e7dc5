"""The objects that a version names, whatever they are: single files, and groups that a receipt lists.

files    tables, and the files of models: path, bytes, sha256 are in the version
groups   volumes and labels, OME-Zarr images: the version has the SHA-256 of the group's receipt, and the
         receipt has size and SHA-256 of each of its objects
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl.io.places import ObjectInfo
from etl.store.layout import LABELS, MODELS, TABLES_FOLDER, VOLUMES, receipt_path

NAMED_FOLDERS = (VOLUMES, LABELS, MODELS, TABLES_FOLDER)
"""Folders whose objects versions name."""

LISTS = ("tables", "volumes", "labels", "models")
"""Keys of a version that name objects."""

Version = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """An OME-Zarr image that a version names.

    Attributes:
        path: of the group, relative to the store.
        receipt: path of its receipt.
        bytes: of all its objects and the receipt.
        sha256: of the receipt.
    """

    path: str
    receipt: str
    bytes: int
    sha256: str


def groups_of(version: Version) -> list[Group]:
    """Return the volumes and labels that a version names."""
    entries = (*version["volumes"], *version.get("labels", ()))
    return [Group(e["path"], receipt_path(e["path"]), e["bytes"], e["sha256"]) for e in entries]


def files_of(version: Version) -> list[ObjectInfo]:
    """Return the table files and model files that a version names, their paths relative to the store."""
    tables = (entry for files in version["tables"].values() for entry in files)
    return [ObjectInfo(e["path"], e["bytes"], e["sha256"]) for e in tables] + model_files(version)


def model_files(version: Version) -> list[ObjectInfo]:
    """Return the files of the models that a version names, their paths relative to the store."""
    return [
        ObjectInfo(f"{model['path']}/{file['path']}", file["bytes"], file["sha256"])
        for model in version.get("models", ())
        for file in model["files"]
    ]


def stored_bytes(version: Version) -> int:
    """Return the bytes of everything that a version names."""
    return sum(file.bytes for file in files_of(version)) + sum(group.bytes for group in groups_of(version))


def named_lists(version: Version) -> dict[str, Any]:
    """Return what a version names, by key; equal for two versions that name the same."""
    return {key: version[key] for key in LISTS if version.get(key)}


def carried(parent: Version | None, volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the labels and models of a version that stay in the next one, by key; no key without any.

    Models stay; labels stay while the volume that they belong to is the same one.

    Args:
        volumes: entries of the next version.
    """
    if parent is None:
        return {}
    before = {entry["volume_id"]: entry["path"] for entry in parent["volumes"]}
    same = {e["volume_id"] for e in volumes if before.get(e["volume_id"]) == e["path"]}
    labels = [entry for entry in parent.get("labels", ()) if entry["volume_id"] in same]
    models = list(parent.get("models", ()))
    return {key: found for key, found in (("labels", labels), ("models", models)) if found}
