"""The slices in zip archives and their offsets, from the archives' directories. Nothing is inflated."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from etl.core.errors import SourceError, explained
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import is_local
from etl.io.opening import open_blob, open_staging
from etl.io.places import BlobError, reject_reason
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
from etl.release.names import SeriesKey, is_ignorable, parse_member
from etl.release.sources import ArchiveEntry, find_archives, look_at
from etl.staging.directories import BlobFile, EndFile, open_kept_end
from etl.staging.fetch import RemoteArchive, staging_readable
from etl.staging.zip_directory import FARTHEST, ZipDirectory, ZipSource, read_directory

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
        ConfigError: the staging area can't be read.
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
    if not staging:
        return None, archive.url
    area = open_staging(staging)
    with staging_readable(staging):
        size = area.size(archive.staged_name)
        if size is None:
            return open_kept_end(area, archive), archive.url
        place = area.url(archive.staged_name)
        try:
            return BlobFile(open_blob(place), size, ""), place
        except BlobError:
            if area.size(archive.staged_name) is not None:
                raise
            return None, archive.url  # another build removed it just now


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


def _index_zip(file: ZipSource, container: Container, number: int) -> ContainerListing:
    try:
        directory = read_directory(file)
        offsets = _unwrapped_offsets(file, directory)
    except zipfile.BadZipFile as error:
        file.seek(0)
        return _bad_archive(container, file.read(4) or b"", str(error))
    sha256 = hashlib.sha256(directory.raw)
    file.seek(directory.start + len(directory.raw))
    while piece := file.read(1 << 20):
        sha256.update(piece)

    name = container.name
    faults = _Faults(directory, offsets)
    keys, usable, rejects, other = array("i"), array("q"), [], 0
    for at, member in enumerate(directory.names()):
        if is_ignorable(member):
            continue
        parsed = parse_member(member)
        if parsed is None:
            other += 1
            rejects.append(unexpected_name(name, member, "Images_png/PPPPPP_SS_RR/NNN.png"))
            continue
        reject = faults.reject(at, f"{name}: {member}", *parsed)
        if reject is not None:
            other += 1
            rejects.append(reject)
            continue
        key, index = parsed
        keys.extend((*key, index))
        usable.append(at)
    slices = _slices(directory, offsets, np.frombuffer(keys, np.int32), np.frombuffer(usable, np.int64))
    slices["container"] = number
    container = replace(container, slice_count=len(slices), sha256=sha256.hexdigest())
    return ContainerListing(container, slices, rejects, len(slices) + other)


def _slices(directory: ZipDirectory, offsets: np.ndarray, keys: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return rows of `SLICE_DTYPE`, but for the container, of the members that are slices.

    Args:
        keys: patient, study, series and slice index of each, one after the other.
        usable: their numbers in the directory.
    """
    slices = np.zeros(len(usable), SLICE_DTYPE)
    for column, name in enumerate(("patient", "study", "series", "index")):
        slices[name] = keys[column::4]
    slices["deflated"] = directory.methods[usable] == zipfile.ZIP_DEFLATED
    slices["offset"] = offsets[usable]
    slices["stored_bytes"] = directory.stored_bytes[usable]
    slices["bytes"] = directory.plain_bytes[usable]
    slices["crc32"] = directory.crc32[usable]
    inside = offsets[(offsets >= 0) & (offsets < directory.start)]
    starts = np.sort(np.append(inside, directory.start))
    following = starts[np.searchsorted(starts, slices["offset"], side="right")]
    slices["end"] = np.minimum(following, slices["offset"] + MAX_HEADER_BYTES + slices["stored_bytes"])
    return slices


class _Faults:
    """The members of an archive that can't be slices, whatever their names say."""

    def __init__(self, directory: ZipDirectory, offsets: np.ndarray) -> None:
        self._directory, self._offsets = directory, offsets
        self._largest = np.maximum(directory.plain_bytes, directory.stored_bytes)
        self._is_encrypted = (directory.flags & 1).astype(bool)
        unknown = ~np.isin(directory.methods, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        outside = (offsets < 0) | (offsets >= directory.start)
        self._any = (self._largest > MAX_SLICE_BYTES) | self._is_encrypted | unknown | outside

    def reject(self, at: int, where: str, key: SeriesKey, index: int) -> Reject | None:
        """Return the reject of the member of that number; None where it may be a slice."""
        if not self._any[at]:
            return None
        if self._largest[at] > MAX_SLICE_BYTES:
            return too_large(where, str(key), index, int(self._largest[at]))
        method = int(self._directory.methods[at])
        if self._is_encrypted[at] or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            found = "encrypted" if self._is_encrypted[at] else f"compression method {method}"
            message = f"{found}; allowed: stored or deflated, not encrypted"
            return Reject(Kind.SLICE, Reason.MEMBER_UNSUPPORTED, where, message, str(key), index)
        offset = int(self._offsets[at])
        place = f"byte {offset}" if offset < FARTHEST else f"byte {FARTHEST} or later"
        message = f"the directory places it at {place} of {self._directory.start}"
        return Reject(Kind.SLICE, Reason.SLICE_TRUNCATED, where, message, str(key), index)


def _unwrapped_offsets(file: ZipSource, directory: ZipDirectory) -> np.ndarray:
    """Return the members' offsets; corrected where an archive past 4 GiB was written without zip64.

    macOS writes it: offsets wrap at 4 GiB, and so does the directory's own, so that the zip seems to begin
    later than it does.

    Raises:
        BadZipFile: the members' headers are not where offsets that only grow would place them.
    """
    added = directory.added
    if directory.start < _4_GIB or not len(directory) or added <= 0 or added % _4_GIB:
        return directory.offsets
    offsets = directory.offsets - added
    offsets[1:] += np.cumsum(offsets[1:] < offsets[:-1]) * _4_GIB
    beginnings = (np.flatnonzero(offsets[1:] // _4_GIB > offsets[:-1] // _4_GIB) + 1).tolist()
    checked = {0, len(offsets) - 1, *beginnings, *(at - 1 for at in beginnings)}
    agree = all(_is_header(file, int(offsets[at]), directory.raw_name(at)) for at in checked)
    if offsets[-1] >= directory.start or not agree:
        raise zipfile.BadZipFile(
            "it is larger than 4 GiB and was written without zip64, and its members can't be located; "
            "pack it again with zip64, for example with `zip`"
        )
    return offsets


def _is_header(file: ZipSource, offset: int, name: bytes) -> bool:
    file.seek(offset)
    header = file.read(30) or b""
    if header[:4] != b"PK\x03\x04" or len(header) < 30:
        return False
    return file.read(int.from_bytes(header[26:28], "little")) == name


def _bad_archive(container: Container, start: bytes, problem: str) -> ContainerListing:
    is_cut = start[:2] == b"PK"
    reason = Reason.ARCHIVE_TRUNCATED if is_cut else Reason.ARCHIVE_NOT_ZIP
    kind = "starts like a zip but has no readable directory at its end" if is_cut else "is not a zip"
    message = f"{container.bytes:,} bytes; {kind} ({problem}); remedy: fetch it again"
    reject = Reject(Kind.ARCHIVE, reason, container.name, message)
    return ContainerListing(container, np.empty(0, SLICE_DTYPE), [reject], 0)
