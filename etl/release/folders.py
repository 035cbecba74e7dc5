"""Folders of extracted slices, `ROOT/PPPPPP_SS_RR/NNN.png`."""

from __future__ import annotations

import errno
import logging
import os
import stat
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from etl.core.counted import first_of
from etl.core.errors import SourceError
from etl.io.globs import matching_paths
from etl.release.index import (
    MAX_SLICE_BYTES,
    SLICE_DTYPE,
    Container,
    ContainerListing,
    SliceIndex,
    combine,
    slice_codes_of,
    too_large,
    unexpected_name,
)
from etl.release.names import (
    SeriesKey,
    distinct_names,
    is_ignorable,
    parse_member,
    parse_series_id,
    slice_name,
)

logger = logging.getLogger(__name__)

# Levels below the given folder that are searched for image folders. A release unpacked archive by archive has
# `Images_png`, `Images_png 2` ... side by side, or `Images_png_01/Images_png`.
_LEVELS_BELOW = 3
# Errors of the system for a link that leads nowhere, or to itself.
_NOTHING = (errno.ENOENT, errno.ELOOP)


def index_folder(images: str | Sequence[str]) -> SliceIndex:
    """List folders of extracted slices, `ROOT/PPPPPP_SS_RR/NNN.png`.

    A folder without series of its own stands for the image folders below it. Checksums are left 0, but for
    slices that lie in several folders: `with_checksums` reads the slices that are wanted.

    Args:
        images: one or more folders, or globs of folders; one that links lead to again is listed once.

    Raises:
        SourceError: a folder isn't there, can't be read, or there is no slice in any.
    """
    places = [images] if isinstance(images, str) else images
    named = [folder for place in places for folder in _expand(place)]
    found: dict[str, str] = {}
    for root in (root for folder in named for root in _image_folders(folder)):
        found.setdefault(os.path.realpath(root), root)
    roots = list(found.values())
    if roots != named:
        logger.info("source.images: slices are in %d folders: %s", len(roots), first_of(roots))
    names = distinct_names(roots)
    listings = [
        _list_folder(root, name, number) for number, (root, name) in enumerate(zip(roots, names, strict=True))
    ]
    return combine(_with_checksums_of_copies(listings), "source.images")


def _expand(place: str) -> list[str]:
    try:
        folders = [path for path in matching_paths(place) if stat.S_ISDIR(os.stat(path).st_mode)]
    except OSError as error:
        raise _unreadable(place, error) from error
    if not folders:
        raise SourceError(
            "no such folder",
            where="source.images",
            value=os.path.abspath(place),
            remedy="give the folder that holds the folders PPPPPP_SS_RR",
        )
    return folders


def _image_folders(folder: str) -> list[str]:
    """Return the folder if it holds series, else the folders below it that do, else the folder itself."""
    if parse_series_id(os.path.basename(folder)):
        raise SourceError(
            "this is the folder of one series",
            where="source.images",
            value=folder,
            allowed="a folder of folders PPPPPP_SS_RR",
            remedy=f"give {os.path.dirname(folder)}, and choose the series with select.series",
        )
    return _folders_with_series(folder, _LEVELS_BELOW) or [folder]


def _folders_with_series(folder: str, levels: int) -> list[str]:
    entries = _entries(folder)
    if any(parse_series_id(entry.name) for entry in entries):
        return [folder]
    if not levels:
        return []
    # A link that leads to itself hides nothing; one that leads nowhere may be to a disk that is not mounted.
    inner = [
        entry.path
        for entry in entries
        if not is_ignorable(entry.name) and _is_folder(entry.path, errno.ELOOP)
    ]
    return [root for path in inner for root in _folders_with_series(path, levels - 1)]


def _list_folder(root: str, name: str, number: int) -> ContainerListing:
    rows, rejects, other = [], [], 0
    for entry in _entries(root):
        key = parse_series_id(entry.name)
        if key is None or not _is_folder(entry.path, *_NOTHING):
            if not is_ignorable(entry.name):
                other += 1
                rejects.append(unexpected_name(name, entry.name, "a folder PPPPPP_SS_RR"))
            continue
        files = _entries(entry.path)
        names = {file.name for file in files}
        for file in files:
            member = f"{entry.name}/{file.name}"
            if is_ignorable(member):
                continue
            parsed = parse_member(member)
            found = None if parsed is None else _status(file.path, *_NOTHING)
            if parsed is None or found is None or not stat.S_ISREG(found.st_mode):
                other += 1
                rejects.append(unexpected_name(name, member, "a file NNN.png"))
                continue
            if file.name.endswith(".PNG") and f"{file.name.removesuffix('.PNG')}.png" in names:
                other += 1
                rejects.append(
                    unexpected_name(name, member, "NNN.PNG where there is no NNN.png, which is used")
                )
                continue
            size = found.st_size
            if size > MAX_SLICE_BYTES:
                other += 1
                rejects.append(too_large(f"{name}: {member}", str(key), parsed[1], size))
                continue
            rows.append((*key, parsed[1], number, False, 0, size, size, size, 0))
    slices = np.array(rows, dtype=SLICE_DTYPE)
    container = Container(root, name, False, int(slices["bytes"].sum()), len(slices), "")
    return ContainerListing(container, slices, rejects, len(slices) + other)


def _with_checksums_of_copies(listings: Sequence[ContainerListing]) -> list[ContainerListing]:
    """Read the slices that lie in several folders: copies of one size may differ."""
    listed = np.concatenate([listing.slices for listing in listings])
    containers = tuple(listing.container for listing in listings)
    _, number, count = np.unique(slice_codes_of(listed), return_inverse=True, return_counts=True)
    slices = with_checksums(SliceIndex(containers, listed, (), 0), count[number] > 1).slices
    ends = np.cumsum([len(listing.slices) for listing in listings])
    return [
        replace(listing, slices=own)
        for listing, own in zip(listings, np.split(slices, ends[:-1]), strict=True)
    ]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is_folder(path: str, *nothing: int) -> bool:
    found = _status(path, *nothing)
    return found is not None and stat.S_ISDIR(found.st_mode)


def _status(path: str, *nothing: int) -> os.stat_result | None:
    """Return the status of what a name in a folder leads to; None after one of these errors of the system."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in nothing:
            return None
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(
        "part of the release can't be read",
        where="source.images",
        value=f"{error.filename or path}: {error.strerror or error}",
        remedy="check its permissions, its disk and its link, or name the folders that are to be read",
    )


def with_checksums(index: SliceIndex, wanted: np.ndarray) -> SliceIndex:
    """Return the index with the CRC-32 of the wanted slices of folders, which are read for that.

    Args:
        wanted: boolean mask over `index.slices`.

    Raises:
        SourceError: a file can't be read.
    """
    slices = index.slices.copy()

    def add_checksum(position: int) -> None:
        row = slices[position]
        container = index.containers[row["container"]]
        try:
            data = read_slice_file(container, row)
        except OSError as error:
            raise _unreadable(str(slice_path(container, row)), error) from error
        # Size and checksum stay a consistent pair where a file changed after the listing.
        slices["bytes"][position] = slices["stored_bytes"][position] = slices["end"][position] = len(data)
        slices["crc32"][position] = zlib.crc32(data)

    in_folder = np.array([not c.is_zip for c in index.containers])[slices["container"]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(add_checksum, np.flatnonzero(wanted & in_folder)):
            pass
    return replace(index, slices=slices)


def read_slice_file(container: Container, row: np.void) -> bytes:
    """Return the file of one slice of a folder, named `NNN.png` or `NNN.PNG`. Raises OSError."""
    path = slice_path(container, row)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        upper = path.with_suffix(".PNG")
        if not upper.exists():
            raise
        return upper.read_bytes()


def slice_path(container: Container, row: np.void) -> Path:
    """Return the path of one slice of a folder, spelt `NNN.png`."""
    key = SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"]))
    return Path(container.path) / slice_name(key, int(row["index"]))
