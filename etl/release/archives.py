"""The directories of zip archives: which slices an archive holds and where. Nothing is inflated."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import numpy as np

from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import is_local
from etl.io.opening import open_blob, open_staging
from etl.io.places import reject_reason
from etl.release.index import (
    MAX_HEADER_BYTES,
    MAX_SLICE_BYTES,
    SLICE_DTYPE,
    Container,
    ContainerListing,
    SliceIndex,
    combine,
    too_large,
    unexpected_name,
)
from etl.release.names import is_ignorable, parse_member
from etl.release.sources import ArchiveEntry, find_archives, look_at
from etl.staging.directories import BlobFile, EndFile, open_kept_end, read_directory
from etl.staging.fetch import RemoteArchive

# Archives whose directories are read at the same time: requests wait, they don't compute.
_LOOKS_AT_ONCE = 16


def index_archives(entries: Sequence[ArchiveEntry], staging: str | None = None) -> SliceIndex:
    """Read the directories of zip archives, wherever they lie; of a remote one, a few ranges at its end.

    Args:
        entries: one archive named twice is read once.
        staging: where copies, or directories, may lie of archives whose server gives no ranges.

    Raises:
        SourceError: an entry names nothing, a local archive can't be read, or none holds a slice.
    """
    archives = find_archives(entries)
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        listings = list(pool.map(partial(_index, staging=staging), archives, range(len(archives))))
    index = combine(
        [listing for listing, _ in listings], "source.archives", has_more=any(u for _, u in listings)
    )
    remote = {number: found for number, found in enumerate(u for _, u in listings) if found is not None}
    unread = tuple(archive for number, archive in remote.items() if not index.containers[number].sha256)
    return replace(index, remote=remote, unread=unread)


def _index(
    archive: RemoteArchive, number: int, *, staging: str | None
) -> tuple[ContainerListing, RemoteArchive | None]:
    """(what the archive holds, the archive where it is remote and usable)."""
    if is_local(archive.url):
        return _index_local(archive, number), None
    looked = look_at(archive)
    if isinstance(looked, Reject):
        return _nothing(archive, 0, [looked]), None
    try:
        if looked.has_ranges and looked.bytes is not None:
            file: EndFile | None = BlobFile(open_blob(looked.url), looked.bytes, looked.tag)
            path, tag = looked.url, looked.tag
        else:
            file, path = _staged_end(looked, staging)
            tag = ""
        if file is None:
            return _nothing(archive, looked.bytes or 0, []), looked
        listing = _index_zip(file, Container(path, archive.name, True, file.size, 0, "", tag), number)
    except OSError as error:
        reject = Reject(Kind.ARCHIVE, reject_reason(error), archive.name, str(error))
        return _nothing(archive, looked.bytes or 0, [reject]), None
    return listing, looked if listing.container.sha256 else None


def _staged_end(archive: RemoteArchive, staging: str | None) -> tuple[EndFile | None, str]:
    """(the archive, or its end alone, as it lies in the staging area, where it can be read)."""
    area = open_staging(staging) if staging else None
    if area is None:
        return None, archive.url
    size = area.size(archive.staged_name)
    if size is None:
        return open_kept_end(area, archive), archive.url
    place = area.url(archive.staged_name)
    return BlobFile(open_blob(place), size, ""), place


def _index_local(archive: RemoteArchive, number: int) -> ContainerListing:
    path = archive.url
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return _index_zip(file, Container(path, archive.name, True, size, 0, ""), number)
    except OSError as error:
        raise SourceError(
            "an archive can't be read",
            where="source.archives",
            value=f"{path}: {error.strerror or error}",
            remedy="check its permissions and its disk, or leave it out",
        ) from error


def _nothing(archive: RemoteArchive, size: int, rejects: Sequence[Reject]) -> ContainerListing:
    container = Container(archive.url, archive.name, True, size, 0, "")
    return ContainerListing(container, np.empty(0, SLICE_DTYPE), rejects, 0)


def _index_zip(file: BinaryIO | io.RawIOBase, container: Container, number: int) -> ContainerListing:
    try:
        members, directory_start = read_directory(file)
    except zipfile.BadZipFile as error:
        file.seek(0)
        return _bad_archive(container, file.read(4) or b"", str(error))
    file.seek(directory_start)
    sha256 = hashlib.sha256()
    while piece := file.read(1 << 20):
        sha256.update(piece)

    name = container.name
    offsets = [m.header_offset for m in members if 0 <= m.header_offset < directory_start]
    starts = np.sort(np.array([*offsets, directory_start], dtype=np.int64))
    rows, rejects, other = [], [], 0
    for member in members:
        if is_ignorable(member.filename):
            continue
        parsed = parse_member(member.filename)
        if parsed is None:
            other += 1
            rejects.append(unexpected_name(name, member.filename, "Images_png/PPPPPP_SS_RR/NNN.png"))
            continue
        key, index = parsed
        where = f"{name}: {member.filename}"
        if member.file_size > MAX_SLICE_BYTES or member.compress_size > MAX_SLICE_BYTES:
            other += 1
            rejects.append(too_large(where, str(key), index, max(member.file_size, member.compress_size)))
            continue
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            other += 1
            method = "encrypted" if member.flag_bits & 1 else f"compression method {member.compress_type}"
            message = f"{method}; allowed: stored or deflated, not encrypted"
            rejects.append(Reject(Kind.SLICE, Reason.MEMBER_UNSUPPORTED, where, message, str(key), index))
            continue
        if not 0 <= member.header_offset < directory_start:
            other += 1
            message = f"the directory places it at byte {member.header_offset} of {directory_start}"
            rejects.append(Reject(Kind.SLICE, Reason.SLICE_TRUNCATED, where, message, str(key), index))
            continue
        following = int(starts[np.searchsorted(starts, member.header_offset, side="right")])
        rows.append(
            (
                *key,
                index,
                number,
                member.compress_type == zipfile.ZIP_DEFLATED,
                member.header_offset,
                min(following, member.header_offset + MAX_HEADER_BYTES + member.compress_size),
                member.compress_size,
                member.file_size,
                member.CRC,
            )
        )
    slices = np.array(rows, dtype=SLICE_DTYPE)
    container = replace(container, slice_count=len(slices), sha256=sha256.hexdigest())
    return ContainerListing(container, slices, rejects, len(slices) + other)


def _bad_archive(container: Container, start: bytes, problem: str) -> ContainerListing:
    is_cut = start[:2] == b"PK"
    reason = Reason.ARCHIVE_TRUNCATED if is_cut else Reason.ARCHIVE_NOT_ZIP
    kind = "starts like a zip but has no readable directory at its end" if is_cut else "is not a zip"
    message = f"{container.bytes:,} bytes; {kind} ({problem}); remedy: fetch it again"
    reject = Reject(Kind.ARCHIVE, reason, container.name, message)
    return ContainerListing(container, np.empty(0, SLICE_DTYPE), [reject], 0)
