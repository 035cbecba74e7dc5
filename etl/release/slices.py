"""Read the PNG files of a run of slices from their archives or folder into memory.

Members of a series are adjacent in the official archives, so a run costs one contiguous read of each archive,
or a few where it is long; nothing is extracted to disk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from isal import isal_zlib

from etl.core.errors import SliceError
from etl.core.rejects import Reason
from etl.core.urls import is_local
from etl.io.opening import open_blob
from etl.io.places import BlobError, reject_reason
from etl.io.retries import archive_budget
from etl.release.folders import read_slice_file
from etl.release.index import Container
from etl.release.names import SeriesKey, parse_member, slice_name

# The stub of isal types it as an exception, not as a class of exceptions.
_IsalError = cast("type[Exception]", isal_zlib.error)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
# Other members' bytes between two members that are cheaper to read than to skip.
_MAX_GAP_BYTES = 1 << 20
# Bytes of an archive held at once. Few runs are longer; they are read in pieces.
SPAN_BYTES = 64 << 20


class ArchiveLostError(Exception):
    """An archive can't be read any more: it is gone, has changed, or its server stays silent.

    Attributes:
        container: its position among the containers.
        reason, message: for the rejects of its slices.
    """

    def __init__(self, container: int, reason: Reason, message: str) -> None:
        self.container, self.reason, self.message = container, reason, message
        super().__init__(container, reason, message)


def read_slices(
    containers: Sequence[Container], slices: np.ndarray, span_bytes: int = SPAN_BYTES
) -> Iterator[bytes | SliceError]:
    """Yield the PNG file of each slice, in order, or the error for its reject.

    Args:
        containers: those of the slices' index.
        slices: rows of `SLICE_DTYPE`.
        span_bytes: bytes of an archive that are held at once, and up to one slice more.

    Raises:
        OSError: a file on this machine, or in the staging area, can't be read now.
        ArchiveLostError: an archive is gone, is not what it was when its directory was read, or its server
            does not answer after all retries.
    """
    spans = _spans(slices, span_bytes)
    last_use = {span: position for position, span in enumerate(spans.tolist())}
    blobs: dict[int, tuple[int, memoryview]] = {}
    for position, row in enumerate(slices):
        container = containers[row["container"]]
        if not container.is_zip:
            yield _checked(read_slice_file(container, row), row)
            continue
        span = int(spans[position])
        if span not in blobs:
            blobs[span] = _read_span(containers, slices[spans == span])
        start, blob = blobs[span] if position < last_use[span] else blobs.pop(span)
        yield _member(blob, int(row["offset"]) - start, row)


def held_bytes(slices: np.ndarray) -> int:
    """Return the most bytes of archives and PNG files that `read_slices` holds at once with these rows."""
    file = max(slices["bytes"].tolist(), default=0)
    # A folder's row ends where its file does; a member's includes its header.
    members = slices[slices["end"] - slices["offset"] > slices["stored_bytes"]]
    if not len(members):
        return file
    _, first, span = np.unique(_spans(members, SPAN_BYTES), return_index=True, return_inverse=True)
    last = np.zeros_like(first)
    np.maximum.at(last, span, np.arange(len(members)))
    start, end = np.full(len(first), np.iinfo(np.int64).max), np.zeros(len(first), np.int64)
    np.minimum.at(start, span, members["offset"])
    np.maximum.at(end, span, members["end"])
    change = np.zeros(len(members) + 1, np.int64)
    np.add.at(change, first, end - start)
    np.add.at(change, last + 1, start - end)
    return int(file + max(change.cumsum().tolist()))


def _spans(slices: np.ndarray, span_bytes: int) -> np.ndarray:
    """Return a number for each slice: slices of one number are adjacent and fetched with one read."""
    order = np.lexsort((slices["offset"], slices["container"]))
    container, offset, end = (slices[name][order] for name in ("container", "offset", "end"))
    breaks = np.ones(len(slices), dtype=bool)
    breaks[1:] = (container[1:] != container[:-1]) | (offset[1:] > end[:-1] + _MAX_GAP_BYTES)
    first = offset[breaks][np.cumsum(breaks) - 1]
    breaks[1:] |= np.diff((end - first) // span_bytes) != 0
    spans = np.empty(len(slices), dtype=np.int64)
    spans[order] = np.cumsum(breaks)
    return spans


def _read_span(containers: Sequence[Container], members: np.ndarray) -> tuple[int, memoryview]:
    """Return where the first of the members begins in their archive, and the bytes from there to the last."""
    start, end = int(members["offset"].min()), int(members["end"].max())
    number = int(members["container"][0])
    container = containers[number]
    try:
        blob = open_blob(container.path, archive_budget(container.path))
        return start, memoryview(blob.read(start, end, container.tag))
    except OSError as error:
        if not isinstance(error, BlobError) and (container.is_staged or is_local(container.path)):
            raise  # a fault of this machine, not of the release
        raise ArchiveLostError(number, reject_reason(error), str(error)) from error


def _member(blob: memoryview, start: int, row: np.void) -> bytes | SliceError:
    header = blob[start : start + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size:
        return SliceError(Reason.SLICE_TRUNCATED, "the archive ends before the member's header")
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    if signature != _LOCAL_SIGNATURE:
        found = bytes(signature).hex()
        return SliceError(
            Reason.SLICE_TRUNCATED,
            f"no member header at byte {row['offset']} of the archive (found {found}); "
            "the archive is damaged or changed since its directory was read",
        )
    name_start = start + _LOCAL_HEADER.size
    name = bytes(blob[name_start : name_start + name_length]).decode("utf-8", "replace")
    key = SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"]))
    if parse_member(name) != (key, int(row["index"])):
        return SliceError(
            Reason.MEMBER_NAME_UNEXPECTED,
            f"the member's header names {name[:100]!a}, the directory {slice_name(key, int(row['index']))}",
        )
    data_start = name_start + name_length + extra_length
    data = blob[data_start : data_start + int(row["stored_bytes"])]
    if len(data) < row["stored_bytes"]:
        return SliceError(
            Reason.SLICE_TRUNCATED,
            f"{len(data)} of {row['stored_bytes']} bytes are there before the next member or the end",
        )
    if not row["deflated"]:
        return _checked(bytes(data), row)
    inflater = isal_zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, int(row["bytes"]) + 1)
    except _IsalError as error:
        return SliceError(Reason.SLICE_CRC_MISMATCH, f"the member can't be inflated: {error}")
    return _checked(plain, row)


def _checked(data: bytes, row: np.void) -> bytes | SliceError:
    if len(data) != row["bytes"]:
        relation = "fewer" if len(data) < row["bytes"] else "more"
        reason = Reason.SLICE_TRUNCATED if len(data) < row["bytes"] else Reason.SLICE_CRC_MISMATCH
        return SliceError(reason, f"{relation} bytes than the {row['bytes']} announced")
    crc32 = isal_zlib.crc32(data)
    if crc32 != row["crc32"]:
        return SliceError(
            Reason.SLICE_CRC_MISMATCH, f"crc32 is {crc32:08x}, announced was {row['crc32']:08x}"
        )
    return data
