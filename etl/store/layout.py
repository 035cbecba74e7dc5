"""Paths in a store, by version 2 of the contract and, for stores that have it, by version 1."""

from __future__ import annotations

import json
from typing import Any

from etl.store.sealed import sealed

CONTRACT_VERSION = 2
READABLE_CONTRACTS = (1, 2)
"""Versions of the contract that can be read; only the last is written."""

CITATION = (
    "Yan K, Wang X, Lu L, Summers RM. DeepLesion: automated mining of large-scale lesion annotations and "
    "universal lesion detection with deep learning. J. Med. Imaging 5(3), 036501 (2018). "
    "doi:10.1117/1.JMI.5.3.036501"
)
SOURCE_URL = "https://nihcc.box.com/v/DeepLesion"
ACKNOWLEDGEMENT = "The images and annotations are from the NIH Clinical Center."

ROOT = "store.json"
ROOT_V1 = "zarr.json"
VERSIONS = "versions"
VOLUMES = "volumes"
SUMMARIES = f"{VERSIONS}/summaries"
TAGS = f"{VERSIONS}/tags"
LABELS = "labels"
MODELS = "models"
TABLES_FOLDER = "tables"
REPORTS = "reports"
RUNS = "runs"
RUNNING = ".running"
GROUP_SUFFIX = ".ome.zarr"
RECEIPT_SUFFIX = ".receipt.json"
SPLIT_SUFFIX = ".split.json"
METADATA = "zarr.json"
SEAL_AT = ("attributes", "deeplesion")
"""Keys of a `zarr.json` that lead to the object that holds its own checksum."""
SHARD = "c/0/0/0"
"""The only shard of a level, by Zarr's default encoding of chunk keys."""

AXES = ("z", "y", "x")
ORIENTATION = ("superior-to-inferior", "anterior-to-posterior", "right-to-left")
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
"""Millimetres between voxel centres along each axis."""


def volume_path(volume_id: str, fingerprint: str) -> str:
    """Return the path of a volume's OME-Zarr group, relative to the store."""
    return f"{VOLUMES}/{volume_id}/{fingerprint}{GROUP_SUFFIX}"


def split_path(volume_id: str, fingerprint: str) -> str:
    """Return the path of the record of a run that was split into several volumes, relative to the store."""
    return f"{VOLUMES}/{volume_id}/{fingerprint}{SPLIT_SUFFIX}"


def receipt_path(path: str) -> str:
    """Return the path of the receipt of an OME-Zarr group, which lies next to it; by contract 1, in it."""
    if contract_of(path) == 1:
        return f"{path}/receipt.json"
    return f"{path.removesuffix(GROUP_SUFFIX)}{RECEIPT_SUFFIX}"


def contract_of(path: str) -> int:
    """Return the version of the contract by which an OME-Zarr group was written, by its path or one in it."""
    return 2 if f"{GROUP_SUFFIX}/" in f"{path}/" else 1


def tables_path(run_id: str) -> str:
    """Return the path of the tables that one run wrote, relative to the store."""
    return f"{TABLES_FOLDER}/{run_id}"


def path_in_tables(path: str) -> str:
    """Return the path of a table file in its run's folder; a rollback names files of another run."""
    return path.split("/", 2)[2]


def run_of(path: str) -> str:
    """Return the run that wrote a table file, by its path; a rollback names files of another run."""
    return path.split("/", 2)[1]


def run_path(run_id: str, kind: str) -> str:
    """Return the path of a run's record (`json`) or of Dask's report (`html`), relative to the store."""
    return f"{RUNS}/{run_id}.{kind}"


def version_path(number: int) -> str:
    """Return the path of a version's file, relative to the store."""
    return f"{VERSIONS}/{number:06d}.json"


def summary_path(number: int) -> str:
    """Return the path of a version's summary, relative to the store."""
    return f"{SUMMARIES}/{number:06d}.json"


def tag_path(name: str) -> str:
    """Return the path of the file of a tag, relative to the store."""
    return f"{TAGS}/{name}.json"


def report_path(number: int) -> str:
    """Return the path of the folder of a version's report, relative to the store."""
    return f"{REPORTS}/{number:06d}"


def to_json(data: Any) -> bytes:
    """Return JSON as in every file of the store: indented, UTF-8, one newline at the end, no NaN."""
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def root_metadata() -> bytes:
    """Return `store.json`: the number of the contract, the source, its citation, and how to read the store.

    The root is no Zarr group, so that no tool takes it for an empty one.
    """
    content = {
        "contract_version": CONTRACT_VERSION,
        "source": SOURCE_URL,
        "acknowledgement": ACKNOWLEDGEMENT,
        "citation": CITATION,
        "read": "the highest versions/NNNNNN.json is current; it names every table file and volume",
    }
    return to_json(sealed(content))
