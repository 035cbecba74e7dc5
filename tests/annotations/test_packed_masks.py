"""Masks in files and places of every packing: gzip of several members, tars with links, folders."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etl.annotations.entries import Fault, FaultyEntry, MaskEntry
from etl.annotations.mask_files import list_files, read_files, readable_files
from etl.annotations.uls23_masks import read_uls23_mask
from etl.core.errors import SourceError
from tests.annotations import documents


@pytest.mark.parametrize("cuts", [(1,), (352, 360), (3, 4, 5, 400)])
def test_gzip_of_several_members_is_one_file(cuts: tuple[int, ...]) -> None:
    plain = gzip.decompress(documents.mask())
    parts = [plain[a:b] for a, b in zip((0, *cuts), (*cuts, len(plain)), strict=True)]
    whole = read_uls23_mask(documents.mask(), "000001_01_01_109_lesion_01.nii.gz")
    found = read_uls23_mask(
        b"".join(gzip.compress(part) for part in parts) + bytes(16), "000001_01_01_109_lesion_01.nii.gz"
    )
    assert isinstance(whole, MaskEntry)
    assert isinstance(found, MaskEntry)
    assert np.array_equal(found.voxels, whole.voxels)
    assert found.start == whole.start


def tarred(tar_format: int, *, long: str = "") -> bytes:
    """A tar of a mask, a hard link and two symbolic links to it, and one link that leads nowhere."""
    out = io.BytesIO()
    data = documents.mask()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        folder = f"labels/{long}"
        link = tarfile.TarInfo(f"{folder}000001_01_01_104_lesion_01.nii.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "000001_01_01_103_lesion_01.nii.gz"
        archive.addfile(link)
        file = tarfile.TarInfo(f"{folder}000001_01_01_103_lesion_01.nii.gz")
        file.size, file.mtime = len(data), 1.5
        archive.addfile(file, io.BytesIO(data))
        for name, kind, target in (
            (f"{folder}000001_01_01_105_lesion_01.nii.gz", tarfile.LNKTYPE, file.name),
            ("000001_01_01_106_lesion_01.nii.gz", tarfile.SYMTYPE, f"./{file.name}"),
            ("000001_01_01_107_lesion_01.nii.gz", tarfile.SYMTYPE, "../elsewhere/a.nii.gz"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    return out.getvalue()


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("long", ["", "a_folder_of_a_long_name_" * 8 + "/"])
@pytest.mark.parametrize(
    ("ending", "compress"),
    [
        (".tar", bytes),
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".TAR.XZ", lzma.compress),
    ],
)
def test_every_tar_gives_its_files_and_what_its_links_lead_to(
    tmp_path: Path, tar_format: int, long: str, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    (tmp_path / f"a{ending}").write_bytes(compress(tarred(tar_format, long=long)))
    listed = list(list_files(str(tmp_path / f"a{ending}")))
    with readable_files(listed) as files:
        data = {file.stem[13:16]: found for file, found in zip(files, read_files(files), strict=True)}
    assert sorted(data) == ["103", "104", "105", "106", "107"]
    assert {number: found == documents.mask() for number, found in data.items()} == {
        "103": True,
        "104": True,
        "105": True,
        "106": True,
        "107": False,
    }
    assert data["107"] == b""
    rejected = read_uls23_mask(data["107"], "000001_01_01_107_lesion_01.nii.gz")
    assert isinstance(rejected, FaultyEntry)
    assert rejected.reason is Fault.MASK_UNREADABLE


def test_folders_are_read_through_links_and_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000001_01_01_103_lesion_01.nii.gz").write_bytes(documents.mask())
    folder = tmp_path / "masks"
    folder.mkdir()
    os.symlink(elsewhere, folder / "labels")
    os.symlink(folder, elsewhere / "back")
    assert [file.stem for file in list_files(str(folder))] == ["000001_01_01_103_lesion_01.nii.gz"]


@pytest.mark.parametrize("name", ["labels", "000001_01_01_104_lesion_01.nii.gz"])
def test_no_part_of_a_folder_is_left_out_for_a_link_that_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "000001_01_01_103_lesion_01.nii.gz").write_bytes(documents.mask())
    (tmp_path / name).symlink_to("/none")
    with pytest.raises(SourceError, match=rf"annotations can't be read(.|\n)*No such file(.|\n)*{name}"):
        list(list_files(str(tmp_path)))


def test_no_part_of_a_folder_but_a_system_s_own_is_left_out_because_it_can_t_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "000001_01_01_103_lesion_01.nii.gz").write_bytes(documents.mask())
    (tmp_path / "lost+found").mkdir()
    listed = os.scandir

    def fail(path: str) -> object:
        if os.path.basename(path) in ("labels", "lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", fail)
    assert len(list(list_files(str(tmp_path)))) == 1
    (tmp_path / "labels").mkdir()
    with pytest.raises(SourceError, match=r"annotations can't be read(.|\n)*Permission denied(.|\n)*labels"):
        list(list_files(str(tmp_path)))


@pytest.mark.parametrize("name", ["masks.7z", "content", "masks.rar", "masks.tar.zst"])
def test_a_place_that_is_no_mask_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(SourceError, match=r"no mask, no list of splits, and no archive"):
        list(list_files(str(tmp_path / name)))
