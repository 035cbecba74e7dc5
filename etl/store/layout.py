"""Where things lie in a store, and the root group's metadata (contract version 1)."""

from __future__ import annotations

import json
from typing import Any

CONTRACT_VERSION = 1

CITATION = (
    "Yan K, Wang X, Lu L, Summers RM. DeepLesion: automated mining of large-scale lesion annotations and "
    "universal lesion detection with deep learning. J. Med. Imaging 5(3), 036501 (2018). "
    "doi:10.1117/1.JMI.5.3.036501"
)
SOURCE_URL = "https://nihcc.box.com/v/DeepLesion"
ACKNOWLEDGEMENT = "The images and annotations are from the NIH Clinical Center."

ROOT = "zarr.json"
VERSIONS = "versions"
VOLUMES = "volumes"
MODELS = "models"
TABLES_FOLDER = "tables"
REPORTS = "reports"
RUNS = "runs"
RUNNING = ".running"
RECEIPT = "receipt.json"
METADATA = "zarr.json"
SHARD = "c/0/0/0"
"""The only shard of a level, by Zarr's default encoding of chunk keys."""

AXES = ("z", "y", "x")
ORIENTATION = ("superior-to-inferior", "anterior-to-posterior", "right-to-left")
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
"""Millimetres between voxel centres along each axis."""
SPLIT_RECORD = "split.json"


def volume_path(volume_id: str, fingerprint: str) -> str:
    """Return the path of a volume's OME-Zarr group, relative to the store."""
    return f"{VOLUMES}/{volume_id}/{fingerprint}"


def tables_path(run_id: str) -> str:
    """Return the path of the tables that one run wrote, relative to the store."""
    return f"{TABLES_FOLDER}/{run_id}"


def path_in_tables(path: str) -> str:
    """Return the path of a table file in its run's folder; a rollback names files of another run."""
    return path.split("/", 2)[2]


def run_path(run_id: str, kind: str) -> str:
    """Return the path of a run's record (`json`) or of Dask's report (`html`), relative to the store."""
    return f"{RUNS}/{run_id}.{kind}"


def version_path(number: int) -> str:
    """Return the path of a version's file, relative to the store."""
    return f"{VERSIONS}/{number:06d}.json"


def report_path(number: int) -> str:
    """Return the path of the folder of a version's report, relative to the store."""
    return f"{REPORTS}/{number:06d}"


def to_json(data: Any) -> bytes:
    """Return JSON as in every file of the store: indented, UTF-8, one newline at the end, no NaN."""
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def root_metadata() -> bytes:
    """Return the root `zarr.json`: a Zarr v3 group with the contract version, the source and its citation."""
    attributes = {
        "deeplesion_store": {
            "contract_version": CONTRACT_VERSION,
            "source": SOURCE_URL,
            "acknowledgement": ACKNOWLEDGEMENT,
            "citation": CITATION,
            "read": "the highest versions/NNNNNN.json is current; it names every table file and volume",
        }
    }
    return to_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})
