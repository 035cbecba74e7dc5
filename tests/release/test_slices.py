from __future__ import annotations

import io
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.core.errors import SliceError, SourceError
from etl.core.rejects import Kind, Reason
from etl.io import local as blobs_module
from etl.release.archives import index_archives
from etl.release.index import SliceIndex
from etl.release.slices import ArchiveLostError, read_slices
from etl.release.sources import ArchiveEntry
from tests.support.http_faults import busy
from tests.support.servers import HttpServer

SERIES = "000001_01_01"
Reads = list[tuple[str, int]]


def content(index: int) -> bytes:
    """Different sizes, so that no slice could pass for another."""
    return np.random.default_rng(index).bytes(200 + index)


def write_zip(path: Path, order: Sequence[int], method: int = zipfile.ZIP_DEFLATED, gap: int = 0) -> None:
    """Slices in an order, each followed by a stranger of `gap` bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for index in order:
            archive.writestr(f"Images_png/{SERIES}/{index:03d}.png", content(index))
            if gap:
                archive.writestr(f"Images_png/000099_01_01/{index:03d}.png", bytes(gap), zipfile.ZIP_STORED)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The (archive, bytes) of each read of an archive's members."""
    made: Reads = []

    class Counted(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            made.append((Path(str(self.name)).name, len(data)))
            return data

    monkeypatch.setattr(blobs_module, "open_regular", Counted)
    return made


def run_of(index: SliceIndex) -> np.ndarray:
    return index.slices[index.slices["patient"] == 1]


@pytest.mark.parametrize(
    "order",
    [range(5, 25), range(24, 4, -1), [10, 5, 24, *range(11, 24), *range(6, 10)]],
    ids=["ascending", "descending", "shuffled"],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_run_is_one_read(tmp_path: Path, reads: Reads, order: Sequence[int], method: int) -> None:
    write_zip(tmp_path / "a.zip", order, method)
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    assert list(read_slices(index.containers, run_of(index))) == [content(i) for i in range(5, 25)]
    assert [name for name, _ in reads] == ["a.zip"]


def test_a_long_run_is_read_in_pieces(tmp_path: Path, reads: Reads) -> None:
    write_zip(tmp_path / "a.zip", [10, 5, 24, *range(11, 24), *range(6, 10)], zipfile.ZIP_STORED)
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    found = read_slices(index.containers, run_of(index), 1000)
    assert list(found) == [content(i) for i in range(5, 25)]
    members = (run_of(index)["end"] - run_of(index)["offset"]).tolist()
    sizes = [size for _, size in reads]
    assert sum(sizes) == sum(members)
    assert len(sizes) == -(-sum(members) // 1000)
    assert max(sizes) < 1000 + max(members)


def test_a_part_of_a_run_reads_that_part(tmp_path: Path, reads: Reads) -> None:
    write_zip(tmp_path / "a.zip", range(5, 25), zipfile.ZIP_STORED)
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    part = run_of(index)[3:5]
    assert list(read_slices(index.containers, part)) == [content(8), content(9)]
    header = 30 + len(f"Images_png/{SERIES}/008.png")
    assert reads == [("a.zip", 2 * header + len(content(8)) + len(content(9)))]


def test_strangers_between_are_read_over_or_skipped(tmp_path: Path, reads: Reads) -> None:
    write_zip(tmp_path / "near.zip", range(5, 9), gap=1000)
    index = index_archives([ArchiveEntry(str(tmp_path / "near.zip"))])
    assert list(read_slices(index.containers, run_of(index))) == [content(i) for i in range(5, 9)]
    assert len(reads) == 1
    reads.clear()
    write_zip(tmp_path / "far.zip", range(5, 9), gap=2 << 20)
    index = index_archives([ArchiveEntry(str(tmp_path / "far.zip"))])
    assert list(read_slices(index.containers, run_of(index))) == [content(i) for i in range(5, 9)]
    assert len(reads) == 4
    assert sum(size for _, size in reads) < 1 << 20


def test_a_hole_behind_a_member_is_not_read(tmp_path: Path, reads: Reads) -> None:
    with open(tmp_path / "a.zip", "w+b") as file:
        for number in (5, 6):
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(f"Images_png/{SERIES}/{number:03d}.png", content(number))
                archive.start_dir += 1 << 30
                file.truncate(archive.start_dir)
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    assert list(read_slices(index.containers, run_of(index))) == [content(5), content(6)]
    assert sum(size for _, size in reads) < 1 << 20


@pytest.mark.parametrize(
    ("first", "second"),
    [(range(5, 15), range(15, 25)), (range(5, 25, 2), range(6, 25, 2))],
    ids=["one after the other", "in turn"],
)
def test_a_run_over_two_archives_is_two_reads(
    tmp_path: Path, reads: Reads, first: range, second: range
) -> None:
    write_zip(tmp_path / "a.zip", first)
    write_zip(tmp_path / "b.zip", second, zipfile.ZIP_STORED)
    index = index_archives([ArchiveEntry(str(tmp_path / "?.zip"))])
    assert list(read_slices(index.containers, run_of(index))) == [content(i) for i in range(5, 25)]
    assert [name for name, _ in reads] == ["a.zip", "b.zip"]


def test_an_archive_that_is_gone(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [5])
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    (tmp_path / "a.zip").unlink()
    with pytest.raises(ArchiveLostError) as lost:
        list(read_slices(index.containers, index.slices))
    assert (lost.value.container, lost.value.reason) == (0, Reason.ARCHIVE_UNAVAILABLE)
    assert lost.value.message == f"{tmp_path / 'a.zip'}: No such file or directory"


def test_a_disk_that_fails_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [5])
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip").symlink_to("a.zip")  # too many levels of symbolic links: an error of the system
    with pytest.raises(OSError, match=r"a\.zip"):
        list(read_slices(index.containers, index.slices))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_staged", [False, True])
def test_a_server_that_stays_silent(is_staged: bool, http_server: HttpServer, tmp_path: Path) -> None:
    """The release's own costs the archive; of the staging area's the run must know."""
    write_zip(tmp_path / "a.zip", [5])
    http_server.put("/a.zip", (tmp_path / "a.zip").read_bytes())
    index = index_archives([ArchiveEntry(f"{http_server.url}/a.zip")])
    http_server.chance = lambda request: busy(500)
    containers = [replace(index.containers[0], is_staged=is_staged)]
    with pytest.raises(ConnectionError if is_staged else ArchiveLostError, match="500"):
        list(read_slices(containers, index.slices))


@pytest.fixture
def three(tmp_path: Path) -> SliceIndex:
    write_zip(tmp_path / "a.zip", [5, 6, 7], zipfile.ZIP_STORED)
    return index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])


def spoil(index: SliceIndex, at: int, data: bytes) -> list[bytes | SliceError]:
    """Overwrite the second member at its byte `at`, counted from its local header."""
    with open(index.containers[0].path, "r+b") as file:
        file.seek(int(index.slices["offset"][1]) + at)
        file.write(data)
    return list(read_slices(index.containers, index.slices))


@pytest.mark.parametrize(
    ("at", "data", "reason", "message"),
    [
        (0, b"XXXX", Reason.SLICE_TRUNCATED, "no member header at byte"),
        (30 + 24, b"9", Reason.MEMBER_NAME_UNEXPECTED, "names 'Images_png/000001_01_01/906.png'"),
        (28, b"\xff\xff", Reason.SLICE_TRUNCATED, "of 206 bytes"),
        (
            30 + 31 + 100,
            b"\0\1\2\3",
            Reason.SLICE_CRC_MISMATCH,
            f"announced was {zlib.crc32(content(6)):08x}",
        ),
    ],
    ids=["signature", "name", "lengths", "pixels"],
)
def test_a_damaged_member_costs_itself_only(
    three: SliceIndex, at: int, data: bytes, reason: Reason, message: str
) -> None:
    first, second, third = spoil(three, at, data)
    assert (first, third) == (content(5), content(7))
    assert isinstance(second, SliceError)
    assert second.reason is reason
    assert message in second.message


def test_an_archive_that_shrank(three: SliceIndex) -> None:
    with open(three.containers[0].path, "r+b") as file:
        file.truncate(int(three.slices["offset"][1]) + 100)
    with pytest.raises(ArchiveLostError, match=r"a\.zip ends at byte") as lost:
        list(read_slices(three.containers, three.slices))
    assert lost.value.reason is Reason.ARCHIVE_CHANGED


def test_data_that_inflates_to_more_than_announced(tmp_path: Path) -> None:
    plain = bytes(10_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"Images_png/{SERIES}/005.png", plain)
    index = index_archives([ArchiveEntry(str(tmp_path / "a.zip"))])
    announced = index.slices.copy()
    announced["bytes"] = 1000
    (error,) = read_slices(index.containers, announced)
    assert isinstance(error, SliceError)
    assert error.reason is Reason.SLICE_CRC_MISMATCH


def small_archive(method: int, *, zip64: bool) -> bytes:
    data = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch, zipfile.ZipFile(data, "w", method) as archive:
        if zip64:
            patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
        for index in (5, 6, 7):
            name = zipfile.ZipInfo(f"Images_png/{SERIES}/{index:03d}.png")
            name.compress_type = method
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content(index))
        archive.comment = b"comment"
        archive.close()
    assert (b"PK\x06\x06" in data.getvalue()) == zip64
    return data.getvalue()


ARCHIVES = [
    small_archive(method, zip64=zip64)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    for zip64 in (False, True)
]


def nothing_wrong_comes_out(data: bytes) -> None:
    """Each slice that comes out is the original; everything else is a reject or one of our errors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(data)
        try:
            index = index_archives([ArchiveEntry(str(path))])
        except SourceError:
            return
        members = [reject for reject in index.rejects if reject.kind is Kind.SLICE]
        assert len(index.slices) + len(members) == index.found_count
        for row, found in zip(index.slices, read_slices(index.containers, index.slices), strict=True):
            if isinstance(found, bytes):
                assert (index.series_id(row), found) == (SERIES, content(int(row["index"])))
            else:
                assert isinstance(found, SliceError)
                assert found.message.isprintable()


@given(st.sampled_from(ARCHIVES), st.data())
def test_any_byte_changed(archive: bytes, data: st.DataObject) -> None:
    damaged = bytearray(archive)
    # Half of the changes go into the directory, which most of the code is about.
    lowest = data.draw(st.sampled_from([0, archive.index(b"PK\x01\x02")]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(lowest, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    nothing_wrong_comes_out(bytes(damaged))


@given(st.sampled_from(ARCHIVES), st.data())
def test_any_part_cut_or_put_in(archive: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(archive)))
    stop = data.draw(st.integers(start, len(archive)))
    inserted = data.draw(st.binary(max_size=40))
    nothing_wrong_comes_out(archive[:start] + inserted + archive[stop:])


@given(st.sampled_from(ARCHIVES), st.integers(0, 2000))
def test_any_cut(archive: bytes, size: int) -> None:
    nothing_wrong_comes_out(archive[:size])


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    nothing_wrong_comes_out(data)
    nothing_wrong_comes_out(b"PK\x03\x04" + data + b"PK\x05\x06" + bytes(18))
