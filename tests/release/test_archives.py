from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from etl.core.errors import SourceError
from etl.core.rejects import Reason
from etl.release.archives import index_archives
from etl.release.slices import read_slices
from etl.release.sources import ArchiveEntry
from tests.support.logged import logged_here
from tests.support.zips import SLICES, assert_whole, content, contents, read, zipped


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_plain_archive(tmp_path: Path, method: int) -> None:
    index = read(tmp_path, zipped(method=method))
    assert_whole(index)
    (container,) = index.containers
    assert (container.name, container.is_zip, container.slice_count) == ("0.zip", True, 4)
    assert container.bytes == (tmp_path / "0.zip").stat().st_size
    assert index.slices["deflated"].tolist() == [method == zipfile.ZIP_DEFLATED] * 4
    assert index.slices["bytes"].tolist() == [52] * 4
    assert index.slices["crc32"].tolist() == [zlib.crc32(content(i)) for i in (7, 8, 9, 1141)]


def test_slices_are_sorted_whatever_the_archive_s_order(tmp_path: Path) -> None:
    names = ["000002_01_01/001", "000001_02_01/001", "000001_01_02/001", "000001_01_01/1000"]
    names += ["000001_01_01/999", "000001_01_01/010"]
    index = read(tmp_path, zipped({f"Images_png/{name}.png": name.encode() for name in names}))
    order = [f"{index.series_id(row)}/{row['index']:03d}" for row in index.slices]
    assert order == names[::-1]
    assert list(read_slices(index.containers, index.slices)) == [name.encode() for name in order]


def test_the_directory_s_checksum_is_that_of_its_members(tmp_path: Path) -> None:
    one = read(tmp_path, zipped()).containers[0].sha256
    other = read(tmp_path, zipped({**SLICES, "Images_png/000001_01_01/009.png": b"x"})).containers[0].sha256
    assert len(one) == len(other) == 64
    assert one != other
    assert read(tmp_path, zipped()).containers[0].sha256 == one


def test_folders_and_files_of_operating_systems_are_not_slices(tmp_path: Path) -> None:
    extra = {
        "Images_png/": b"",
        "Images_png/000001_01_01/": b"",
        "Images_png/000001_01_01/._007.png": b"x",
        "__MACOSX/Images_png/000001_01_01/007.png": b"x",
        "Images_png/.DS_Store": b"x",
    }
    assert_whole(read(tmp_path, zipped({**extra, **SLICES})))


class _Unseekable(io.RawIOBase):
    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_that_follow_the_data(tmp_path: Path, method: int) -> None:
    stream = _Unseekable()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, body in SLICES.items():
            archive.writestr(name, body)
    assert stream.data[6] & 8
    assert_whole(read(tmp_path, bytes(stream.data)))


def test_zip64_members(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in SLICES.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(body)
    assert_whole(read(tmp_path, data.getvalue()))


def test_members_beyond_4_gib(tmp_path: Path) -> None:
    hole = 5 * 2**30
    with open(tmp_path / "large.zip", "w+b") as file:
        file.truncate(hole)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, body in SLICES.items():
                archive.writestr(name, body)
    index = index_archives([ArchiveEntry(str(tmp_path / "large.zip"))])
    assert index.slices["offset"].min() >= hole
    assert_whole(index)


def test_bytes_before_the_archive_and_a_comment_behind(tmp_path: Path) -> None:
    assert_whole(read(tmp_path, b"#!/bin/sh\nexit\n" * 50 + zipped(comment=b"DeepLesion part 1")))


def test_archives_of_one_name_are_named_with_the_folder_before(tmp_path: Path) -> None:
    paths = [tmp_path / part / "slices.zip" for part in ("01", "02")]
    for path, index in zip(paths, (7, 8), strict=True):
        path.parent.mkdir()
        path.write_bytes(zipped({f"Images_png/000001_01_01/{index:03d}.png": content(index), "x.txt": b"x"}))
    index = index_archives([ArchiveEntry(str(path)) for path in paths])
    assert [container.name for container in index.containers] == ["01/slices.zip", "02/slices.zip"]
    assert [reject.found_in for reject in index.rejects] == ["01/slices.zip: x.txt", "02/slices.zip: x.txt"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", [content(8), b"another"], ids=["equal", "different"])
def test_one_name_twice_in_one_archive(tmp_path: Path, second: bytes) -> None:
    data = io.BytesIO(zipped())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("Images_png/000001_01_01/008.png", second)
    index = read(tmp_path, data.getvalue())
    if second == content(8):
        assert [r.reason for r in index.rejects] == [Reason.SLICE_DUPLICATE]
        assert contents(index)[8] == content(8)
    else:
        assert [r.reason for r in index.rejects] == [Reason.SLICE_CONFLICT] * 2
        assert contents(index).keys() == {7, 9, 1141}
    assert len(index.slices) + len(index.rejects) == index.found_count == 5


@pytest.mark.parametrize("second", [content(8), b"another"], ids=["equal", "different"])
def test_one_slice_in_two_archives(tmp_path: Path, second: bytes) -> None:
    other = {
        "Images_png/000001_01_01/008.png": second,
        "Images_png/000001_01_01/010.png": content(10),
    }
    index = read(tmp_path, zipped(), zipped(other, zipfile.ZIP_STORED))
    if second == content(8):
        (reject,) = index.rejects
        assert (reject.reason, reject.found_in) == (Reason.SLICE_DUPLICATE, "1.zip: 000001_01_01/008.png")
        assert contents(index).keys() == {7, 8, 9, 10, 1141}
    else:
        assert [(r.reason, r.found_in) for r in index.rejects] == [
            (Reason.SLICE_CONFLICT, "0.zip: 000001_01_01/008.png"),
            (Reason.SLICE_CONFLICT, "1.zip: 000001_01_01/008.png"),
        ]
        assert f"1.zip crc32 {zlib.crc32(second):08x} 7 bytes" in index.rejects[0].message
        assert contents(index).keys() == {7, 9, 10, 1141}
    assert len(index.slices) + len(index.rejects) == index.found_count == 6


@pytest.mark.parametrize("copies", [2, 3])
def test_an_equal_copy_of_an_archive_is_noted_and_counts_as_nothing(
    tmp_path: Path, copies: int, caplog: pytest.LogCaptureFixture
) -> None:
    other = zipped({"Images_png/000002_01_01/001.png": content(1)})
    with caplog.at_level("INFO"):
        index = read(tmp_path, *[zipped()] * copies, other)
    assert (len(index.slices), index.rejects, index.found_count) == (5, (), 5)
    assert [container.slice_count for container in index.containers] == [4, *[0] * (copies - 1), 1]
    assert logged_here(caplog) == [
        f"{n}.zip is an equal copy of 0.zip and is not used" for n in range(1, copies)
    ]


def test_other_compression_is_another_archive(tmp_path: Path) -> None:
    index = read(tmp_path, zipped(), zipped(method=zipfile.ZIP_STORED))
    assert [r.reason for r in index.rejects] == [Reason.SLICE_DUPLICATE] * 4
    assert index.found_count == 8


@pytest.mark.parametrize(
    "spelt",
    ["DeepLesion/Images_png/{}", "minideeplesion/{}", "./{}", "Images_png/Images_png/{}", "{}"],
)
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_archives_that_were_packed_again(tmp_path: Path, spelt: str, windows: bool, suffix: str) -> None:
    members = {}
    for name, body in SLICES.items():
        again = spelt.format(name.removeprefix("Images_png/")).replace(".png", suffix)
        members[again.replace("/", "\\") if windows else again] = body
    assert_whole(read(tmp_path, zipped(members)))


def without_zip64(path: Path, members: Sequence[tuple[str, int, bytes]], order: Sequence[int] = ()) -> None:
    """Write an archive as macOS does: members (name, offset, content), offsets of the directory wrapped."""
    directory = []
    with open(path, "wb") as file:
        for name, offset, body in members:
            sizes = zlib.crc32(body), len(body), len(body), len(name), 0
            shared = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, *sizes)
            file.seek(offset)
            file.write(b"PK\x03\x04" + shared + name.encode() + body)
            wrapped = struct.pack("<HHHII", 0, 0, 0, 0, offset % 2**32)
            directory.append(b"PK\x01\x02" + struct.pack("<H", 20) + shared + wrapped + name.encode())
        start = file.tell()
        data = b"".join(directory[at] for at in order or range(len(directory)))
        counts = len(directory), len(directory), len(data), start % 2**32, 0
        file.write(data + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, *counts))


GIB = 2**30


@pytest.mark.parametrize(
    "offsets",
    [
        (0, 150, 4 * GIB - 60, 4 * GIB + 90),
        (0, 4 * GIB - 1, 5 * GIB, 5 * GIB + 150),
        (50, 3 * GIB, 4 * GIB + 10, 5 * GIB),
        (0, 3 * GIB, 6 * GIB, 9 * GIB),
        (0, 150, 300, 450),
    ],
)
def test_offsets_that_wrapped_at_4_gib_are_restored(tmp_path: Path, offsets: Sequence[int]) -> None:
    without_zip64(
        tmp_path / "mac.zip", [(n, at, b) for (n, b), at in zip(SLICES.items(), offsets, strict=True)]
    )
    index = index_archives([ArchiveEntry(str(tmp_path / "mac.zip"))])
    assert sorted(index.slices["offset"].tolist()) == list(offsets)
    assert_whole(index)


@pytest.mark.parametrize("fault", ["order", "headers"])
def test_an_archive_whose_wrapped_offsets_are_ambiguous_is_refused_by_name(
    tmp_path: Path, fault: str
) -> None:
    path, offsets = tmp_path / "mac.zip", (0, 150, 4 * GIB + 300, 4 * GIB + 450)
    members = [(n, at, b) for (n, b), at in zip(SLICES.items(), offsets, strict=True)]
    without_zip64(path, members, (3, 0, 2, 1) if fault == "order" else ())
    if fault == "headers":
        with open(path, "r+b") as file:
            file.seek(4 * GIB + 300)
            file.write(b"damaged")
    with pytest.raises(SourceError, match=r"mac\.zip: .*larger than 4 GiB and was written without zip64"):
        index_archives([ArchiveEntry(str(path))])


def test_one_archive_named_in_many_ways_is_read_once(tmp_path: Path) -> None:
    read(tmp_path, zipped())
    (tmp_path / "link.zip").symlink_to("0.zip")
    folder = str(tmp_path)
    patterns = [
        f"{folder}/0.zip",
        f"{folder}/*.zip",
        f"{folder}/./0.zip",
        f"{folder}/../{tmp_path.name}/0.zip",
    ]
    index = index_archives([ArchiveEntry(pattern) for pattern in patterns])
    assert [container.path for container in index.containers] == [f"{folder}/0.zip"]
    assert_whole(index)


@pytest.mark.parametrize("pattern", ["absent.zip", "*.tar", "."])
def test_a_pattern_that_matches_no_file(tmp_path: Path, pattern: str) -> None:
    read(tmp_path, zipped())
    with pytest.raises(SourceError, match="no such archive"):
        index_archives([ArchiveEntry(str(tmp_path / name)) for name in ("0.zip", pattern)])
