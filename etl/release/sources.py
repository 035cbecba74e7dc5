"""The archives that a config names: paths, globs, URLs, and the official release with its checksums."""

from __future__ import annotations

import csv
import functools
import glob
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from etl.core.errors import SourceError, explained
from etl.core.rejects import Kind, Reason, Reject
from etl.core.urls import is_local, parse_place, public_url
from etl.io.globs import matching_paths
from etl.io.opening import open_blob
from etl.release.names import distinct_names
from etl.staging.fetch import RemoteArchive, remote_archive

OFFICIAL = "official"
"""Name of the 56 official archives in a config."""

ANNOTATIONS_SHA256 = "a8f57b4b1164c9ed770b5add2920d5f4c5f8defa0df467e12f6a51951e38995c"
"""SHA-256 of the official DL_info.csv."""


@functools.cache
def official_archives() -> tuple[RemoteArchive, ...]:
    """Return the archives `Images_png_01.zip` .. `Images_png_56.zip` with size and SHA-256, in order.

    Source: the release's public batch download list.
    """
    text = files("etl.release").joinpath("official_archives.csv").read_text(encoding="utf-8")
    return tuple(
        RemoteArchive(row["url"], row["name"], int(row["bytes"]), row["sha256"])
        for row in csv.DictReader(io.StringIO(text))
    )


@dataclass(frozen=True)
class ArchiveEntry:
    """An archive as a config names it: a path, glob, URL or `official`; its SHA-256 where it is known."""

    where: str
    sha256: str = ""


def find_archives(entries: Sequence[ArchiveEntry]) -> tuple[RemoteArchive, ...]:
    """Resolve paths, globs, URLs and the word `official`. An archive named twice appears once.

    Archives of one name have the folders that set them apart in their name.

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
    archives = found.values()
    names = distinct_names([f"{os.path.dirname(public_url(a.url))}/{a.name}" for a in archives])
    return tuple(replace(archive, name=name) for archive, name in zip(archives, names, strict=True))


def _expand(where: str) -> list[str]:
    if is_local(where):
        with explained(
            SourceError,
            "an archive can't be read",
            where=f"source.archives: {where}",
            remedy="check its permissions, its disk and its link, or name the archives that are to be read",
        ):
            matches = [
                path for path in matching_paths(parse_place(where)) if stat.S_ISREG(os.stat(path).st_mode)
            ]
    elif where.startswith(("http://", "https://")) or not glob.has_magic(where):
        return [where]
    else:
        from etl.io.bucket_blobs import matching_urls

        with explained(
            SourceError,
            "the archives can't be listed",
            where="source.archives",
            remedy="check the address, the network and the credentials, or give each archive's URL",
        ):
            matches = matching_urls(where)
    if not matches:
        raise SourceError(
            "no such archive",
            where="source.archives",
            value=where,
            remedy="give the path or URL of a zip, a glob such as release/Images_png_*.zip, or `official`",
        )
    return matches


def look_at(archive: RemoteArchive) -> RemoteArchive | Reject:
    """Request the archive's size and tag, and whether its server sends ranges.

    Returns:
        The archive with these, or the reject for one that can't be used.
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
