"""An export: into a folder of its own, whole files only, taken up again where it was cut."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.core.errors import ConfigError, StoreError
from etl.export.coco import COCO
from etl.export.croissant import CROISSANT
from etl.export.files import ExportFile
from etl.export.nifti import NIFTI
from etl.export.release_csv import CSV
from etl.export.review_images import IMAGES
from etl.export.selection import Selection, select
from etl.io.objects import PARTIAL, LocalObjects
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, CONTRACT_VERSION, SOURCE_URL, to_json
from etl.store.reader import Store
from etl.store.versions import readable

FORMATS = {"nifti": NIFTI, "coco": COCO, "csv": CSV, "images": IMAGES, "croissant": CROISSANT}
STAMP = "export.json"
README = "README.txt"
THREADS = 8
"""At most; each holds a volume about three times: the largest of the release at 1 mm takes 0.5 GB."""


@dataclass(frozen=True)
class Export:
    """What an export did.

    Attributes:
        files: how many it consists of, its README.txt and export.json left out.
        reused: of these, how many were there already.
        bytes: of the files written now.
        lesions, volumes: rows selected.
    """

    files: int
    reused: int
    bytes: int
    lesions: int
    volumes: int


def export(
    store: Store,
    out: Path,
    format_name: str,
    selection: Selection,
    on_file: Callable[[int, int], None] = lambda size, total: None,
) -> Export:
    """Write the selected part of a store's version in one of `FORMATS`. The store is only read.

    Args:
        out: a new or empty folder, or one that the same export was begun in: files that are there are kept.
        on_file: called with each written file's bytes, and the number of files to write.

    Raises:
        ConfigError: the selection is wrong, or `out` holds something else.
        StoreError: the store can't be read, or `out` not be written.
    """
    chosen = FORMATS[format_name]
    if selection.asked() and not chosen.selects:
        raise ConfigError(
            f"{format_name} is of the whole version",
            value=selection.asked(),
            allowed="no --split, --type, --patient or --series",
        )
    with readable(store.objects):
        selected = select(store, selection)
        files = chosen.files(store, selected)
    objects = LocalObjects(os.path.abspath(out))
    stamp = _stamp(store, format_name, selection)
    try:
        _claim(store, objects, stamp)
        todo = [file for file in files if objects.size(file.path) is None]
        size = _write_all(store, objects, todo, on_file)
        objects.write(README, _readme(store, format_name, selection).encode())
        objects.write(STAMP, to_json(stamp | {"complete": True, "files": len(files)}))
        shutil.rmtree(Path(objects.root, PARTIAL), ignore_errors=True)
    except OSError as error:
        raise StoreError(
            "the export can't be written",
            where=objects.root,
            value=str(error),
            remedy="name a folder that you can write to, on a disk with room; what is written is kept",
        ) from error
    return Export(len(files), len(files) - len(todo), size, len(selected.lesions), len(selected.volumes))


def _write_all(
    store: Store, objects: LocalObjects, files: Sequence[ExportFile], on_file: Callable[[int, int], None]
) -> int:
    """Write files in threads: reading, inflating and deflating leave Python's lock."""

    def write(file: ExportFile) -> int:
        try:
            with readable(store.objects):
                data = file.encode()
        except (RuntimeError, ValueError) as error:
            # What Blosc and Zarr raise for bytes that they can't decode.
            raise StoreError(
                "what the store holds for a file can't be decoded",
                where=f"{store.objects.root}, for {file.path}",
                value=f"{type(error).__name__}: {error}",
                remedy="python jobs/verify_store.py STORE says what is damaged and what repairs it",
            ) from error
        objects.write(file.path, data)
        return len(data)

    written = 0
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(write, file) for file in files]
        try:
            for future in as_completed(futures):
                written += future.result()
                on_file(future.result(), len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return written


def _stamp(store: Store, format_name: str, selection: Selection) -> dict[str, Any]:
    """What an export is of: equal for two runs whose files are equal."""
    return {
        "format": format_name,
        "contract_version": CONTRACT_VERSION,
        "store_version": store.version["version"],
        "run_id": store.version["run_id"],
        "selection": selection.asked(),
        "source": SOURCE_URL,
        "acknowledgement": ACKNOWLEDGEMENT,
        "citation": CITATION,
    }


def _claim(store: Store, objects: LocalObjects, stamp: dict[str, Any]) -> None:
    """Mark a folder as this export's, or refuse it."""
    out = Path(objects.root)
    if out.resolve().is_relative_to(Path(store.objects.root).resolve()):
        raise ConfigError(
            "the export's folder lies inside the store",
            where=objects.root,
            allowed="a folder outside it: exports leave a store as it is",
        )
    if out.exists() and not out.is_dir():
        raise ConfigError("the export's folder is a file", where=objects.root, allowed="a folder")
    held = sorted(path.name for path in out.iterdir() if path.name != PARTIAL) if out.exists() else []
    if not held:
        objects.write(STAMP, to_json(stamp | {"complete": False}))
        return
    found = _read_stamp(objects)
    if found is None:
        raise ConfigError(
            "the folder holds something that isn't an export",
            where=objects.root,
            value=held[:3],
            allowed="a new or empty folder, or one that this export was begun in",
            remedy="name another folder, or empty this one yourself",
        )
    other = {key: found.get(key) for key, value in stamp.items() if found.get(key) != value}
    if other:
        raise ConfigError(
            "the folder holds another export",
            where=f"{objects.root}/{STAMP}",
            value=other,
            allowed=str({key: stamp[key] for key in other}),
            remedy="name another folder, or give the same format, version and selection to take it up again",
        )


def _read_stamp(objects: LocalObjects) -> dict[str, Any] | None:
    """What export.json says, or None where it is absent or is not one."""
    try:
        found = json.loads(objects.read(STAMP))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "format" in found and "run_id" in found else None


def _readme(store: Store, format_name: str, selection: Selection) -> str:
    asked = selection.asked()
    chosen = "; ".join(f"{name} {', '.join(map(str, answers))}" for name, answers in asked.items())
    return "\n".join(
        [
            f"DeepLesion: {format_name} export of version {store.version['version']} of a DeepLesion store",
            f"made from {store.version['annotations']['name']}; selected: {chosen or 'everything'}.",
            "",
            FORMATS[format_name].description,
            "",
            f"Source: {SOURCE_URL}",
            ACKNOWLEDGEMENT,
            f"Cite: {CITATION}",
            "",
        ]
    )
