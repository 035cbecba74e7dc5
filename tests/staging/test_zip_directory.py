"""The directory in arrays is the one that the standard library reads, whatever is in it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.staging.zip_directory import ZipDirectory, read_directory
from tests.support.processes import ROOT
from tests.support.servers import HttpServer

ENTRY, END = b"PK\x01\x02", b"PK\x05\x06"
NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1, max_size=30)


def packed(names: list[str], comment: bytes = b"", before: bytes = b"", *, zip64: bool = False) -> bytes:
    data = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        if zip64:
            patch.setattr(zipfile, "ZIP64_LIMIT", 0)
            patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
        with zipfile.ZipFile(data, "w") as archive:
            for number, name in enumerate(names):
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
                info.comment, info.extra = comment[:number], struct.pack("<2H", 0x9999, 3) + b"abc"
                archive.writestr(info, bytes(number))
            archive.comment = comment
    return before + data.getvalue()


def rows(directory: ZipDirectory) -> list[tuple[object, ...]]:
    columns = (
        directory.flags,
        directory.methods,
        directory.crc32,
        directory.stored_bytes,
        directory.plain_bytes,
        directory.offsets,
    )
    return list(zip(directory.names(), *(column.tolist() for column in columns), strict=True))


def expected(data: bytes) -> tuple[int, list[tuple[object, ...]]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.start_dir, [
            (i.filename, i.flag_bits, i.compress_type, i.CRC, i.compress_size, i.file_size, i.header_offset)
            for i in archive.infolist()
        ]


def read(data: bytes) -> tuple[int, list[tuple[object, ...]]]:
    found = read_directory(io.BytesIO(data))
    return found.start, rows(found)


def test_two_members() -> None:
    data = packed(["a", "folder/ß"], before=b"#!/bin/sh\n")
    found = read_directory(io.BytesIO(data))
    assert (found.start, found.added, len(found)) == (data.index(ENTRY), 10, 2)
    assert found.raw == data[data.index(ENTRY) : data.index(END)]
    assert rows(found) == [("a", 0, 0, 0, 0, 0, 10), ("folder/ß", 0x800, 8, 0xD202EF8D, 3, 1, 48)]
    assert found.raw_name(1) == "folder/ß".encode()


# zipfile takes the last signature in a comment for the record itself.
NO_RECORD = st.binary(max_size=40).filter(lambda data: b"PK" not in data)


@given(st.lists(NAMES, unique=True, max_size=5), NO_RECORD, NO_RECORD, st.booleans())
@example([], b"", b"", False)
@example(["a"], b"PK", b"PK\x05\x06", True)
def test_it_is_the_one_of_zipfile(names: list[str], comment: bytes, before: bytes, zip64: bool) -> None:
    data = packed(names, comment, before, zip64=zip64)
    assert read(data) == expected(data)


WHOLE = [packed(["a", "ß", "c"], b"end", zip64=zip64) for zip64 in (False, True)]


@given(st.sampled_from(WHOLE), st.data())
def test_whatever_is_damaged_is_read_as_zipfile_does_or_refused(whole: bytes, data: st.DataObject) -> None:
    first = whole.index(ENTRY)
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(first, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(changed[: data.draw(st.sampled_from([len(changed), len(changed) - 1, first + 60]))])
    try:
        found = read(cut)
    except zipfile.BadZipFile:
        return
    try:
        assert found == expected(cut)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError):
        # zipfile also refuses an archive for extra fields that say nothing of where its members lie.
        assert all(isinstance(row[-1], int) for row in found[1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a zip"),
        (b"PK\x03\x04" + bytes(500), "not a zip"),
        (END + bytes(8) + struct.pack("<2L", 10**9, 0) + bytes(2), "Bad offset"),
        (
            WHOLE[1].replace(struct.pack("<L", 1) + b"PK\x05\x06", struct.pack("<L", 2) + END),
            "multiple disks",
        ),
    ],
    ids=["empty", "cut", "outside", "disks"],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(zipfile.BadZipFile, match=message):
        read_directory(io.BytesIO(data))


def test_a_directory_of_any_size_is_not_read_into_memory() -> None:
    with pytest.raises(zipfile.BadZipFile, match=r"takes 1\d\d bytes; allowed: 140"):
        read_directory(io.BytesIO(WHOLE[0]), 140)


MEASURE = """
import re, sys
from etl.io import opening
from etl.release.archives import index_archives
from etl.release.sources import ArchiveEntry
# ru_maxrss of a process begins with what its parent had.
peak_kib = lambda: int(re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1])
before = peak_kib()
found = index_archives([ArchiveEntry(sys.argv[1])])
print(len(found.slices), len(found.rejects), (peak_kib() - before) * 1024)
"""
MOST_BYTES = 150_000_000
MEMBERS = {
    "foreign": [f"other/folder/file_{n:06d}.dat" for n in range(100_000)],
    "long": [f"{'a folder with a long name/' * 9}file_{n:06d}.dat" for n in range(100_000)],
    "slices": [f"Images_png/{n // 100 + 2:06d}_01_01/{n % 100 + 1:03d}.png" for n in range(100_000)],
}


@pytest.mark.campaign
@pytest.mark.parametrize("where", ["disk", "server"])
@pytest.mark.parametrize("members", MEMBERS)
def test_100_000_members_take_at_most_150_mb(
    members: str, where: str, tmp_path: Path, http_server: HttpServer
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ["Images_png/000001_01_01/001.png", *MEMBERS[members]]:
            archive.writestr(zipfile.ZipInfo(name), b"")
    place = str(path) if where == "disk" else http_server.put("/a.zip", path.read_bytes())
    command = [sys.executable, "-c", MEASURE, place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    slices, rejects, grown = map(int, done.stdout.split())
    assert (slices, rejects) == ((100_001, 0) if members == "slices" else (1, 100_000))
    print(f"{members}, {where}: {grown / 1e6:.0f} MB")
    assert grown < MOST_BYTES
