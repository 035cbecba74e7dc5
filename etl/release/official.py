"""The official release as facts: its archives with links, sizes and checksums, and its annotations' checksum.

Counted from the release and its public batch download list; `official_archives.csv` holds the 56 archives.
"""

from __future__ import annotations

import csv
import functools
import io
from importlib.resources import files

from etl.staging.fetch import RemoteArchive

ANNOTATIONS_BYTES = 8_479_888
ANNOTATIONS_SHA256 = "a8f57b4b1164c9ed770b5add2920d5f4c5f8defa0df467e12f6a51951e38995c"
ARCHIVE_COUNT = 56
ARCHIVE_BYTES = 238_116_019_288
SLICE_COUNT = 928_020
LESION_COUNT = 32_735


@functools.cache
def official_archives() -> tuple[RemoteArchive, ...]:
    """The 56 archives `Images_png_01.zip` .. `Images_png_56.zip` with size and SHA-256, in order."""
    text = files("etl.release").joinpath("official_archives.csv").read_text(encoding="utf-8")
    return tuple(
        RemoteArchive(row["url"], row["name"], int(row["bytes"]), row["sha256"])
        for row in csv.DictReader(io.StringIO(text))
    )
