from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from etl.core.errors import SourceError
from etl.core.rejects import Kind, Reason
from etl.release.folders import index_folder, slice_path, with_checksums
from etl.release.index import MAX_SLICE_BYTES
from etl.release.slices import read_slices

SERIES = "000001_01_01"
needs_unreadable = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs a file that root can't read either"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("000001_01_01/009", "000001_01_01/1000", "000001_01_01/010", "000002_01_01/001"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_slices_in_order_with_their_sizes(root: Path) -> None:
    index = index_folder(str(root))
    assert [(index.series_id(row), int(row["index"])) for row in index.slices] == [
        (SERIES, 9),
        (SERIES, 10),
        (SERIES, 1000),
        ("000002_01_01", 1),
    ]
    assert index.slices["bytes"].tolist() == [16, 16, 17, 16]
    assert index.slices["crc32"].tolist() == [0] * 4
    assert index.rejects == ()
    assert index.found_count == 4
    (container,) = index.containers
    assert (container.path, container.is_zip, container.bytes, container.slice_count, container.sha256) == (
        str(root), False, 65, 4, "",
    )  # fmt: skip
    assert slice_path(container, index.slices[2]) == root / "000001_01_01/1000.png"


def test_a_relative_path_and_a_slash_at_the_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    index = index_folder(f"{root.name}/")
    assert index.containers[0].path == str(root)


def test_only_wanted_slices_are_read_for_checksums(root: Path) -> None:
    index = with_checksums(index_folder(str(root)), np.array([True, False, True, False]))
    assert index.slices["crc32"].tolist() == [
        zlib.crc32(b"000001_01_01/009"), 0, zlib.crc32(b"000001_01_01/1000"), 0,
    ]  # fmt: skip
    assert list(read_slices(index.containers, index.slices[[0, 2]])) == [
        b"000001_01_01/009",
        b"000001_01_01/1000",
    ]


def test_a_file_that_changed_after_the_listing_has_size_and_checksum_of_one_reading(root: Path) -> None:
    listed = index_folder(str(root))
    (root / SERIES / "009.png").write_bytes(b"other")
    index = with_checksums(listed, np.ones(4, dtype=bool))
    assert (index.slices["bytes"][0], index.slices["crc32"][0]) == (5, zlib.crc32(b"other"))
    assert next(iter(read_slices(index.containers, index.slices))) == b"other"
    assert listed.slices["bytes"][0] == 16


def test_names_that_no_slice_has(root: Path) -> None:
    (root / "DL_info.csv").write_text("x")
    (root / "Images_png").mkdir()
    (root / "000003_01_01").write_text("a file, not a folder")
    (root / SERIES / "11.png").write_text("x")
    (root / SERIES / "notes\n.txt").write_text("x")
    (root / SERIES / "sub").mkdir()
    (root / SERIES / "sub" / "012.png").write_text("x")
    (root / SERIES / "013.png").mkdir()
    (root / SERIES / "014.png").symlink_to("nowhere")
    (root / SERIES / "015.png").symlink_to("015.png")
    index = index_folder(str(root))
    assert {(r.kind, r.reason) for r in index.rejects} == {(Kind.SLICE, Reason.MEMBER_NAME_UNEXPECTED)}
    found = [r.found_in.removeprefix(f"{root.name}: ") for r in index.rejects]
    assert sorted(found) == [
        "000001_01_01/013.png",
        "000001_01_01/014.png",
        "000001_01_01/015.png",
        "000001_01_01/11.png",
        "000001_01_01/notes\\n.txt",
        "000001_01_01/sub",
        "000003_01_01",
        "DL_info.csv",
        "Images_png",
    ]
    assert len(index.slices) == 4
    assert index.found_count == len(index.slices) + len(index.rejects)


def test_a_slice_in_both_spellings(root: Path) -> None:
    (root / SERIES / "009.PNG").write_bytes(b"another slice 9!")
    index = with_checksums(index_folder(str(root)), np.ones(4, dtype=bool))
    assert [r.found_in for r in index.rejects] == [f"{root.name}: {SERIES}/009.PNG"]
    assert (len(index.slices), index.found_count) == (4, 5)
    assert next(iter(read_slices(index.containers, index.slices[:1]))) == b"000001_01_01/009"


def test_files_of_operating_systems_are_ignored(root: Path) -> None:
    (root / ".DS_Store").write_text("x")
    (root / "__MACOSX").mkdir()
    (root / "._000001_01_01").write_text("x")
    (root / SERIES / "._009.png").write_text("x")
    index = index_folder(str(root))
    assert index.rejects == ()
    assert index.found_count == 4


def test_a_file_too_large_to_be_a_slice(root: Path) -> None:
    with open(root / SERIES / "011.png", "wb") as file:
        file.truncate(MAX_SLICE_BYTES + 1)
    index = index_folder(str(root))
    (reject,) = index.rejects
    assert (reject.reason, reject.series_id, reject.slice_index) == (Reason.SLICE_TOO_LARGE, SERIES, 11)
    assert index.found_count == 5


@needs_unreadable
def test_an_unreadable_slice_stops_the_planning(root: Path) -> None:
    (root / SERIES / "011.png").symlink_to("/proc/self/mem")
    index = index_folder(str(root))
    with pytest.raises(SourceError, match=r"can't be read(.|\n)*011\.png: Input/output error"):
        with_checksums(index, np.ones(5, dtype=bool))
    assert with_checksums(index, index.slices["index"] != 11).slices["crc32"].all() == np.False_


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_stops_the_planning(root: Path) -> None:
    (root / SERIES).chmod(0)
    try:
        with pytest.raises(SourceError, match="can't be read"):
            index_folder(str(root))
    finally:
        (root / SERIES).chmod(0o700)


def test_no_folder_and_no_slice(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        index_folder(str(tmp_path / "absent"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="no such folder"):
        index_folder(str(tmp_path / "file"))
    with pytest.raises(SourceError, match="holds no slice"):
        index_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("folders", "given"),
    [
        (["Images_png"], ""),
        (["Images_png"], "Images_png"),
        (["Images_png/Images_png"], "Images_png"),
        (["Images_png", "Images_png 2", "Images_png 3"], ""),
        (["Images_png", "Images_png 2"], "Images_png*"),
        (["Images_png_01/Images_png", "Images_png_02/Images_png"], ""),
        (["Images_png_01/Images_png", "Images_png_02/Images_png"], ["Images_png_01", "Images_png_0[2-9]"]),
        (["a [1]"], "a [1]"),
        (["DeepLesion/release/Images_png"], ""),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_image_folders_are_found_however_archives_were_unpacked(
    tmp_path: Path, folders: list[str], given: str | list[str], suffix: str
) -> None:
    for number, folder in enumerate(folders):
        path = tmp_path / folder / f"00000{number}_01_01" / f"007{suffix}"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes([number]) * 9)
    (tmp_path / "DL_info.csv").write_text("next to the images")
    places = [given] if isinstance(given, str) else given
    index = index_folder([str(tmp_path / place) for place in places])
    assert [container.path for container in index.containers] == [str(tmp_path / name) for name in folders]
    assert (index.found_count, index.rejects) == (len(folders), ())
    whole = with_checksums(index, np.ones(len(folders), dtype=bool))
    assert list(read_slices(whole.containers, whole.slices)) == [bytes([n]) * 9 for n in range(len(folders))]


def test_the_folder_of_one_series_is_one_level_too_low(root: Path) -> None:
    with pytest.raises(SourceError, match="the folder of one series") as caught:
        index_folder(str(root / SERIES))
    assert str(root) in caught.value.remedy


@pytest.mark.parametrize("second", [b"000001_01_01/009", b"000001_01_01/0o9"], ids=["equal", "different"])
def test_one_slice_in_two_folders(
    second: bytes, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / SERIES).mkdir()
    (other / SERIES / "009.png").write_bytes(second)
    index = index_folder([str(root), str(other)])
    found = [(r.reason, r.found_in) for r in index.rejects]
    where = [f"{folder.name}: {SERIES}/009.png" for folder in (root, other)]
    if second == b"000001_01_01/009":
        assert found == [(Reason.SLICE_DUPLICATE, where[1])]
    else:
        assert found == [(Reason.SLICE_CONFLICT, place) for place in where]
        assert f"crc32 {zlib.crc32(second):08x} 16 bytes" in index.rejects[0].message
    assert len(index.slices) + len(index.rejects) == index.found_count == 5


def test_folders_of_one_name_are_named_with_the_folders_before(tmp_path: Path) -> None:
    for part in ("01", "02"):
        (tmp_path / part / "Images_png" / SERIES).mkdir(parents=True)
        (tmp_path / part / "Images_png" / SERIES / f"0{part}.png").write_bytes(b"slice")
        (tmp_path / part / "Images_png" / SERIES / "notes.txt").write_bytes(b"text")
    index = index_folder(str(tmp_path))
    assert [container.name for container in index.containers] == ["01/Images_png", "02/Images_png"]
    found = [reject.found_in for reject in index.rejects]
    assert found == [f"{part}/Images_png: {SERIES}/notes.txt" for part in ("01", "02")]


def test_links_next_to_the_image_folders(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("links")
    (place / "Images_png").symlink_to(root)
    (place / "latest").symlink_to(root)
    (place / "loop").symlink_to("loop")
    index = index_folder([str(place), str(root)])
    assert [container.path for container in index.containers] == [str(place / "Images_png")]
    assert (index.found_count, index.rejects) == (4, ())


def test_a_link_to_a_disk_that_is_not_mounted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("links")
    (place / "Images_png").symlink_to(root)
    (place / "Images_png 2").symlink_to("/none/Images_png")
    for named in (place, place / "*", place / "Images_png 2"):
        with pytest.raises(SourceError, match=r"can't be read(.|\n)*Images_png 2: No such file"):
            index_folder(str(named))


@pytest.mark.parametrize("name", [SERIES, "009.png"])
def test_a_disk_that_fails_makes_no_reject(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = os.stat

    def fail(path: str, **options: object) -> os.stat_result:
        if os.path.basename(path) == name:
            raise OSError(5, "Input/output error", path)
        return looked(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(SourceError, match=rf"can't be read(.|\n)*{name}: Input/output error"):
        index_folder(str(root))
