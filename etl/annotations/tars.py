"""Files of a tar, compressed or not, in the order of their headers; links as the files that they lead to."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Literal, cast

from etl.core.errors import SourceError

MOST_LINKS = 1_000_000
_COMPRESSED_TARS = {
    **dict.fromkeys((".tar.gz", ".tgz"), "r:gz"),
    **dict.fromkeys((".tar.bz2", ".tbz2"), "r:bz2"),
    **dict.fromkeys((".tar.xz", ".txz"), "r:xz"),
}


def is_tar(name: str) -> bool:
    """Return if a name is that of a tar, compressed or not."""
    return name.lower().endswith((".tar", *_COMPRESSED_TARS))


def is_compressed_tar(name: str) -> bool:
    """Return if a name is that of a compressed tar."""
    return name.lower().endswith(tuple(_COMPRESSED_TARS))


def tar_files(name: str, file: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo | None, BinaryIO | None]]:
    """Yield the files of a tar: name, header and an open reader of the bytes.

    Links come last, under their own names, with header and bytes of the file that they lead to; both are None
    where that is not in the tar. Damage raises one of `DAMAGE`.

    Args:
        name: of the tar, whose ending names the compression.
        file: its bytes, at the beginning.
    """
    links: dict[str, list[str]] = {}
    for info, reader in _tar_headers(name, file):
        if info.isreg():
            yield info.name, info, reader
        elif info.islnk() or info.issym():
            folder = posixpath.dirname(info.name) if info.issym() else ""
            links.setdefault(_tar_place(folder, info.linkname), []).append(info.name)
            if len(links) > MOST_LINKS:
                raise SourceError("the archive has too many links", where=name, allowed=f"{MOST_LINKS:,}")
    if not links:
        return
    file.seek(0)
    for info, reader in _tar_headers(name, file):
        if info.isreg() and (own := links.pop(_tar_place("", info.name), None)):
            for link in own:
                yield link, info, reader
    for link in (link for own in links.values() for link in own):
        yield link, None, None


def _tar_place(folder: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(folder, name))


def _tar_headers(name: str, file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    mode = next((m for ending, m in _COMPRESSED_TARS.items() if name.lower().endswith(ending)), "r:")
    with tarfile.open(fileobj=file, mode=cast("Literal['r:']", mode)) as archive:
        for info in archive:
            reader = archive.extractfile(info) if info.isreg() else None
            yield info, cast("BinaryIO | None", reader)
            # The list of members that tarfile keeps would grow with the archive.
            archive.members = []  # type: ignore[attr-defined]
        # Where a header is cut or damaged, tarfile ends as if no member came after it.
        opened = cast("BinaryIO", archive.fileobj)
        opened.seek(archive.offset)
        if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no header and no end of the archive at byte {archive.offset:,}")
