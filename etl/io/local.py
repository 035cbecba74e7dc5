"""Files and folders on local and shared file systems.

A reader never sees part of an object: each is written under `.partial/`, synced, and renamed (or, for an
exclusive create, linked) to its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from etl.core.errors import StoreError, explained
from etl.io.files import NO_FILE, link, open_regular, sync_folder
from etl.io.places import (
    PARTIAL,
    STREAM_BYTES,
    BlobChanged,
    BlobInfo,
    BlobRefused,
    Listed,
    PartGoneError,
    checked_name,
)


@dataclass(frozen=True)
class LocalBlob:
    """A file. See `etl.io.places.Blob`."""

    url: str

    def info(self) -> BlobInfo:
        with self._open() as file:
            status = os.fstat(file.fileno())
            return BlobInfo(status.st_size, _tag(status), True, file.read(4))

    def read(self, start: int, end: int, tag: str = "") -> bytes:
        data = next(self._pieces(start, end - start, tag), b"") if start < end else b""
        if len(data) < end - start:
            raise BlobChanged(f"{self.url} ends at byte {start + len(data):,}, expected at least {end:,}")
        return data

    def stream(self, start: int = 0, tag: str = "") -> Iterator[bytes]:
        return self._pieces(start, STREAM_BYTES, tag)

    def _pieces(self, start: int, size: int, tag: str) -> Iterator[bytes]:
        with self._open() as file:
            status = os.fstat(file.fileno())
            if (tag and _tag(status) != tag) or status.st_size < start:
                raise BlobChanged(f"{self.url} changed since it was looked at")
            file.seek(start)
            while piece := file.read(size):
                yield piece

    def _open(self) -> BinaryIO:
        try:
            return open_regular(self.url)
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            raise BlobRefused(f"{self.url}: {error.strerror}") from error


@dataclass(frozen=True)
class LocalObjects:
    """A folder of whole objects. See `etl.io.places.Objects`.

    Attributes:
        root: absolute path of the folder.
    """

    root: str

    def url(self, name: str) -> str:
        return str(self._path(name))

    def read(self, name: str) -> bytes:
        with open_regular(self._path(name)) as file:
            return file.read()

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        return self.read_ranges(name, [(start, stop)], 1)[0]

    def read_end(self, name: str, count: int) -> bytes:
        with open_regular(self._path(name)) as file:
            return os.pread(file.fileno(), count, max(0, os.fstat(file.fileno()).st_size - count))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]], requests: int) -> list[bytes]:
        with open_regular(self._path(name)) as file:
            return [os.pread(file.fileno(), stop - start, start) for start, stop in ranges]

    def size(self, name: str) -> int | None:
        with contextlib.suppress(NotADirectoryError):
            return _file_bytes(self._path(name))
        return None

    def listed(self, prefix: str) -> dict[str, Listed]:
        base, found = self._path(prefix), {}
        for path in _files_below(base):
            with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
                status = path.stat()
                found[path.relative_to(base).as_posix()] = Listed(status.st_size, status.st_mtime)
        return found

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item.bytes for name, item in self.listed(prefix).items()}

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(path.relative_to(self.root).as_posix() for path in _files_below(self._path(prefix)))

    def write(self, name: str, *pieces: bytes) -> None:
        target = self._path(name)
        partial = self._write_partial(*pieces)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)

    def create(self, name: str, data: bytes) -> bool:
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = self._write_partial(data)
        try:
            link(partial, target)
        except FileExistsError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(target.parent)
        return True

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def remove_all(self, names: Sequence[str]) -> None:
        for name in names:
            self.remove(name)
        folders = {folder for name in names for folder in PurePosixPath(name).parents}
        for folder in sorted(folders, reverse=True):
            # The store's own folders stay: another process may be about to write there.
            if len(folder.parts) > 1:
                with contextlib.suppress(OSError):  # it isn't empty
                    self._path(str(folder)).rmdir()

    def check_writable(self) -> None:
        name = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        with explained(
            StoreError,
            "the store can't be written",
            where=self.root,
            allowed="a folder that this user may write, on a file system with hard links",
            remedy="change its permissions, free some space, or set `store` to another folder",
        ):
            Path(self.root).mkdir(parents=True, exist_ok=True)
            if not self.create(name, b"probe") or self.read(name) != b"probe":
                raise StoreError("the store does not give back what was written", where=self.root)
            if self.create(name, b"other"):
                raise StoreError(
                    "the store's file system lets an exclusive create overwrite",
                    where=self.root,
                    remedy="publishing is not safe there; use another file system",
                )
            self._path(name).unlink()

    def free_bytes(self) -> int | None:
        folder = Path(self.root)
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _path(self, name: str) -> Path:
        return Path(self.root, *checked_name(name))

    def _write_partial(self, *pieces: bytes) -> Path:
        partial = Path(self.root, PARTIAL, uuid.uuid4().hex)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            if isinstance(error, OSError):
                error.filename = error.filename or str(partial)  # a full disk is not named otherwise
            partial.unlink(missing_ok=True)
            raise
        return partial


@dataclass(frozen=True)
class LocalStaging(LocalObjects):
    """A folder of archives on their way; a part is one file that grows. See `etl.io.places.StagingArea`."""

    def size(self, name: str) -> int | None:
        return _file_bytes(self._path(name))

    def names(self, prefix: str) -> Sequence[str]:
        return _names(Path(self.root), prefix)

    def part_names(self, prefix: str) -> Sequence[str]:
        return _names(Path(self.root, PARTIAL), prefix)

    def part_bytes(self, name: str) -> int:
        return _file_bytes(self._part(name)) or 0

    def append(self, name: str, at: int, block: bytes) -> None:
        part = self._part(name)
        if not at:
            part.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never truncated: another run may be writing the same bytes.
            descriptor = os.open(part, os.O_WRONLY | (0 if at else os.O_CREAT), 0o666)
        except FileNotFoundError as error:
            raise PartGoneError(name) from error
        try:
            # A part that another run restarted: a gap in it would count as bytes.
            if os.fstat(descriptor).st_size < at:
                raise PartGoneError(name)
            view, position = memoryview(block), at
            while view:
                written = os.pwrite(descriptor, view, position)
                view, position = view[written:], position + written
            os.fsync(descriptor)
        except PartGoneError:
            raise
        except OSError as error:  # a descriptor's error names no place
            raise OSError(error.errno, error.strerror, str(part)) from error
        finally:
            os.close(descriptor)

    def read_part(self, name: str) -> Iterator[bytes]:
        try:
            with open_regular(self._part(name)) as file:
                while piece := file.read(8 << 20):
                    yield piece
        except FileNotFoundError as error:
            raise PartGoneError(name) from error

    def finish(self, name: str, size: int) -> None:
        if self.part_bytes(name) != size:
            raise PartGoneError(name)
        try:
            os.replace(self._part(name), self._path(name))
        except FileNotFoundError as error:
            raise PartGoneError(name) from error

    def discard(self, name: str) -> None:
        self._part(name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return Path(self.root, PARTIAL, name)


def _tag(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _file_bytes(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return None


def _files_below(folder: Path) -> Iterator[Path]:
    for below, _, files in os.walk(folder, onerror=_raise_if_there):
        yield from (Path(below, file) for file in files)


def _raise_if_there(error: OSError) -> None:
    """Raise the error of a folder that can't be listed, unless there is no such folder."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _names(folder: Path, prefix: str) -> Sequence[str]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    return sorted(entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_file())
