"""Where staged archives lie: a shared folder, or a bucket. Only whole files have their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from etl.core.errors import ConfigError
from etl.core.urls import is_local
from etl.io import s3

_PARTIAL = ".partial"
_READ_BYTES = 8 * 2**20


class PartGoneError(Exception):
    """The part is not what was written: another run finished it, or discarded it, in the meantime."""


class StagingArea(Protocol):
    """Parts grow from their beginning; `finish` turns one into a file, at once.

    Two runs may fetch the same archive at once: they write the same bytes to the same places. All methods
    raise OSError where the area can't be read or written.
    """

    def url(self, name: str) -> str:
        """Where the whole file is, for `open_blob`."""

    def size(self, name: str) -> int | None:
        """Bytes of the whole file; None where it is not there."""

    def names(self, prefix: str) -> list[str]:
        """Names of whole files that begin with `prefix`."""

    def part_names(self, prefix: str) -> list[str]:
        """Names of parts that begin with `prefix`."""

    def part_bytes(self, name: str) -> int:
        """Bytes of the part that are there, from its beginning without a gap."""

    def append(self, name: str, at: int, block: bytes) -> None:
        """Add a block to the part, which has `at` bytes. Raises PartGoneError."""

    def read_part(self, name: str) -> Iterator[bytes]:
        """The part's bytes, in order. Raises PartGoneError."""

    def finish(self, name: str, size: int) -> None:
        """Give the part, which has `size` bytes, its name. Raises PartGoneError."""

    def discard(self, name: str) -> None:
        """Remove the part; nothing where it is not there."""

    def remove(self, name: str) -> None:
        """Remove the whole file; nothing where it is not there."""


def open_staging(staging: str) -> StagingArea:
    """The staging area at a path or an s3:// URL.

    Raises:
        ConfigError: another kind of place.
    """
    if is_local(staging):
        return FolderStaging(os.path.abspath(staging.removeprefix("file://")))
    if staging.startswith("s3://"):
        return BucketStaging(staging.rstrip("/"))
    raise ConfigError(
        "archives can't be staged there",
        where="source.staging",
        value=staging,
        allowed="a path or s3://bucket/prefix",
    )


@dataclass(frozen=True)
class FolderStaging:
    """A folder on a local or shared file system. A part is one file that grows."""

    root: str

    def url(self, name: str) -> str:
        return str(Path(self.root, name))

    def size(self, name: str) -> int | None:
        return _file_bytes(Path(self.root, name))

    def names(self, prefix: str) -> list[str]:
        return _files(Path(self.root), prefix)

    def part_names(self, prefix: str) -> list[str]:
        return _files(Path(self.root, _PARTIAL), prefix)

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
            if os.fstat(descriptor).st_size < at:
                raise PartGoneError(name)  # begun anew by another run; a gap in it would count as bytes
            view, position = memoryview(block), at
            while view:
                written = os.pwrite(descriptor, view, position)
                view, position = view[written:], position + written
            os.fsync(descriptor)
        except OSError as error:  # a descriptor's error names no place
            raise OSError(error.errno, error.strerror, str(part)) from error
        finally:
            os.close(descriptor)

    def read_part(self, name: str) -> Iterator[bytes]:
        try:
            with open(self._part(name), "rb") as file:
                while piece := file.read(_READ_BYTES):
                    yield piece
        except FileNotFoundError as error:
            raise PartGoneError(name) from error

    def finish(self, name: str, size: int) -> None:
        if self.part_bytes(name) != size:
            raise PartGoneError(name)
        try:
            os.replace(self._part(name), Path(self.root, name))
        except FileNotFoundError as error:
            raise PartGoneError(name) from error

    def discard(self, name: str) -> None:
        self._part(name).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        Path(self.root, name).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return Path(self.root, _PARTIAL, name)


@dataclass(frozen=True)
class BucketStaging:
    """A bucket. A part is one object a block, named by its first byte; the bucket itself joins them."""

    root: str

    def url(self, name: str) -> str:
        return f"{self.root}/{name}"

    def size(self, name: str) -> int | None:
        try:
            entry = s3.ask(self.root, lambda driver: driver.info(self.url(name)))
        except FileNotFoundError:
            return None
        return int(entry["size"]) if entry["type"] == "file" else None

    def names(self, prefix: str) -> list[str]:
        return [name for name, _ in self._list(self.root, prefix)]

    def part_names(self, prefix: str) -> list[str]:
        return [name for name, _ in self._list(f"{self.root}/{_PARTIAL}", prefix, "directory")]

    def part_bytes(self, name: str) -> int:
        return sum(size for _, size in self._blocks(name))

    def append(self, name: str, at: int, block: bytes) -> None:
        s3.put(self.root, f"{self._part(name)}/{at:015d}", block)

    def read_part(self, name: str) -> Iterator[bytes]:
        for path, _ in self._blocks(name):
            try:
                yield s3.ask(self.root, lambda driver: bytes(driver.cat_file(path)))  # noqa: B023
            except FileNotFoundError as error:
                raise PartGoneError(name) from error

    def finish(self, name: str, size: int) -> None:
        blocks = self._blocks(name)
        if sum(block_bytes for _, block_bytes in blocks) != size:
            raise PartGoneError(name)
        try:
            s3.join(self.root, self.url(name), [path.removeprefix("s3://") for path, _ in blocks], size)
        except FileNotFoundError as error:
            raise PartGoneError(name) from error
        self.discard(name)

    def discard(self, name: str) -> None:
        part = self._part(name)
        s3.remove_all(self.root, [f"{part.removeprefix('s3://')}/{block}" for block, _ in self._list(part)])

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            s3.ask(self.root, lambda driver: driver.rm_file(self.url(name)))

    def _part(self, name: str) -> str:
        return f"{self.root}/{_PARTIAL}/{name}"

    def _blocks(self, name: str) -> list[tuple[str, int]]:
        """(path, bytes) of the blocks from the first on, each beginning where the one before it ends."""
        sizes = {int(block): size for block, size in self._list(self._part(name)) if block.isdecimal()}
        blocks, at = [], 0
        while sizes.get(at):
            blocks.append((f"{self._part(name)}/{at:015d}", sizes[at]))
            at += sizes[at]
        return blocks

    def _list(self, folder: str, prefix: str = "", kind: str = "file") -> list[tuple[str, int]]:
        """(name, bytes) of what lies in a folder, in order."""
        try:
            entries = s3.ask(self.root, lambda driver: driver.ls(folder, detail=True, refresh=True))
        except FileNotFoundError:
            return []
        named = ((entry["name"].rsplit("/", 1)[-1], int(entry["size"]), entry["type"]) for entry in entries)
        return sorted(
            (name, size) for name, size, type_ in named if type_ == kind and name.startswith(prefix)
        )


def _file_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _files(folder: Path, prefix: str) -> list[str]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return []
    return sorted(entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_file())
