from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import pytest

from etl.core.errors import SourceError
from etl.core.rejects import Reason
from etl.release.archives import index_archives
from etl.release.slices import read_slices
from etl.release.sources import ArchiveEntry
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


def test_three_copies_give_two_rejects(tmp_path: Path) -> None:
    index = read(tmp_path, zipped(), zipped(), zipped())
    assert len(index.slices) == 4
    assert [r.reason for r in index.rejects] == [Reason.SLICE_DUPLICATE] * 8
    assert index.found_count == 12


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
