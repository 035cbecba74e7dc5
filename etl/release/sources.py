"""The archives that a config names: paths, globs, URLs, the official release. Found and looked at."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import is_local, public_url
from etl.io.opening import open_blob
from etl.release.official import official_archives
from etl.staging.fetch import RemoteArchive, remote_archive

OFFICIAL = "official"


@dataclass(frozen=True)
class ArchiveEntry:
    """An archive as a config names it: a path, glob, URL or `official`; its SHA-256 where it is known."""

    where: str
    sha256: str = ""


def find_archives(entries: Sequence[ArchiveEntry]) -> tuple[RemoteArchive, ...]:
    """Resolve paths, globs, URLs and the word `official`. An archive named twice is taken once.

    Raises:
        SourceError: an entry names nothing.
    """
    found: dict[str, RemoteArchive] = {}
    for entry in entries:
        if entry.where == OFFICIAL:
            found |= {archive.url: archive for archive in official_archives()}
            continue
        for url in _expand(entry.where):
            key = os.path.realpath(url) if is_local(url) else url
            found.setdefault(key, remote_archive(url, entry.sha256))
    return tuple(found.values())


def _expand(where: str) -> list[str]:
    if is_local(where):
        path = where.removeprefix("file://")
        matches = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
        matches = [os.path.abspath(match) for match in matches if os.path.isfile(match)]
    elif where.startswith(("http://", "https://")) or not glob.has_magic(where):
        return [where]
    else:
        from etl.io.bucket_blobs import matching_urls

        try:
            matches = matching_urls(where)
        except OSError as error:
            raise SourceError(
                "the archives can't be listed",
                where="source.archives",
                value=str(error),
                remedy="check the address, the network and the credentials, or give each archive's URL",
            ) from error
    if not matches:
        raise SourceError(
            "no such archive",
            where="source.archives",
            value=where,
            remedy="give the path or URL of a zip, a glob such as release/Images_png_*.zip, or `official`",
        )
    return matches


def look_at(archive: RemoteArchive) -> RemoteArchive | Reject:
    """Ask what the archive's place says of it: size, tag, whether parts can be read.

    Returns:
        The archive with what was learned, or why it can't be used.
    """
    where = public_url(archive.url)
    try:
        info = open_blob(archive.url).info()
    except OSError as error:
        return Reject(Kind.ARCHIVE, Reason.ARCHIVE_UNAVAILABLE, archive.name, str(error))
    if archive.bytes is not None and info.bytes not in (None, archive.bytes):
        message = f"{where} has {info.bytes:,} bytes; allowed: {archive.bytes:,}, as published"
        return Reject(Kind.ARCHIVE, Reason.ARCHIVE_CHANGED, archive.name, message)
    if info.head[:2] != b"PK":
        message = f"{where}: {info.bytes} bytes that begin with {info.head!r}; allowed: a zip, b'PK'"
        return Reject(Kind.ARCHIVE, Reason.ARCHIVE_NOT_ZIP, archive.name, message)
    return replace(archive, bytes=info.bytes or archive.bytes, tag=info.tag, has_ranges=info.has_ranges)
