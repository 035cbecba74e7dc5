from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from etl.core.errors import ConfigError, StoreError
from etl.export.export import README, STAMP, export, load_format
from etl.export.protocol import FORMATS, Selection
from etl.io.local import LocalObjects
from etl.store.layout import ACKNOWLEDGEMENT, CITATION, SOURCE_URL
from etl.store.reader import Store, open_store
from tests.support.s3_server import Bucket
from tests.support.stored import files_below

ONE = Selection(patients=(1,))


@pytest.mark.parametrize("name", FORMATS)
def test_source_and_citation_go_along(
    request: pytest.FixtureRequest, demo_store: Store, tmp_path: Path, name: str
) -> None:
    selection = ONE if load_format(name).selects else Selection()
    if name == "nnunet":  # it needs masks
        demo_store = request.getfixturevalue("few_masks")
    before = files_below(Path(demo_store.objects.root))
    done = export(demo_store, tmp_path / "out", name, selection)
    readme = (tmp_path / "out" / README).read_text()
    for part in (SOURCE_URL, ACKNOWLEDGEMENT, CITATION, name, "export of version", "DL_info.csv"):
        assert part in readme
    stamp = json.loads((tmp_path / "out" / STAMP).read_text())
    assert (stamp["format"], stamp["complete"], stamp["files"]) == (name, True, done.files)
    assert (stamp["source"], stamp["citation"]) == (SOURCE_URL, CITATION)
    assert len(files_below(tmp_path / "out")) == done.files + 2
    assert not (tmp_path / "out" / ".partial").exists()
    assert files_below(Path(demo_store.objects.root)) == before


@pytest.mark.slow
def test_a_cut_export_is_taken_up(demo_store: Store, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    export(demo_store, whole, "coco", ONE)

    class CutError(Exception):
        pass

    def stop(size: int, total: int) -> None:
        raise CutError

    with pytest.raises(CutError):
        export(demo_store, cut, "coco", ONE, stop)
    assert json.loads((cut / STAMP).read_text())["complete"] is False
    left = files_below(cut)
    kept = left.keys() - {STAMP}
    assert kept
    (cut / ".partial").mkdir(exist_ok=True)
    (cut / ".partial" / "half").write_bytes(b"a file that was being written")
    seen: list[tuple[int, int]] = []
    done = export(demo_store, cut, "coco", ONE, lambda size, total: seen.append((size, total)))
    assert (done.files, done.reused) == (3, len(kept))
    assert [total for _, total in seen] == [3 - len(kept)] * (3 - len(kept))
    assert files_below(cut) == files_below(whole)
    again = export(demo_store, cut, "coco", ONE)
    assert (again.reused, again.bytes) == (3, 0)
    assert files_below(cut) == files_below(whole)


@pytest.mark.parametrize(
    ("format_name", "selection"), [("images", ONE), ("coco", Selection()), ("coco", Selection(patients=(2,)))]
)
def test_another_export_is_not_mixed_in(
    demo_store: Store, tmp_path: Path, format_name: str, selection: Selection
) -> None:
    export(demo_store, tmp_path, "coco", ONE)
    before = files_below(tmp_path)
    with pytest.raises(ConfigError, match="holds another export") as caught:
        export(demo_store, tmp_path, format_name, selection)
    assert "name another folder" in str(caught.value)
    assert files_below(tmp_path) == before


def test_what_is_not_an_export_stays_as_it_is(demo_store: Store, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="isn't an export") as caught:
        export(demo_store, tmp_path, "csv", Selection())
    assert "thesis.txt" in str(caught.value)
    (tmp_path / STAMP).write_text("{}")
    with pytest.raises(ConfigError, match="isn't an export"):
        export(demo_store, tmp_path, "csv", Selection())
    assert files_below(tmp_path) == {"thesis.txt": b"years of work", STAMP: b"{}"}
    with pytest.raises(ConfigError, match="is a file"):
        export(demo_store, tmp_path / "thesis.txt", "csv", Selection())


def test_an_export_that_can_t_be_read_now_is_not_to_be_emptied(
    demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(demo_store, tmp_path, "coco", ONE)
    read = LocalObjects.read

    def fail(objects: LocalObjects, name: str) -> bytes:
        if name == STAMP:
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return read(objects, name)

    monkeypatch.setattr(LocalObjects, "read", fail)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        export(demo_store, tmp_path, "coco", ONE)
    assert "empty" not in str(caught.value)


def test_the_store_is_no_place_for_an_export(demo_store: Store) -> None:
    root = Path(demo_store.objects.root)
    for out in (root, root / "exports", root / "volumes" / ".." / "csv"):
        with pytest.raises(ConfigError, match="inside the store"):
            export(demo_store, out, "csv", Selection())
    of_the_build = {".partial", ".running", "runs"}
    assert {path.name for path in root.iterdir()} - of_the_build == {
        "tables",
        "versions",
        "volumes",
        "store.json",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"), [("zeros", "do not have their CRC-32C"), ("gone", "voxels are missing")]
)
def test_a_damaged_volume_is_named(demo_store: Store, tmp_path: Path, damage: str, said: str) -> None:
    shutil.copytree(demo_store.objects.root, tmp_path / "store")
    (shard,) = (tmp_path / "store").glob("volumes/000001_*/*/0/c/0/0/0")
    data = shard.read_bytes()
    shard.unlink()
    if damage == "zeros":
        shard.write_bytes(bytes(len(data) // 2) + data[len(data) // 2 :])
    with pytest.raises(StoreError, match=said) as caught:
        export(open_store(str(tmp_path / "store")), tmp_path / "out", "nifti", ONE)
    for part in ("000001_01_01_103-115", "deeplesion verify"):
        assert part in str(caught.value)
    assert not (tmp_path / "out" / "000001_01_01_103-115.nii.gz").exists()


def test_a_folder_that_cannot_be_written_is_named(demo_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="can't be written") as caught:
        export(demo_store, tmp_path / "file" / "out", "csv", Selection())
    assert str(tmp_path / "file" / "out") in str(caught.value)


@pytest.mark.campaign
def test_a_store_in_a_bucket_gives_the_same_files(
    demo_store: Store, s3_bucket: Bucket, tmp_path: Path
) -> None:
    for name, data in files_below(Path(demo_store.objects.root)).items():
        s3_bucket.put(f"store/{name}", data)
    keys = s3_bucket.all_keys()
    remote = open_store(f"{s3_bucket.url}/store")
    for name in set(FORMATS) - {"nnunet"}:  # there are no masks
        selection = Selection(patients=(1, 3)) if load_format(name).selects else Selection()
        export(demo_store, tmp_path / "disk" / name, name, selection)
        export(remote, tmp_path / "bucket" / name, name, selection)
    assert files_below(tmp_path / "bucket") == files_below(tmp_path / "disk")
    assert s3_bucket.all_keys() == keys
