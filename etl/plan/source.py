"""Reads the release that the config's `source` names: the annotations and the slice index."""

from __future__ import annotations

import hashlib
import logging

from etl.core.config import Config, Source
from etl.core.counted import counted
from etl.core.errors import SourceError, explained
from etl.core.urls import blob_name, public_url
from etl.io.opening import open_blob
from etl.plan.select import choose_runs
from etl.release.annotations import Annotations, parse_annotations
from etl.release.archives import index_archives
from etl.release.folders import index_folder, with_checksums
from etl.release.index import SliceIndex
from etl.release.sources import OFFICIAL, ArchiveEntry

logger = logging.getLogger(__name__)


def read_release(config: Config) -> tuple[Annotations, SliceIndex]:
    """Read the CSV and the archives' directories; of a folder, read the slices to build for their checksums.

    Raises:
        SourceError: the release can't be used.
    """
    annotations, index = read_annotations(config.source), read_index(config.source)
    logger.info("read %s: %s", annotations.source, counted(annotations.row_count, "row"))
    kinds = {True: "archive", False: "folder"}
    kind = kinds[index.containers[0].is_zip] if index.containers else "archive"
    found, places = counted(index.found_count, "slice"), counted(len(index.containers), kind)
    logger.info("found %s in %s", found, places)
    if config.source.images is not None:
        index = with_checksums(index, choose_runs(annotations, index, config.select).wanted)
    return annotations, index


def read_annotations(source: Source) -> Annotations:
    """Read DL_info.csv from its path or URL.

    Raises:
        SourceError: it can't be read, has another checksum, or is no such CSV.
    """
    file = source.annotations
    where = public_url(file.url)
    with explained(
        SourceError,
        "the annotations can't be read",
        where="source.annotations",
        remedy="give the path or URL of DL_info.csv",
    ):
        data = b"".join(open_blob(file.url).stream())
    sha256 = hashlib.sha256(data).hexdigest()
    if file.sha256 is not None and sha256 != file.sha256:
        raise SourceError(
            "the annotations have another checksum than the config expects",
            where=where,
            value=f"sha256 {sha256}, {len(data):,} bytes",
            allowed=file.sha256,
            remedy="fetch DL_info.csv again, or correct source.annotations.sha256",
        )
    return parse_annotations(data, blob_name(file.url))


def read_index(source: Source) -> SliceIndex:
    """List the slices of the folder or the archives.

    Raises:
        SourceError: there are no slices, or they can't be read.
    """
    if source.images is not None:
        return index_folder(source.images)
    assert source.archives is not None  # the config has one of the two
    if source.staging is None and any(file.url == OFFICIAL for file in source.archives):
        logger.info(
            "the official archives are read in place: the CRC-32 of each slice is checked, the SHA-256 of an "
            "archive only if source.staging is set"
        )
    entries = [ArchiveEntry(file.url, file.sha256 or "") for file in source.archives]
    return index_archives(entries, source.staging)
