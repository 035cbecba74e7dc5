"""Files that are none: a FIFO, a socket, a device where an object, an archive or a version is expected."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.core.errors import SourceError
from etl.io.files import open_regular
from etl.io.local import LocalBlob, LocalObjects
from etl.io.places import BlobRefused
from etl.release.archives import index_archives
from etl.release.sources import ArchiveEntry


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


MAKERS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_no_regular_file_is_an_error_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    MAKERS[kind](Path("a.zip"))
    objects = LocalObjects(str(tmp_path))
    for read in (
        lambda: open_regular("a.zip"),
        lambda: objects.read("a.zip"),
        lambda: objects.read_range("a.zip", 0, 3),
    ):
        with pytest.raises(OSError, match=r"no regular file|No such device"):
            read()
    if kind != "socket":
        with pytest.raises(BlobRefused, match="no regular file"):
            LocalBlob("a.zip").info()
        with pytest.raises(SourceError, match="no such archive"):
            index_archives([ArchiveEntry("a.zip")])


def test_a_file_is_read_and_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"abc"
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
