"""The masks in folders, tars and zips: listed without their bytes, then read by range by whoever needs some.

A place that can only be read from its beginning (a compressed tar, archives in archives, a server without
ranges) is copied to a temporary file without a name, once by whoever lists and once by whoever reads it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO

from isal import isal_zlib

from etl.annotations.containers import (
    DAMAGE,
    MOST_MEMBER_BYTES,
    MOST_MEMBERS,
    ONE_MASK,
    damaged,
    folder_files,
    last_name,
    only_member,
    open_zip,
    read_place,
    too_large,
    too_many,
    unreadable,
)
from etl.annotations.tars import is_compressed_tar, is_tar, tar_files
from etl.core.urls import is_local
from etl.io.opening import open_blob, open_objects
from etl.io.places import BlobInfo
from etl.io.ranged_file import open_ranges
from etl.release.names import is_ignorable

# Ranges of one file that lie closer together are read as one.
_GAP_BYTES = 1 << 16
_SPAN_BYTES = 1 << 24
_LOCAL_HEADER_BYTES = 30
_NAMED = (".nii", ".nii.gz", *ONE_MASK, ".json")
_DEFLATED = 8


@dataclass(frozen=True)
class MaskFile:
    """One file of a source of masks, and where its bytes lie.

    Attributes:
        name: with the containers that it lies in.
        url: path or URL of the file that holds its bytes; its query may hold secrets.
        start, end: range of the bytes; of a zip's member with its header.
        tag: of the state that was listed; empty where none is known.
        number: position among the files of a place that is read from its beginning; else None.
        packed: method, size and CRC-32 of a zip's member; None for bytes as they are.
    """

    name: str
    url: str
    start: int = 0
    end: int = 0
    tag: str = ""
    number: int | None = None
    packed: tuple[int, int, int] | None = None

    @property
    def is_sequential(self) -> bool:
        """True if its place can only be read from the beginning."""
        return self.number is not None

    @property
    def bytes(self) -> int:
        """Bytes of it, packed or not, whichever is more."""
        return max(self.end - self.start, self.packed[1] if self.packed else 0)

    @property
    def stem(self) -> str:
        """The last part of its name; without `.zip`, where that is a zip of one mask."""
        return self.name.replace("\\", "/").rsplit("/", 1)[-1]


def list_files(url: str) -> Iterator[MaskFile]:
    """List the files at a path or URL: a folder's, a bucket's prefix's, a tar's or zip's, or the file itself.

    Raises:
        SourceError: it can't be read, or a container is damaged or holds too much.
    """
    if is_local(url) and os.path.isdir(path := url.removeprefix("file://")):
        for file in folder_files(path):
            yield from _list_file(file, _info(file))
        return
    name = last_name(url)
    is_named = _is_container(name) or name.lower().endswith(_NAMED)
    if not is_named and (found := _prefix(url)):
        for key, size in found:
            yield from _list_file(f"{url}/{key}", BlobInfo(size, "", True, b""))
        return
    info = _info(url)
    if not is_named:
        unreadable(url, f"{name} is no mask, no list of splits, and no archive that is known by its name")
    yield from _list_file(url, info)


def _prefix(url: str) -> list[tuple[str, int]]:
    """Return the objects below a prefix of a bucket, and their bytes; none if the URL is no such prefix."""
    root, _, folder = url.rpartition("/")
    if not root.startswith("s3://"):
        return []
    try:
        listed = open_objects(root).listed(folder)
    except OSError as error:
        unreadable(url, str(error))
    return [(key, found.bytes) for key, found in sorted(listed.items()) if not is_ignorable(key)]


def _info(url: str) -> BlobInfo:
    try:
        return open_blob(url).info()
    except OSError as error:
        unreadable(url, str(error))


def _list_file(url: str, info: BlobInfo) -> Iterator[MaskFile]:
    name = last_name(url)
    size = info.bytes if info.has_ranges else None
    if size is not None and not _is_container(name):
        yield MaskFile(_unzipped(name), url, 0, size, info.tag)
        return
    try:
        if size is not None and not is_compressed_tar(name):
            found = _directory(name, url, size, info.tag)
            if found is not None:
                yield from found
                return
        for number, member in enumerate(read_place(url)):
            yield MaskFile(member.name, url, number=number)
    except OSError as error:
        unreadable(url, str(error))


def _is_container(name: str) -> bool:
    """Return if a name is that of a tar or of a zip, other than a zip of one mask."""
    return _unzipped(name) == name and (name.lower().endswith(".zip") or is_tar(name))


def _unzipped(name: str) -> str:
    return name[: -len(".zip")] if name.lower().endswith(ONE_MASK) else name


def _directory(name: str, url: str, size: int, tag: str) -> list[MaskFile] | None:
    """Return the members of a tar or zip; None where some can't be read by range alone."""
    found: list[MaskFile] = []
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_ranges(url, size, tag))
            members = _tar_members(file) if is_tar(name) else _zip_members(file)
            for inner, start, end, packed in members:
                if len(found) >= MOST_MEMBERS:
                    too_many(name)
                if (packed[1] if packed else end - start) > MOST_MEMBER_BYTES:
                    too_large(f"{name}/{inner}", packed[1] if packed else end - start, MOST_MEMBER_BYTES)
                if is_ignorable(inner):
                    continue
                if _is_container(inner) or start < 0:
                    return None
                found.append(MaskFile(f"{name}/{_unzipped(inner)}", url, start, end, tag, packed=packed))
    except DAMAGE as error:
        damaged(name, error)
    return found


_Listed = tuple[str, int, int, "tuple[int, int, int] | None"]


def _tar_members(file: BinaryIO) -> Iterator[_Listed]:
    for name, info, _ in tar_files(".tar", file):
        start = 0 if info is None else -1 if info.issparse() else info.offset_data
        yield name, start, start + (info.size if info else 0), None


def _zip_members(file: BinaryIO) -> Iterator[_Listed]:
    infos, end = open_zip(file)
    starts = sorted({info.header_offset for info in infos} | {end})
    after = dict(pairwise(starts))
    for info in infos:
        is_plain = info.compress_type in (0, _DEFLATED) and not info.flag_bits & 1
        start = info.header_offset if is_plain and info.header_offset in after else -1
        yield (
            info.filename,
            start,
            after.get(info.header_offset, 0),
            (info.compress_type, info.file_size, info.CRC),
        )


@contextlib.contextmanager
def readable_files(files: Sequence[MaskFile]) -> Iterator[Sequence[MaskFile]]:
    """Provide files with ranges in place of those that can only be read from a place's beginning.

    Raises:
        SourceError: a place is not what was listed any more.
        OSError: it can't be read, or there is no room for its copy.
    """
    places = sorted({file.url for file in files if file.is_sequential})
    with contextlib.ExitStack() as stack:
        copies: dict[tuple[str, int], MaskFile] = {}
        for url in places:
            copy = stack.enter_context(tempfile.NamedTemporaryFile())
            wanted = {file.number: file for file in files if file.url == url}
            for number, member in enumerate(read_place(url)):
                if (file := wanted.get(number)) is None:
                    continue
                if file.name != member.name:
                    unreadable(
                        url, f"{member.name} at the place of {file.name}: it changed while it was read"
                    )
                start = copy.tell()
                copy.write(member.data)
                copies[url, number] = replace(file, url=copy.name, start=start, end=copy.tell(), number=None)
            copy.flush()
        yield [file if file.number is None else copies[file.url, file.number] for file in files]


def read_files(files: Sequence[MaskFile]) -> list[bytes]:
    """Return the bytes of files, in their order, by few reads; of a damaged one, none.

    Raises:
        OSError: a place can't be read, or changed since it was listed.
    """
    data = [b""] * len(files)
    order = sorted(range(len(files)), key=lambda at: (files[at].url, files[at].tag, files[at].start))
    spans: list[list[int]] = []
    for at in order:
        file, span = files[at], spans[-1] if spans else None
        last = files[span[-1]] if span else None
        if (
            span is None
            or last is None
            or (last.url, last.tag) != (file.url, file.tag)
            or file.start > last.end + _GAP_BYTES
            or file.end - files[span[0]].start > _SPAN_BYTES
        ):
            spans.append([at])
        else:
            span.append(at)
    for span in spans:
        first = files[span[0]]
        stop = max(files[at].end for at in span)
        found = open_blob(first.url).read(first.start, stop, first.tag)
        for at in span:
            file = files[at]
            data[at] = _unpacked(file, found[file.start - first.start : file.end - first.start])
    return data


def _unpacked(file: MaskFile, data: bytes) -> bytes:
    """Return the bytes of a mask's own file: out of its zip, and out of the zip of one mask around that."""
    if file.packed is not None:
        method, size, crc = file.packed
        begin = (
            _LOCAL_HEADER_BYTES
            + int.from_bytes(data[26:28], "little")
            + int.from_bytes(data[28:30], "little")
        )
        body = data[begin:]
        if data[:4] != b"PK\3\4":
            return b""
        try:
            body = (
                isal_zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, size + 1) if method else body[:size]
            )
        except Exception:  # isal's own error has no public base class
            return b""
        if len(body) != size or zlib.crc32(body) != crc:
            return b""
        data = body
    return data if data[:2] == b"\x1f\x8b" or data[:4] != b"PK\3\4" else only_member(data)
