"""Folders, tars and zips give the same masks; no name in one reaches the disk."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from etl.annotations.containers import MOST_MEMBER_BYTES, read_place, unpack
from etl.annotations.entries import FaultyEntry, MaskEntry
from etl.annotations.mask_files import MaskFile, list_files, read_files, readable_files
from etl.annotations.uls23_masks import parse_mask_name, read_uls23_mask
from etl.core.errors import SourceError
from tests.annotations.documents import mask, nifti, tarred
from tests.support.http_faults import busy
from tests.support.servers import HttpServer
from tests.support.zips import zipped

NAME = "000001_01_01_109_lesion_01.nii.gz"


def places(folder: Path) -> list[Path]:
    plain = folder / "plain" / "DeepLesion3D" / "deep"
    plain.mkdir(parents=True)
    (plain / NAME).write_bytes(mask())
    (folder / "each").mkdir()
    (folder / "each" / f"{NAME}.zip").write_bytes(zipped({NAME: mask()}))
    (folder / "each" / "._junk.nii.gz").write_bytes(b"junk")
    whole = [folder / "a.zip", folder / "b.tar", folder / "c.tar"]
    whole[0].write_bytes(zipped({f"labels/{NAME}": mask(), "labels/": b""}))
    whole[1].write_bytes(tarred({f"./labels/{NAME}.zip": zipped({NAME: mask()})}))
    whole[2].write_bytes(tarred({f"labels/{NAME}": mask()}))
    return [folder / "plain", folder / "each", *whole]


def test_every_packing_gives_the_same_mask(tmp_path: Path) -> None:
    for place in places(tmp_path):
        members = [member for member in read_place(str(place)) if member.data]
        assert [Path(member.name).name for member in members] == [NAME], place
        assert members[0].data == mask()


def test_names_that_climb_are_only_names(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    climbing = {f"../../{NAME}": mask(), f"/absolute/{NAME}": mask()}
    for name, data in (("m.tar", tarred(climbing)), ("m.zip", zipped(climbing))):
        (inside / name).write_bytes(data)
        assert {Path(member.name).name for member in read_place(str(inside / name))} == {NAME}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["m.tar", "m.zip"]


def test_archives_in_archives_end(tmp_path: Path) -> None:
    data = mask()
    for depth in range(4):
        data = zipped({f"{depth}.zip": data})
    with pytest.raises(SourceError, match="too deep"):
        list(unpack("m.zip", io.BytesIO(data), len(data)))


def test_a_member_s_size_is_checked_before_it_is_read() -> None:
    """The members have only the announced size, not the bytes."""
    info = tarfile.TarInfo(NAME)
    info.size = MOST_MEMBER_BYTES + 1
    packed = zipped({NAME: bytes(5000)})
    announced = packed.replace(struct.pack("<L", 5000), struct.pack("<L", info.size))
    assert announced != packed
    for name, data in (("m.tar", info.tobuf()), ("m.zip", announced)):
        with pytest.raises(SourceError, match="too large"):
            list(unpack(name, io.BytesIO(data), len(data)))


def test_one_damaged_zip_costs_one_entry() -> None:
    packed = tarred({f"{NAME}.zip": b"no zip", "000001_01_01_110_lesion_01.nii.gz": mask()})
    members = unpack("m.tar", io.BytesIO(packed), len(packed))
    found = [read_uls23_mask(member.data, Path(member.name).name) for member in members]
    assert [type(item) for item in found] == [FaultyEntry, MaskEntry]


@pytest.mark.parametrize(
    ("ending", "fault"),
    [("tar", "cut"), ("tar", "flipped"), ("tar.gz", "cut"), ("tar.gz", "flipped"), ("zip", "cut")],
)
def test_an_archive_that_is_not_whole_gives_no_part_of_it(tmp_path: Path, ending: str, fault: str) -> None:
    """Tarfile ends at a header that is damaged, and zipfile opens the last zip inside of one that is cut."""
    each = {f"labels/{at}_{NAME}.zip": zipped({NAME: mask()}) for at in range(4)}
    whole = zipped(each, zipfile.ZIP_STORED) if ending == "zip" else tarred(each)
    # A tar ends in two blocks of zeros, and zeros fill its last 10,240 bytes.
    last = len(whole) if ending == "zip" else len(whole.rstrip(b"\0")) // 512 * 512 + 512
    place = tmp_path / f"masks.{ending}"
    for at in range(1, last, 101 if fault == "cut" else 256):
        changed = whole[:at]
        if fault == "flipped":
            changed += bytes([whole[at] ^ 1]) + whole[at + 1 :]
        place.write_bytes(gzip.compress(changed, 1) if ending == "tar.gz" else changed)
        for listed in (read_place, list_files):
            try:
                names = [member.name for member in listed(str(place))]
            except SourceError:
                continue
            assert len(names) == len(each), (listed, at)


def test_a_place_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.tar"):
        list(list_files(str(tmp_path / "nothing.tar")))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["masks.zip", "masks.tar", "masks.tar.gz"])
def test_a_server_that_fails_is_no_damage(name: str, http_server: HttpServer) -> None:
    packed = tarred({NAME: mask()}) if "tar" in name else zipped({NAME: mask()})
    http_server.put(f"/{name}", gzip.compress(packed) if name.endswith("gz") else packed)
    url = f"{http_server.url}/{name}"
    listed = list(list_files(url))
    answers = iter([None])
    http_server.chance = lambda request: next(answers, busy(500))
    with pytest.raises(SourceError, match=r"annotations can't be read(.|\n)*500"):
        list(list_files(url))
    # In a task another try may help.
    with pytest.raises(ConnectionError, match="500"), readable_files(listed) as files:
        read_files(files)


@pytest.mark.parametrize("code", [2, 4, 16])
@pytest.mark.parametrize("axes", [3, 4])
def test_voxels_are_cropped_and_placed(code: int, axes: int) -> None:
    voxels = np.zeros((12, 10, 4))
    voxels[3:6, 4:8, 1:3] = 1
    voxels[3, 4, 1] = 0
    data = nifti(voxels.reshape((12, 10, 4, 1)[:axes]), (0.5, 0.75, 2.0), (100, 200, 3), code=code)
    found = read_uls23_mask(data, NAME)
    assert isinstance(found, MaskEntry)
    assert np.array_equal(found.voxels, voxels[3:6, 4:8, 1:3] != 0)
    assert found.start == (103, 204, 4)
    assert found.spacing_mm == (0.5, 0.75, 2.0)
    assert found.is_3d


@pytest.mark.parametrize(
    ("stem", "parsed"),
    [
        ("000001_01_01_109_lesion_01", ((1, 1, 1), 109, True, 1)),
        ("000001_01_01_1091_sample_0", ((1, 1, 1), 1091, False, 0)),
        ("lidcidri_443_lesion_07", None),
        ("000001_01_01_lesion_01", None),
        ("000001_01_01_109_lesion_01\n", None),
    ],
)
def test_names_tell_3d_from_grabcut(stem: str, parsed: object) -> None:
    assert parse_mask_name(stem) == parsed


def test_files_know_their_last_name() -> None:
    assert MaskFile("a.tar/b\\c.nii", "a.tar").stem == "c.nii"
