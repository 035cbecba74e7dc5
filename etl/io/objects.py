"""The bytes of a store: whole objects, written at once or not at all.

Everything in a store goes through here. A reader never sees part of an object: on a local disk each one
is written under `.partial/`, synced, and renamed (or, for an exclusive create, linked) to its name; a bucket
does the like by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from etl.core.errors import StoreError
from etl.core.urls import credential_in, without_credentials

PARTIAL = ".partial"


@dataclass(frozen=True)
class ObjectInfo:
    """One object: path relative to where it is listed, size in bytes, SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Listed:
    """One object as a listing tells of it: size in bytes, when it was written, in seconds since 1970.

    The time is of the store's own clock: compare it with other objects' only, not with this machine's.
    """

    bytes: int
    written_s: float


def object_info(path: str, *pieces: bytes) -> ObjectInfo:
    """Size and SHA-256 of an object's bytes, which may come in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return ObjectInfo(path, sum(map(len, pieces)), digest.hexdigest())


class Objects(Protocol):
    """A store's bytes, wherever they lie. Every method may raise OSError where the place fails."""

    @property
    def root(self) -> str:
        """Absolute path, or URL, of the store."""

    def read(self, name: str) -> bytes:
        """The object's bytes. Raises FileNotFoundError where there is none."""

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """The object's bytes from `start` up to `stop`. Raises FileNotFoundError where there is none."""

    def size(self, name: str) -> int | None:
        """The object's size in bytes, or None where there is none."""

    def listed(self, prefix: str) -> dict[str, Listed]:
        """All objects below a folder, by their names in it."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Sizes in bytes of all objects below a folder, by their names in it."""

    def write(self, name: str, *pieces: bytes) -> None:
        """Write an object whole, replacing one of that name; its bytes may come in pieces."""

    def create(self, name: str, data: bytes) -> bool:
        """Write an object only if none of that name exists; False where one does. Atomic."""

    def remove(self, name: str) -> None:
        """Delete an object; nothing where there is none."""

    def remove_all(self, names: Sequence[str]) -> None:
        """Delete many objects, in batches where the place has them; nothing for those that aren't there.

        Folders that this leaves empty are deleted too. Raises OSError where some could not be deleted.
        """

    def list(self, prefix: str) -> Iterator[str]:
        """Names of all objects below a folder, sorted; nothing where there is no such folder."""

    def check_writable(self) -> None:
        """Write, read back and delete one object; see that an exclusive create is one.

        Raises:
            StoreError: with what the system answered.
        """

    def free_bytes(self) -> int | None:
        """Bytes free where the store lies; None where that can't be told."""


def checked_name(name: str) -> tuple[str, ...]:
    """The parts of an object's name. Raises StoreError where it would lead out of the store."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise StoreError("not the name of an object", value=name, allowed="a relative path inside the store")
    return parts


@dataclass(frozen=True)
class LocalObjects:
    """A store on a local or shared file system. See `Objects`.

    Attributes:
        root: absolute path of the store's folder.
    """

    root: str

    def _path(self, name: str) -> Path:
        return Path(self.root, *checked_name(name))

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        with open(self._path(name), "rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def size(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listed(self, prefix: str) -> dict[str, Listed]:
        base, found = self._path(prefix), {}
        for folder, _, files in os.walk(base):
            for path in (Path(folder, file) for file in files):
                with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
                    status = path.stat()
                    found[path.relative_to(base).as_posix()] = Listed(status.st_size, status.st_mtime)
        return found

    def sizes(self, prefix: str) -> dict[str, int]:
        return {name: item.bytes for name, item in self.listed(prefix).items()}

    def write(self, name: str, *pieces: bytes) -> None:
        target = self._path(name)
        partial = self._write_partial(*pieces)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    def create(self, name: str, data: bytes) -> bool:
        target = self._path(name)
        partial = self._write_partial(data)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(partial, target)
            except FileExistsError:
                return False
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
        return True

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def remove_all(self, names: Sequence[str]) -> None:
        for name in names:
            self.remove(name)
        folders = {folder for name in names for folder in PurePosixPath(name).parents}
        for folder in sorted(folders, reverse=True):
            # The store's own folders stay: somebody may be about to write there.
            if len(folder.parts) > 1:
                with contextlib.suppress(OSError):  # it isn't empty
                    self._path(str(folder)).rmdir()

    def list(self, prefix: str) -> Iterator[str]:
        yield from sorted(
            Path(folder, file).relative_to(self.root).as_posix()
            for folder, _, files in os.walk(self._path(prefix))
            for file in files
        )

    def check_writable(self) -> None:
        name = f"{PARTIAL}/probe-{uuid.uuid4().hex}"
        try:
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
        except OSError as error:
            raise StoreError(
                "the store can't be written",
                where=self.root,
                value=str(error),
                allowed="a folder that this user may write, on a file system with hard links",
                remedy="change its permissions, free some space, or set `store` to another folder",
            ) from error

    def free_bytes(self) -> int | None:
        folder = Path(self.root)
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _write_partial(self, *pieces: bytes) -> Path:
        partial = Path(self.root, PARTIAL, uuid.uuid4().hex)
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial


def open_objects(store: str) -> Objects:
    """The objects of the store at a path or an s3:// URL.

    Raises:
        StoreError: the place is not one that a store can be in.
    """
    if kind := credential_in(store):
        raise StoreError(
            f"credentials don't belong in a store's URL: {kind}",
            value=without_credentials(store),
            remedy="S3 takes them from AWS_PROFILE, AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or the "
            "machine's role",
        )
    if store.startswith("s3://"):
        from etl.io.bucket_objects import BucketObjects

        return BucketObjects(store.rstrip("/"))
    if "://" in store and not store.startswith("file://"):
        raise StoreError(
            "this kind of store is not supported",
            value=store,
            allowed="a path, or s3://bucket/prefix",
            remedy="set `store` to a folder or a bucket",
        )
    return LocalObjects(os.path.abspath(store.removeprefix("file://")))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
