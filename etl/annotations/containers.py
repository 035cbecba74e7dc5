"""Files inside folders, tars and zips: read one after the other, never written to disk by their names."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from etl.annotations.tars import is_tar, tar_files
from etl.core.errors import SourceError
from etl.core.urls import is_local, public_url
from etl.io.opening import open_blob
from etl.io.places import is_outage
from etl.release.names import is_ignorable

MOST_MEMBER_BYTES = 1 << 28
"""Decompressed: 64 million voxels of float32. Masks of ULS23 have 8 million; other files are smaller."""
MOST_MEMBERS = 1_000_000
MOST_PLACE_BYTES = 1 << 36
MOST_DEPTH = 3
ONE_MASK = (".nii.zip", ".nii.gz.zip")
"""Endings of zips of one mask."""
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError, OSError, IndexError, KeyError),
)


@dataclass(frozen=True)
class Member:
    """One file: its name with the containers that it lies in, and its bytes."""

    name: str
    data: bytes


def read_place(url: str) -> Iterator[Member]:
    """Read the files at a path or URL: a folder's, or one file, opened where it is a tar or a zip.

    Args:
        url: a path, http(s):// or s3:// URL; folders on this machine only.

    Raises:
        SourceError: it is too large, or a container is damaged or holds too much.
        OSError: it can't be read, or there is no room for its copy.
    """
    if is_local(url) and os.path.isdir(path := url.removeprefix("file://")):
        for file in folder_files(path):
            yield from read_place(file)
        return
    name = last_name(url)
    with _opened(url, name) as opened:
        yield from unpack(name, opened, os.fstat(opened.fileno()).st_size)


def last_name(url: str) -> str:
    """Return the last part of a path or URL."""
    return public_url(url).rstrip("/").rsplit("/", 1)[-1]


def folder_files(folder: str) -> list[str]:
    """Return the files of a folder on this machine and of those below it, links followed, by their paths.

    Raises:
        SourceError: a folder can't be listed, or a name in one leads nowhere.
    """
    try:
        return _files_below(folder)
    except OSError as error:
        unreadable(folder, str(error))


def _files_below(folder: str) -> list[str]:
    found: list[str] = []
    seen = {os.path.realpath(folder)}
    for here, folders, names in os.walk(folder, onerror=_fail, followlinks=True):
        own = (name for name in folders if not is_ignorable(f"{name}/file"))
        folders[:] = [name for name in own if os.path.realpath(os.path.join(here, name)) not in seen]
        seen.update(os.path.realpath(os.path.join(here, name)) for name in folders)
        found += [os.path.join(here, name) for name in names]
    kept = [path for path in found if not is_ignorable(Path(path).relative_to(folder).as_posix())]
    return [str(path) for path in sorted(map(Path, kept)) if stat.S_ISREG(os.stat(path).st_mode)]


def _fail(error: OSError) -> NoReturn:
    raise error


@contextlib.contextmanager
def _opened(url: str, name: str) -> Iterator[BinaryIO]:
    """Open a file: one elsewhere as a temporary copy, which has no name of a member, in pieces."""
    if is_local(url):
        with open(url.removeprefix("file://"), "rb") as file:
            yield file
        return
    size = 0
    with tempfile.TemporaryFile() as copy:
        for piece in open_blob(url).stream():
            size += len(piece)
            if size > MOST_PLACE_BYTES:
                too_large(name, size, MOST_PLACE_BYTES)
            copy.write(piece)
        copy.seek(0)
        yield cast("BinaryIO", copy)


def read_bytes(url: str, most_bytes: int = MOST_MEMBER_BYTES) -> bytes:
    """Read one file whole.

    Raises:
        SourceError: it can't be read or is too large.
    """
    pieces, size = [], 0
    try:
        blob = open_blob(url)
        stated = blob.info().bytes
        if stated is not None and stated > most_bytes:
            too_large(public_url(url), stated, most_bytes)
        for piece in blob.stream():
            size += len(piece)
            if size > most_bytes:
                too_large(public_url(url), size, most_bytes)
            pieces.append(piece)
    except OSError as error:
        unreadable(url, str(error))
    return b"".join(pieces)


def sha256_of(url: str) -> str:
    """Return the SHA-256 of a file of any size, as hex.

    Raises:
        SourceError: it can't be read.
    """
    digest = hashlib.sha256()
    try:
        for piece in open_blob(url).stream():
            digest.update(piece)
    except OSError as error:
        unreadable(url, str(error))
    return digest.hexdigest()


def unpack(name: str, file: BinaryIO, size: int, depth: int = 0) -> Iterator[Member]:
    """Read a file, and the files in it where it is a tar or a zip.

    Args:
        size: its bytes.
        depth: number of containers that it lies in.

    Raises:
        SourceError: a container is damaged or holds too much.
    """
    is_zip = name.lower().endswith(".zip")
    if not (is_zip or is_tar(name)):
        if size > MOST_MEMBER_BYTES:
            too_large(name, size, MOST_MEMBER_BYTES)
        yield Member(name, file.read(MOST_MEMBER_BYTES + 1))
        return
    if depth >= MOST_DEPTH:
        raise SourceError(
            "archives lie too deep in each other",
            where=name,
            allowed=f"{MOST_DEPTH} of them",
            remedy="unpack them",
        )
    if name.lower().endswith(ONE_MASK):
        yield Member(name[: -len(".zip")], only_member(file.read(MOST_MEMBER_BYTES)))
        return
    members = _zip_members(name, file) if is_zip else _tar_members(name, file)
    for count, (inner, data) in enumerate(members):
        if count >= MOST_MEMBERS:
            too_many(name)
        if not is_ignorable(inner):
            yield from unpack(f"{name}/{inner}", io.BytesIO(data), len(data), depth + 1)


def only_member(data: bytes) -> bytes:
    """Return the file in a zip of one; of a damaged zip no bytes, so that it costs no other entry."""
    try:
        found = _zip_members("a mask", io.BytesIO(data))
        return next((data for name, data in found if not is_ignorable(name)), b"")
    except SourceError:
        return b""


def open_zip(file: BinaryIO) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the files of a zip, and where its directory starts. Damage raises one of `DAMAGE`."""
    with zipfile.ZipFile(file) as archive:
        return _zip_files(archive), archive.start_dir


def _zip_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a zip; of one that is cut, zipfile opens the last zip in it."""
    infos = archive.infolist()
    if first := min((info.header_offset for info in infos), default=0):
        raise zipfile.BadZipFile(f"its directory lists nothing of the first {first:,} bytes")
    return [info for info in infos if not info.is_dir()]


def _zip_members(name: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            for info in _zip_files(archive):
                if info.file_size > MOST_MEMBER_BYTES:
                    too_large(f"{name}/{info.filename}", info.file_size, MOST_MEMBER_BYTES)
                with archive.open(info) as member:
                    data = member.read(MOST_MEMBER_BYTES + 1)
                yield info.filename, data
    except DAMAGE as error:
        damaged(name, error)


def _tar_members(name: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    try:
        for inner, info, reader in tar_files(name, file):
            if info is not None and info.size > MOST_MEMBER_BYTES:
                too_large(f"{name}/{inner}", info.size, MOST_MEMBER_BYTES)
            if reader is not None:
                reader.seek(0)
            yield inner, reader.read() if reader is not None else b""
    except DAMAGE as error:
        damaged(name, error)


def too_large(where: str, size: int, most: int) -> NoReturn:
    """Refuse a file by its size."""
    raise SourceError(
        "the file is too large", where=where, value=f"{size:,} bytes", allowed=f"at most {most:,} bytes"
    )


def too_many(name: str) -> NoReturn:
    """Refuse a container by the number of its members."""
    raise SourceError("the archive has too many members", where=name, allowed=f"{MOST_MEMBERS:,}")


def unreadable(url: str, found: str) -> NoReturn:
    """Refuse a place that can't be read."""
    raise SourceError(
        "the annotations can't be read",
        where=public_url(url),
        value=found,
        allowed="a path, an http(s):// or an s3:// URL",
        remedy="correct its place in source.more, or mend what the value names",
    )


def damaged(name: str, error: BaseException) -> NoReturn:
    """Refuse a container that is damaged. Raise the error itself where it is the place's or the machine's."""
    # zipfile calls a file whose end can't be read no zip.
    for cause in (error, error.__context__):
        if cause is not None and is_outage(cause):
            raise cause
    raise SourceError(
        "the archive is damaged",
        where=name,
        value=f"{type(error).__name__}: {error}"[:200],
        allowed="a whole tar or zip",
        remedy="fetch it again",
    ) from None
