"""Files: opened only where they are regular, linked on any file system, folders synced.

A FIFO or a device where a file is expected would be waited for without end.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path
from typing import BinaryIO

NO_FILE = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EINVAL)
"""Errors of a path that holds no file for this user, however often it is tried."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: it can't be opened, or is a FIFO, a socket or a device.
    """
    # Without O_NONBLOCK, opening a FIFO waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def link(partial: Path, target: Path) -> None:
    """Link a file into another folder; from there if the file system has links inside one folder only."""
    try:
        os.link(partial, target)
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise
        sibling = partial.replace(target.with_name(f"{target.name}.{uuid.uuid4().hex}"))
        try:
            os.link(sibling, target)
        finally:
            sibling.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
