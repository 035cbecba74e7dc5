"""The tables of a version as a Hugging Face data set: Parquet files, and a card that names them."""

from __future__ import annotations

from functools import partial
from typing import Any

import yaml

from etl.export.protocol import ExportFile, Format, Selected
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL
from etl.store.parquet import partition_value, read_file
from etl.store.reader import Store

CARD = "README.md"
# The hub's word for the split that it calls so.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def _path(table: str, number: int, path: str) -> str:
    split = partition_value(path) if "=" in path else "all"
    return f"{table}/{split}-{number:05d}.parquet"


def _size_category(rows: int) -> str:
    """Return the hub's word for a number of rows."""
    ends = ((1_000, "n<1K"), (10_000, "1K<n<10K"))
    return next((name for end, name in ends if rows < end), "10K<n<100K")


def card(store: Store) -> str:
    """Return the card: the hub's metadata as YAML, then text about the data and how to cite it."""
    version = store.version
    configs: list[dict[str, Any]] = []
    for table, entries in version["tables"].items():
        files: dict[str, list[str]] = {}
        for number, entry in enumerate(entries):
            if not entry["rows"]:  # `datasets` reads no file without rows
                continue
            split = _SPLITS[partition_value(entry["path"])] if "=" in entry["path"] else "train"
            files.setdefault(split, []).append(_path(table, number, entry["path"]))
        if files:
            data_files = [{"split": split, "path": paths} for split, paths in files.items()]
            # The hub takes no slash in such a name.
            configs.append({"config_name": table.replace("/", "-"), "data_files": data_files})
    for config in configs:
        if config["config_name"] == "lesions":
            config["default"] = True
    counts = version["counts"]
    metadata = {
        "pretty_name": "DeepLesion (tables of a store)",
        "license": "unknown",
        "language": ["en"],
        "tags": ["medical", "ct", "radiology", "lesion-detection", "deeplesion"],
        "task_categories": ["object-detection"],
        "size_categories": [_size_category(counts["lesions"])],
        "configs": configs,
    }
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{header}---\n\n# DeepLesion: annotations and catalogue\n\n"
        f"Version {version['version']} of a store made from the NIH DeepLesion release: "
        f"{counts['lesions']:,} lesions in {counts['volumes']:,} volumes of {counts['patients']:,} patients. "
        "The voxels are not part of it.\n\n"
        "`lesion_id` is the 0-based row of DL_info.csv. Splits are the official ones, by patient; tables "
        "that are not divided are called `train` here. Units and meaning of every column are in the Parquet "
        "schemas.\n\n"
        f"Source: {SOURCE_URL}. {ACKNOWLEDGEMENT} This export claims no licence over the data.\n\n"
        f"Cite: {CITATION}\n"
    )


def _files(store: Store, selected: Selected) -> list[ExportFile]:
    tables = [
        ExportFile(_path(table, number, entry["path"]), partial(read_file, store.objects, entry))
        for table, entries in store.version["tables"].items()
        for number, entry in enumerate(entries)
    ]
    return [*tables, ExportFile(CARD, lambda: card(store).encode())]


FORMAT = Format(
    _files,
    f'{CARD} is a data set card; `datasets.load_dataset(FOLDER, "lesions")` reads a table with its splits,\n'
    "and so does the hub when the folder is uploaded. Tables that have no splits are called `train`.\n"
    "The table embeddings/MODEL is called embeddings-MODEL; one without rows is not in the card.",
    selects=False,
)
