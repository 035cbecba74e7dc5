"""The slices in zip archives and their offsets, from the archives' directories. Nothing is inflated."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import numpy as np

from etl.core.errors import SourceError, explained
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

logger = logging.getLogger(__name__)

# Archives whose directories are read at the same time; their requests wait more than they compute.
_LOOKS_AT_ONCE = 16
_4_GIB = 1 << 32


def index_archives(entries: Sequence[ArchiveEntry], staging: str | None = None) -> SliceIndex:
    """Read the directories of zip archives anywhere; of a remote one, a few ranges at its end.

    Args:
        entries: archives; one named twice is read once, and so is one of two equal copies.
        staging: place of staged copies, or directories, of archives whose server sends no ranges.

    Raises:
        SourceError: an entry names nothing, a local archive can't be read, or none holds a slice.
    """
    archives = find_archives(entries)
    with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
        listings = list(pool.map(partial(_index, staging=staging), archives, range(len(archives))))
    index = combine(
        _without_copies([listing for listing, _ in listings]),
        "source.archives",
        has_more=any(u for _, u in listings),
    )
    remote = {number: found for number, found in enumerate(u for _, u in listings) if found is not None}
    unread = tuple(archive for number, archive in remote.items() if not index.containers[number].sha256)
    return replace(index, remote=remote, unread=unread)


def _without_copies(listings: Sequence[ContainerListing]) -> list[ContainerListing]:
    """Empty the listing of each archive that equals an earlier one, such as `Images_png_07 (1).zip`.

    Archives of one size are equal if their directories are: the same names, sizes, CRCs and offsets.
    """
    originals: dict[tuple[str, int], Container] = {}
    kept = []
    for listing in listings:
        container = listing.container
        original = originals.setdefault((container.sha256, container.bytes), container)
        if container.slice_count and original is not container:
            logger.info("%s is an equal copy of %s and is not used", container.name, original.name)
            listing = replace(
                listing,
                container=replace(container, slice_count=0),
                slices=np.empty(0, SLICE_DTYPE),
                rejects=(),
                found_count=0,
            )
        kept.append(listing)
    return kept


def _index(
    archive: RemoteArchive, number: int, *, staging: str | None
) -> tuple[ContainerListing, RemoteArchive | None]:
    """Return the archive's contents, and the archive itself where it is remote and usable."""
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
    """Return the staged archive, or its end alone, and where to read it; None where nothing is staged."""
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
    with (
        explained(
            SourceError,
            "an archive can't be read",
            where=f"source.archives: {path}",
            remedy="check its permissions and its disk, or leave it out",
        ),
        open(path, "rb") as file,
    ):
        size = os.fstat(file.fileno()).st_size
        return _index_zip(file, Container(path, archive.name, True, size, 0, ""), number)


def _nothing(archive: RemoteArchive, size: int, rejects: Sequence[Reject]) -> ContainerListing:
    container = Container(archive.url, archive.name, True, size, 0, "")
    return ContainerListing(container, np.empty(0, SLICE_DTYPE), rejects, 0)


def _index_zip(file: BinaryIO | io.RawIOBase, container: Container, number: int) -> ContainerListing:
    try:
        members, directory_start = read_directory(file)
        _undo_wrapped_offsets(file, members, directory_start)
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


def _undo_wrapped_offsets(
    file: BinaryIO | io.RawIOBase, members: Sequence[zipfile.ZipInfo], directory_start: int
) -> None:
    """Correct the offsets of an archive past 4 GiB without zip64, as macOS writes it: they wrap at 4 GiB.

    Such a directory's own offset has wrapped too; zipfile takes the difference for bytes before the archive
    and adds it to every offset.

    Raises:
        BadZipFile: the members' headers are not where offsets that only grow would place them.
    """
    if directory_start < _4_GIB or not members:
        return
    file.seek(directory_start)
    record = file.read(46) or b""
    if record[:4] != b"PK\x01\x02":
        return
    added = members[0].header_offset - int.from_bytes(record[42:46], "little")
    if added <= 0 or added % _4_GIB:
        return
    offsets: list[int] = []
    wraps = 0
    for member in members:
        offset = member.header_offset - added + wraps * _4_GIB
        if offsets and offset < offsets[-1]:
            wraps, offset = wraps + 1, offset + _4_GIB
        offsets.append(offset)
    beginnings = [at for at in range(1, len(offsets)) if offsets[at] // _4_GIB > offsets[at - 1] // _4_GIB]
    checked = {0, len(offsets) - 1, *beginnings, *(at - 1 for at in beginnings)}
    agree = all(_is_header(file, offsets[at], members[at]) for at in checked)
    if offsets[-1] >= directory_start or not agree:
        raise zipfile.BadZipFile(
            "it is larger than 4 GiB and was written without zip64, and its members can't be located; "
            "pack it again with zip64, for example with `zip`"
        )
    for member, offset in zip(members, offsets, strict=True):
        member.header_offset = offset


def _is_header(file: BinaryIO | io.RawIOBase, offset: int, member: zipfile.ZipInfo) -> bool:
    file.seek(offset)
    header = file.read(30) or b""
    if header[:4] != b"PK\x03\x04" or len(header) < 30:
        return False
    name = file.read(int.from_bytes(header[26:28], "little")) or b""
    return name == member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")


def _bad_archive(container: Container, start: bytes, problem: str) -> ContainerListing:
    is_cut = start[:2] == b"PK"
    reason = Reason.ARCHIVE_TRUNCATED if is_cut else Reason.ARCHIVE_NOT_ZIP
    kind = "starts like a zip but has no readable directory at its end" if is_cut else "is not a zip"
    message = f"{container.bytes:,} bytes; {kind} ({problem}); remedy: fetch it again"
    reject = Reject(Kind.ARCHIVE, reason, container.name, message)
    return ContainerListing(container, np.empty(0, SLICE_DTYPE), [reject], 0)
