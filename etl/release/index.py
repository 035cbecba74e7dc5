"""The index of a release's slices, one row a slice, in columns: the release has 928,020 of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from etl.core.counted import first_of
from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason, Reject
from etl.release.names import SeriesKey, slice_name
from etl.staging.fetch import RemoteArchive

# A slice of the release takes about 257 kB, its pixels at most 2 MiB (1024 x 1024). A larger member is never
# inflated.
MAX_SLICE_BYTES = 16 * 2**20
# A zip member's local header: 30 bytes, name and extra field.
MAX_HEADER_BYTES = 30 + 2 * 0xFFFF

COPIES_NAMED = 3
"""Copies of one slice that the reject of each copy describes; it counts the others."""

SLICE_DTYPE = np.dtype(
    [
        ("patient", "<i4"),
        ("study", "<i4"),
        ("series", "<i4"),
        ("index", "<i4"),
        ("container", "<i4"),  # position in `SliceIndex.containers`
        ("deflated", "?"),
        ("offset", "<i8"),  # of the local header in the archive; 0 in a folder
        ("end", "<i8"),  # no byte of the member lies at or after this
        ("stored_bytes", "<i8"),  # in the archive, compressed
        ("bytes", "<i8"),  # of the PNG file
        ("crc32", "<u4"),  # of the PNG file
    ]
)


@dataclass(frozen=True)
class Container:
    """An archive, or the folder of extracted slices.

    Attributes:
        path: absolute path, or URL.
        name: its own name, for readers of the store; with folders before it where several have that.
        is_zip: an archive; else a folder.
        bytes: size of the archive, or of all slices in the folder.
        slice_count: members that are slices.
        sha256: of the archive's directory, which holds every member's name, size and CRC-32;
            empty for a folder, and where the directory was not read.
        tag: ETag or time of change, checked when the archive is read; empty where there is none.
        is_staged: the archive is read from a copy in the staging area.
    """

    path: str = field(repr=False)  # the log of a failed task shows its arguments; a URL may be signed
    name: str
    is_zip: bool
    bytes: int
    slice_count: int
    sha256: str
    tag: str = ""
    is_staged: bool = False


def slice_codes(numbers: np.ndarray) -> np.ndarray:
    """Return one int64 a slice, in the order of the slices.

    Args:
        numbers: (4, slices), int64: patient, study, series and slice index.
    """
    patient, study, series, index = numbers
    codes: np.ndarray = ((patient * 100 + study) * 100 + series) * 1_000_000 + index
    return codes


def slice_codes_of(slices: np.ndarray) -> np.ndarray:
    """Return `slice_codes` of rows of `SLICE_DTYPE`."""
    return slice_codes(np.array([slices[name] for name in (*SeriesKey._fields, "index")], dtype=np.int64))


def slice_of_code(code: int) -> tuple[SeriesKey, int]:
    """Return series and slice index of one of `slice_codes`."""
    code, index = divmod(code, 1_000_000)
    code, series = divmod(code, 100)
    patient, study = divmod(code, 100)
    return SeriesKey(patient, study, series), index


@dataclass(frozen=True, eq=False)
class SliceIndex:
    """Every slice of a release.

    Attributes:
        containers: archives and folders.
        slices: `SLICE_DTYPE`, sorted by patient, study, series and slice index, each slice once.
        rejects: archives and members that can't be used.
        found_count: slices found, rejected ones included; folders and `._*` files are not slices.
        remote: the usable archives that lie on servers and in buckets, by position in `containers`.
        unread: those of them whose directory can't be read before they are staged.
    """

    containers: tuple[Container, ...]
    slices: np.ndarray
    rejects: tuple[Reject, ...]
    found_count: int
    remote: Mapping[int, RemoteArchive] = field(default_factory=dict)
    unread: tuple[RemoteArchive, ...] = ()

    def series_id(self, row: np.void) -> str:
        """Return the series of a row of `slices`, as `PPPPPP_SS_RR`."""
        return str(SeriesKey(int(row["patient"]), int(row["study"]), int(row["series"])))


@dataclass(frozen=True, eq=False)
class ContainerListing:
    """Contents of one archive or folder: usable slices, rejects, and the number of slices in all."""

    container: Container
    slices: np.ndarray
    rejects: Sequence[Reject]
    found_count: int


def unexpected_name(container: str, name: str, allowed: str) -> Reject:
    """Return the reject for a member or file whose name is not a slice's."""
    shown = ascii(name)[1:-1][:200]
    message = f"unexpected name; allowed: {allowed}"
    return Reject(Kind.SLICE, Reason.MEMBER_NAME_UNEXPECTED, f"{container}: {shown}", message)


def too_large(where: str, series: str, index: int, size: int) -> Reject:
    """Return the reject for a slice that declares more than `MAX_SLICE_BYTES`."""
    message = f"declares {size:,} bytes; allowed: at most {MAX_SLICE_BYTES:,}"
    return Reject(Kind.SLICE, Reason.SLICE_TOO_LARGE, where, message, series, index)


def combine(listings: Sequence[ContainerListing], where: str, *, has_more: bool = False) -> SliceIndex:
    """Join the listings; a slice that is in several containers is used once.

    Args:
        where: the config's key, for the error.
        has_more: there are archives whose directory is not read yet.

    Raises:
        SourceError: there is no slice in any of them.
    """
    containers = tuple(listing.container for listing in listings)
    slices = np.concatenate([listing.slices for listing in listings])
    rejects = [reject for listing in listings for reject in listing.rejects]
    order = np.lexsort([slices[name] for name in ("container", "index", "series", "study", "patient")])
    slices, repeated = _without_repeats(slices[order], containers)
    if not len(slices) and not has_more:
        found = "; ".join(f"{r.found_in}: {r.message}" for r in rejects[:5]) or "nothing"
        raise SourceError(
            "the release holds no slice",
            where=where,
            value=[c.path for c in containers][:5],
            allowed="members Images_png/PPPPPP_SS_RR/NNN.png",
            remedy=f"found instead: {found}",
        )
    return SliceIndex(
        containers, slices, (*rejects, *repeated), sum(listing.found_count for listing in listings)
    )


def _without_repeats(slices: np.ndarray, containers: Sequence[Container]) -> tuple[np.ndarray, list[Reject]]:
    """Keep the first of equal copies of a slice; reject all copies that differ, as any may be wrong."""
    names = ["patient", "study", "series", "index"]
    same = np.ones(max(len(slices) - 1, 0), dtype=bool)
    for name in names:
        same &= slices[name][1:] == slices[name][:-1]
    if not same.any():
        return slices, []
    keep = np.ones(len(slices), dtype=bool)
    rejects = []
    starts = np.flatnonzero(same & ~np.concatenate([[False], same[:-1]]))
    for start in starts.tolist():
        stop = start + 1
        while stop < len(slices) and same[stop - 1]:
            stop += 1
        copies = slices[start:stop]
        agree = bool(
            (copies["crc32"] == copies["crc32"][0]).all() and (copies["bytes"] == copies["bytes"][0]).all()
        )
        key = SeriesKey(*(int(copies[0][name]) for name in names[:3]))
        named = [
            f"{containers[c['container']].name} crc32 {c['crc32']:08x} {c['bytes']} bytes"
            for c in copies[: COPIES_NAMED + 1]
        ]
        others = first_of(named, COPIES_NAMED)
        index = int(copies[0]["index"])
        for position in range(start + agree, stop):
            keep[position] = False
            row = slices[position]
            rejects.append(
                Reject(
                    Kind.SLICE,
                    Reason.SLICE_DUPLICATE if agree else Reason.SLICE_CONFLICT,
                    f"{containers[row['container']].name}: {slice_name(key, index)}",
                    f"{len(copies)} copies ({others}); "
                    + ("equal, the first is used" if agree else "they differ, none is used"),
                    str(key),
                    index,
                )
            )
    return slices[keep], rejects
