"""A folder of extracted slices, `ROOT/PPPPPP_SS_RR/NNN.png`."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from etl.core.errors import SourceError
from etl.release.index import (
    MAX_SLICE_BYTES,
    SLICE_DTYPE,
    Container,
    ContainerListing,
    SliceIndex,
    combine,
    too_large,
    unexpected_name,
)
from etl.release.names import SeriesKey, is_ignorable, parse_member, parse_series_id, slice_name


def index_folder(root: str) -> SliceIndex:
    """List a folder of extracted slices, `ROOT/PPPPPP_SS_RR/NNN.png`.

    Checksums are left 0: `with_checksums` reads the slices that are wanted.

    Raises:
        SourceError: the folder isn't there, can't be read, or holds no slice.
    """
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        raise SourceError(
            "no such folder",
            where="source.images",
            value=root,
            remedy="give the folder that holds the folders PPPPPP_SS_RR",
        )
    rows, rejects, other = [], [], 0
    for entry in _entries(root):
        key = parse_series_id(entry.name)
        if key is None or not os.path.isdir(entry.path):
            if not is_ignorable(entry.name):
                other += 1
                rejects.append(unexpected_name(root, entry.name, "a folder PPPPPP_SS_RR"))
            continue
        for file in _entries(entry.path):
            name = f"{entry.name}/{file.name}"
            if is_ignorable(name):
                continue
            parsed = parse_member(name)
            if parsed is None or not os.path.isfile(file.path):
                other += 1
                rejects.append(unexpected_name(root, name, "a file NNN.png"))
                continue
            size = file.stat().st_size
            if size > MAX_SLICE_BYTES:
                other += 1
                rejects.append(too_large(f"{root}/{name}", str(key), parsed[1], size))
                continue
            rows.append((*key, parsed[1], 0, False, 0, size, size, size, 0))
    slices = np.array(rows, dtype=SLICE_DTYPE)
    container = Container(root, os.path.basename(root), False, int(slices["bytes"].sum()), len(slices), "")
    return combine([ContainerListing(container, slices, rejects, len(slices) + other)], "source.images")


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(
        "part of the release can't be read",
        where="source.images",
        value=f"{path}: {error.strerror or error}",
        remedy="check its permissions and its disk",
    )


def with_checksums(
    index: SliceIndex, wanted: np.ndarray, on_bytes: Callable[[int], None] = lambda n: None
) -> SliceIndex:
    """Read the wanted slices of a folder for their CRC-32, which an archive's directory has already.

    Args:
        wanted: boolean mask over `index.slices`.
        on_bytes: called with the number of bytes just read.

    Raises:
        SourceError: a file can't be read.
    """
    slices = index.slices.copy()

    def checksum(position: int) -> None:
        row = slices[position]
        path = slice_path(index.containers[row["container"]], row)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(str(path), error) from error
        # A file that changed after the listing keeps one consistent pair of size and checksum.
        slices["bytes"][position] = slices["stored_bytes"][position] = slices["end"][position] = len(data)
        slices["crc32"][position] = zlib.crc32(data)
        on_bytes(len(data))

    in_folder = np.array([not c.is_zip for c in index.containers])[slices["container"]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(checksum, np.flatnonzero(wanted & in_folder)):
            pass
    return replace(index, slices=slices)


def slice_path(container: Container, row: np.void) -> Path:
    """Where one slice of a folder lies."""
    key = SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"]))
    return Path(container.path) / slice_name(key, int(row["index"]))
