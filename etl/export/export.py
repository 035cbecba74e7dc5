"""Export a version: into a folder of its own, complete files only, continued where an earlier run stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from etl.core.errors import ConfigError, StoreError
from etl.core.urls import parse_folder
from etl.export.protocol import LESION, ExportFile, Format, Pictures, Selection
from etl.export.selection import select
from etl.io.local import LocalObjects
from etl.io.places import PARTIAL, is_outage
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, CONTRACT_VERSION, SOURCE_URL, to_json
from etl.store.reader import Store
from etl.store.versions import readable

STAMP = "export.json"
README = "README.txt"
MAX_THREADS = 8
"""A thread holds about three times a volume: 0.5 GB for the largest of the release at 1 mm."""


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes:
        files: number of its files, without README.txt and export.json.
        reused: number of these that were there already.
        bytes: size of the files that were written now.
        lesions, volumes: number of rows selected.
    """

    files: int
    reused: int
    bytes: int
    lesions: int
    volumes: int


def load_format(name: str) -> Format:
    """Return the format of one of the names in `etl.export.protocol.FORMATS`."""
    found = import_module(f"etl.export.{name}").FORMAT
    assert isinstance(found, Format)
    return found


def export(
    store: Store,
    out: Path,
    format_name: str,
    selection: Selection,
    on_file: Callable[[int, int], None] | None = None,
) -> Export:
    """Write the selected part of a store's version in one format. The store is only read.

    Args:
        out: a new or empty folder, or one that holds the same export; its files are kept.
        on_file: called after each file with its bytes and the number of files to write.

    Raises:
        ConfigError: the selection is wrong, or `out` is a URL or holds something else.
        StoreError: the store can't be read, or `out` can't be written.
    """
    out, chosen, criteria = parse_folder(out, "OUT"), load_format(format_name), selection.criteria()
    if criteria and not chosen.selects:
        raise ConfigError(
            f"a {format_name} export always describes the whole version",
            where="the command line",
            value=criteria,
            allowed="no --split, --type, --patient or --series",
            remedy="leave these options out",
        )
    if selection.single_class and not chosen.has_classes:
        raise ConfigError(
            f"a {format_name} export has no classes that --single-class could join",
            where="the command line",
            remedy="leave --single-class out",
        )
    if selection.pictures != Pictures() and not chosen.has_pictures:
        raise ConfigError(
            f"a {format_name} export has no images that --hu or --neighbours could change",
            where="the command line",
            allowed="these options with --format coco",
            remedy="leave them out",
        )
    with readable(store.objects):
        selected = select(store, selection)
        files = chosen.files(store, selected)
    objects = LocalObjects(os.path.abspath(out))
    stamp = {
        "format": format_name,
        "contract_version": CONTRACT_VERSION,
        "store_version": store.version["version"],
        "run_id": store.version["run_id"],
        "selection": criteria | _changes(selection),
        "source": SOURCE_URL,
        "acknowledgement": ACKNOWLEDGEMENT,
        "citation": CITATION,
    }
    try:
        _claim(store, objects, stamp)
        todo = [file for file in files if objects.size(file.path) is None]
        size = _write_all(store, objects, todo, on_file)
        objects.write(README, _readme(store, stamp, chosen).encode())
        objects.write(STAMP, to_json(stamp | {"complete": True, "files": len(files)}))
        shutil.rmtree(Path(objects.root, PARTIAL), ignore_errors=True)
    except OSError as error:
        raise StoreError(
            "the export can't be written",
            where=objects.root,
            value=str(error),
            allowed="a folder that can be read and written, on a disk with free space",
            remedy="name another folder, or mend its permissions or disk and repeat: complete files are kept",
        ) from error
    return Export(len(files), len(files) - len(todo), size, len(selected.lesions), len(selected.volumes))


def _changes(selection: Selection) -> dict[str, list[Any]]:
    """Return what a selection changes without restricting it."""
    pictures = selection.pictures
    found: dict[str, list[Any]] = {
        "classes": [LESION] if selection.single_class else [],
        "pixels": ["HU"] if pictures.hu else [],
        "neighbours_mm": [] if pictures.neighbours_mm is None else [pictures.neighbours_mm],
    }
    return {name: values for name, values in found.items() if values}


def _write_all(
    store: Store,
    objects: LocalObjects,
    files: Sequence[ExportFile],
    on_file: Callable[[int, int], None] | None,
) -> int:
    """Write files in threads and return their bytes; reading and (de)compressing release the GIL."""

    def write(file: ExportFile) -> int:
        try:
            with readable(store.objects):
                data = file.encode()
        except (RuntimeError, ValueError) as error:
            # Blosc and Zarr raise these for bytes that they can't decode.
            raise StoreError(
                "an object of the store can't be decoded",
                where=f"{store.objects.root}, for {file.path}",
                value=f"{type(error).__name__}: {error}",
                allowed="objects as the build wrote them",
                remedy="run deeplesion verify on the store: it lists what is damaged and what repairs it",
            ) from error
        objects.write(file.path, data)
        return len(data)

    written = 0
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(write, file) for file in files]
        try:
            for future in as_completed(futures):
                written += future.result()
                if on_file:
                    on_file(future.result(), len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return written


def _claim(store: Store, objects: LocalObjects, stamp: dict[str, Any]) -> None:
    """Mark a folder as this export's, or refuse it."""
    out, remedy = Path(objects.root), "name another folder"
    if out.resolve().is_relative_to(Path(store.objects.root).resolve()):
        raise ConfigError(
            "the export's folder lies inside the store",
            where=objects.root,
            allowed=f"a folder outside {store.objects.root}: an export never writes into a store",
            remedy=remedy,
        )
    if out.exists() and not out.is_dir():
        raise ConfigError(
            "the export's folder is a file", where=objects.root, allowed="a folder", remedy=remedy
        )
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
            allowed="a new or empty folder, or one with the same export",
            remedy=f"{remedy}, or empty this one yourself",
        )
    other = {key: found.get(key) for key, value in stamp.items() if found.get(key) != value}
    if other:
        raise ConfigError(
            "the folder holds another export",
            where=f"{objects.root}/{STAMP}",
            value=other,
            allowed=str({key: stamp[key] for key in other}),
            remedy=f"{remedy}, or give the same format, version and selection to continue this export",
        )


def _read_stamp(objects: LocalObjects) -> dict[str, Any] | None:
    """Return the content of export.json; None if it is absent or is not an export's.

    Raises:
        OSError: it can't be read now.
    """
    try:
        found = json.loads(objects.read(STAMP))
    except (OSError, ValueError) as error:
        if is_outage(error):
            raise
        return None
    return found if isinstance(found, dict) and "format" in found and "run_id" in found else None


def _readme(store: Store, stamp: dict[str, Any], chosen: Format) -> str:
    selected = "; ".join(f"{name} {', '.join(map(str, v))}" for name, v in stamp["selection"].items())
    return (
        f"DeepLesion: {stamp['format']} export of version {stamp['store_version']} of a DeepLesion store\n"
        f"made from {store.version['annotations']['name']}; selected: {selected or 'everything'}.\n\n"
        f"{chosen.description}\n\nSource: {SOURCE_URL}\n{ACKNOWLEDGEMENT}\nCite: {CITATION}\n"
    )
