"""The directories of zip archives: which slices an archive holds and where. Nothing is inflated."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import struct
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from etl.errors import SourceError
from etl.rejects import Kind, Reason, Reject
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


def index_archives(patterns: Sequence[str]) -> SliceIndex:
    """Read the directories of zip archives.

    Args:
        patterns: paths or globs. One archive named twice is read once.

    Raises:
        SourceError: a pattern matches nothing, an archive can't be read, or none holds a slice.
    """
    paths: dict[str, str] = {}
    for pattern in patterns:
        matches = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not matches or not all(map(os.path.isfile, matches)):
            raise SourceError(
                "no such archive",
                where="source.archives",
                value=pattern,
                remedy="give the path of a zip, or a glob such as release/Images_png_*.zip",
            )
        for match in matches:
            paths.setdefault(os.path.realpath(match), os.path.abspath(match))
    return combine(list(map(_index_zip, paths.values(), range(len(paths)))), "source.archives")


def _index_zip(path: str, number: int) -> ContainerListing:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            start = file.read(4)
            try:
                members, directory_start = _directory(file)
            except zipfile.BadZipFile as error:
                return _bad_archive(path, size, start, str(error))
            file.seek(directory_start)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(
            "an archive can't be read",
            where="source.archives",
            value=f"{path}: {error.strerror or error}",
            remedy="check its permissions and its disk, or leave it out",
        ) from error

    name = os.path.basename(path)
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
    container = Container(path, True, size, len(slices), sha256)
    return ContainerListing(container, slices, rejects, len(slices) + other)


def _directory(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int]:
    """The members and where the directory starts. Raises BadZipFile where there is no sound directory."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except (NotImplementedError, ValueError, struct.error, EOFError, OverflowError, MemoryError) as error:
        raise zipfile.BadZipFile(str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("its directory points outside the file") from error


def _bad_archive(path: str, size: int, start: bytes, problem: str) -> ContainerListing:
    is_cut = start[:2] == b"PK"
    reason = Reason.ARCHIVE_TRUNCATED if is_cut else Reason.ARCHIVE_NOT_ZIP
    kind = "starts like a zip but has no readable directory at its end" if is_cut else "is not a zip"
    message = f"{size:,} bytes; {kind} ({problem}); remedy: fetch it again"
    reject = Reject(Kind.ARCHIVE, reason, os.path.basename(path), message)
    return ContainerListing(Container(path, True, size, 0, ""), np.empty(0, SLICE_DTYPE), [reject], 0)
