from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from etl.core.errors import SliceError, SourceError
from etl.core.rejects import Kind, Reason
from etl.release.archives import index_archives
from etl.release.sources import ArchiveEntry
from tests.support.zips import SLICES, content, contents, read, zipped

DIRECTORY_ENTRY = b"PK\x01\x02"
END = b"PK\x05\x06"


def patched(data: bytes, entry: int, at: int, field: str, value: int) -> bytes:
    """Overwrite one field of the directory's entry number `entry` at its byte `at`."""
    position = -1
    for _ in range(entry + 1):
        position = data.index(DIRECTORY_ENTRY, position + 1)
    changed = bytearray(data)
    struct.pack_into(field, changed, position + at, value)
    return bytes(changed)


EXTRACT_VERSION, FLAGS, METHOD, CRC, STORED_BYTES, BYTES = 6, 8, 10, 16, 20, 24
OFFSET, NAME = 42, 46


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(method=zipfile.ZIP_BZIP2), "compression method 12"),
        (zipped(method=zipfile.ZIP_LZMA), "compression method 14"),
        (patched(zipped(), 0, FLAGS, "<H", 1), "encrypted"),
    ],
    ids=["bzip2", "lzma", "encrypted"],
)
def test_what_can_t_be_unpacked(tmp_path: Path, data: bytes, message: str) -> None:
    index = read(tmp_path, data, zipped({"Images_png/000009_01_01/001.png": b"x"}))
    assert message in index.rejects[0].message
    assert {(r.kind, r.reason) for r in index.rejects} == {(Kind.SLICE, Reason.MEMBER_UNSUPPORTED)}
    assert index.rejects[0].found_in == "0.zip: Images_png/000001_01_01/007.png"
    assert (index.rejects[0].series_id, index.rejects[0].slice_index) == ("000001_01_01", 7)
    assert index.found_count == len(index.rejects) + len(index.slices) == 5


@pytest.mark.parametrize("field", [BYTES, STORED_BYTES])
def test_a_declared_size_that_no_slice_has(tmp_path: Path, field: int) -> None:
    index = read(tmp_path, patched(zipped(), 1, field, "<L", 2**32 - 2))
    (reject,) = index.rejects
    assert (reject.reason, reject.slice_index) == (Reason.SLICE_TOO_LARGE, 8)
    assert "4,294,967,294 bytes" in reject.message
    assert "16,777,216" in reject.message
    assert contents(index).keys() == {7, 9, 1141}
    assert index.found_count == 4


UNEXPECTED = [
    "Images_png/../../etc/passwd",
    "/Images_png/000001_01_01/010.png",
    "Images_png\\..\\000001_01_01\\010.png",
    "Images_png/000001_01_01/\uff11\uff10\uff11.png",
    "Images_png/000001_01_01/10.png",
    "Images_png/000001_01_01/010.txt",
    "Images_png/000001_01_01/010.png\r\n\x1b[31mred",
    "DL_info.csv",
]


@pytest.mark.parametrize("name", UNEXPECTED)
def test_a_name_that_no_slice_has(tmp_path: Path, name: str) -> None:
    index = read(tmp_path, zipped({**SLICES, name: b"x"}))
    (reject,) = index.rejects
    assert (reject.kind, reject.reason) == (Kind.SLICE, Reason.MEMBER_NAME_UNEXPECTED)
    assert reject.found_in == f"0.zip: {ascii(name)[1:-1]}"
    assert reject.found_in.isprintable()
    assert reject.series_id == ""
    assert contents(index).keys() == {7, 8, 9, 1141}
    assert index.found_count == 5


def test_a_long_name_is_cut_in_the_message(tmp_path: Path) -> None:
    (reject,) = read(tmp_path, zipped({**SLICES, "x" * 5000: b""})).rejects
    assert len(reject.found_in) < 250


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that root can't read either")
def test_an_archive_that_can_t_be_read(tmp_path: Path) -> None:
    (tmp_path / "0.zip").symlink_to("/proc/self/mem")
    with pytest.raises(SourceError, match=r"can't be read(.|\n)*0\.zip(.|\n)*Invalid argument"):
        index_archives([ArchiveEntry(str(tmp_path / "0.zip"))])


@pytest.mark.parametrize(
    "data", [b"", b"<html>Not Found</html>" * 90, bytes(5000), b"\x1f\x8b\x08" + bytes(99)]
)
def test_what_is_not_a_zip_costs_itself_only(tmp_path: Path, data: bytes) -> None:
    index = read(tmp_path, zipped(), data)
    (reject,) = index.rejects
    assert (reject.kind, reject.reason) == (Kind.ARCHIVE, Reason.ARCHIVE_NOT_ZIP)
    assert reject.found_in == "1.zip"
    assert f"{len(data):,} bytes" in reject.message
    assert index.found_count == len(index.slices) == 4
    assert index.containers[1].slice_count == 0


@pytest.mark.parametrize(
    "data",
    [
        patched(zipped(), 1, EXTRACT_VERSION, "<H", 99),
        patched(patched(zipped(), 1, FLAGS, "<H", 0x800), 1, NAME, "<B", 0xFF),
        patched(zipped(), 1, 0, "<B", 0),
        zipped(comment=b"end")[: zipped(comment=b"end").index(END) + 3],
    ],
    ids=["version", "name", "signature", "cut short"],
)
def test_a_directory_that_can_t_be_parsed_or_is_cut_costs_its_archive_only(
    tmp_path: Path, data: bytes
) -> None:
    index = read(tmp_path, zipped({"Images_png/000009_01_01/001.png": b"x"}), data)
    (reject,) = index.rejects
    assert (reject.kind, reject.reason, reject.found_in) == (Kind.ARCHIVE, Reason.ARCHIVE_TRUNCATED, "1.zip")
    assert len(index.slices) == index.found_count == 1


@pytest.mark.parametrize("members", [{}, {"readme.txt": b"x"}, {"Images_png/": b""}])
def test_archives_without_a_slice(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(SourceError, match="holds no slice"):
        read(tmp_path, zipped(members))


LIES = [
    (OFFSET, "<L", 0xFFFFFFF0, Reason.SLICE_TRUNCATED),
    (OFFSET, "<L", 3, Reason.SLICE_TRUNCATED),
    (OFFSET, "<L", 0, Reason.MEMBER_NAME_UNEXPECTED),
    (CRC, "<L", 0xDEADBEEF, Reason.SLICE_CRC_MISMATCH),
    (BYTES, "<L", 51, Reason.SLICE_CRC_MISMATCH),
    (BYTES, "<L", 53, Reason.SLICE_TRUNCATED),
    (BYTES, "<L", 16 * 2**20, Reason.SLICE_TRUNCATED),
    (STORED_BYTES, "<L", 3, Reason.SLICE_TRUNCATED),
    (STORED_BYTES, "<L", 2**20, Reason.SLICE_TRUNCATED),
    (METHOD, "<H", zipfile.ZIP_STORED, Reason.SLICE_TRUNCATED),
]


@pytest.mark.parametrize(("at", "field", "value", "reason"), LIES)
def test_a_directory_that_lies_costs_one_slice(
    tmp_path: Path, at: int, field: str, value: int, reason: Reason
) -> None:
    index = read(tmp_path, patched(zipped(), 1, at, field, value))
    found = contents(index)
    refused = {r.slice_index: r.reason for r in index.rejects}
    refused |= {i: data.reason for i, data in found.items() if isinstance(data, SliceError)}
    assert refused == {8: reason}
    assert {i: data for i, data in found.items() if i != 8} == {i: content(i) for i in (7, 9, 1141)}
    assert index.found_count == 4


@pytest.mark.parametrize("offset", [2**40, 2**63 + 5, 2**64 - 1])
def test_a_zip64_directory_that_points_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        data = zipped()
    (whole,) = read(tmp_path, data).slices[1:2]
    sizes = [int(whole[name]) for name in ("bytes", "stored_bytes", "offset")]
    damaged = data.replace(struct.pack("<3Q", *sizes), struct.pack("<3Q", *sizes[:2], offset))
    assert damaged != data
    index = read(tmp_path, damaged)
    (reject,) = index.rejects
    assert (reject.reason, reject.slice_index) == (Reason.SLICE_TRUNCATED, 8)
    shown = f"byte {offset}" if offset < 2**62 else f"byte {2**62} or later"
    assert f"{shown} of" in reject.message
    assert contents(index) == {i: content(i) for i in (7, 9, 1141)}
