from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.io.places import object_info

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return open_objects(str(tmp_path / "store"))


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another Python process that has this package; its input says go."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def leftovers(objects: LocalObjects) -> list[Path]:
    partial = Path(objects.root, ".partial")
    return list(partial.iterdir()) if partial.exists() else []


def test_what_is_written_is_read(objects: LocalObjects) -> None:
    assert objects.size("a/b/c.bin") is None
    with pytest.raises(FileNotFoundError):
        objects.read("a/b/c.bin")
    objects.write("a/b/c.bin", b"first")
    objects.write("a/b/c.bin", memoryview(b"second"))
    assert (objects.read("a/b/c.bin"), objects.size("a/b/c.bin")) == (b"second", 6)
    assert objects.size("a/b/c.bin/below") is None
    assert leftovers(objects) == []


def test_create_is_exclusive(objects: LocalObjects) -> None:
    assert objects.create("versions/000001.json", b"mine")
    assert not objects.create("versions/000001.json", b"other")
    assert objects.read("versions/000001.json") == b"mine"
    assert leftovers(objects) == []


def test_a_file_in_place_of_a_folder_is_an_error_and_not_a_taken_name(objects: LocalObjects) -> None:
    objects.write("versions", b"")
    with pytest.raises(OSError, match="versions"):
        objects.create("versions/000001.json", b"mine")
    with pytest.raises(OSError, match="versions"):
        objects.write("versions/000001.json", b"mine")
    assert leftovers(objects) == []


def test_list_is_sorted_by_name_and_knows_no_folders(objects: LocalObjects) -> None:
    names = ["t/b.txt", "t/a/z.txt", "t/a/b/c.txt", "t/a.txt", "t/c/d.txt", "other/x"]
    for name in names:
        objects.write(name, b"")
    Path(objects.root, "t", "empty").mkdir()
    assert list(objects.list("t")) == sorted(name for name in names if name.startswith("t/"))
    assert list(objects.list("t/a")) == ["t/a/b/c.txt", "t/a/z.txt"]
    assert list(objects.list("nothing/here")) == []


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a/../b"])
def test_names_that_leave_the_store_are_refused(objects: LocalObjects, name: str) -> None:
    calls = (
        lambda: objects.read(name),
        lambda: objects.size(name),
        lambda: objects.write(name, b"x"),
        lambda: objects.create(name, b"x"),
        lambda: list(objects.list(name)),
    )
    for call in calls:
        with pytest.raises(StoreError, match="not the name of an object") as caught:
            call()
        assert repr(name) in str(caught.value)
    assert not Path(objects.root).exists()


def test_info_is_size_and_sha256() -> None:
    info = object_info("p", b"abc")
    assert (info.path, info.bytes) == ("p", 3)
    assert info.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_of_many_processes_that_create_one_object_one_wins(objects: LocalObjects) -> None:
    code = (
        "import sys; from etl.io.local import LocalObjects\n"
        "data = sys.argv[2].encode() * 300_000; objects = LocalObjects(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(''.join('01'[objects.create(f'versions/{n}.json', data)] for n in range(20)))"
    )
    processes = [start(code, objects.root, letter) for letter in "abc"]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [process.communicate(timeout=TIMEOUT_S)[0].strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [len(replies) for replies in won] == [20, 20, 20]
    for number in range(20):
        winners = [letter for letter, replies in zip("abc", won, strict=True) if replies[number] == "1"]
        assert len(winners) == 1
        assert objects.read(f"versions/{number}.json") == winners[0].encode() * 300_000
    assert leftovers(objects) == []


def test_a_reader_never_sees_part_of_an_object_that_is_replaced(objects: LocalObjects) -> None:
    code = (
        "import sys; from etl.io.local import LocalObjects\n"
        "objects = LocalObjects(sys.argv[1]); seen = set(); reads = 0\n"
        "print('ready', flush=True)\n"
        "while len(seen) < 6 and reads < 100_000:\n"
        "    data = objects.read('x'); reads += 1\n"
        "    assert len(data) == 400_000 and data == data[:1] * 400_000, 'part of an object'\n"
        "    seen.add(data[:1])\n"
        "print(len(seen))"
    )
    objects.write("x", b"a" * 400_000)
    process = start(code, objects.root)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        rounds = 0
        while process.poll() is None and rounds < 2000:
            objects.write("x", b"abcdefgh"[rounds % 8 : rounds % 8 + 1] * 400_000)
            rounds += 1
        seen, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert (process.returncode, seen.strip()) == (0, "6")


def test_a_failed_write_leaves_the_old_object_and_nothing_else(objects: LocalObjects) -> None:
    objects.write("x", b"old")
    with pytest.raises(TypeError):
        objects.write("x", "not bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        objects.create("y", "not bytes")  # type: ignore[arg-type]
    assert (objects.read("x"), objects.size("y")) == (b"old", None)
    assert leftovers(objects) == []


def test_a_writable_store_is_probed_without_a_trace(objects: LocalObjects) -> None:
    objects.check_writable()
    assert list(objects.list(".partial")) == []
    objects.check_writable()


@pytest.mark.parametrize("below", ["", "/store", "/a/b/store"])
def test_a_store_in_or_below_a_file_can_not_be_written(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    objects = open_objects(f"{tmp_path}/file{below}")
    with pytest.raises(StoreError, match="the store can't be written") as caught:
        objects.check_writable()
    assert caught.value.exit_code == 2
    for part in (objects.root, "remedy", "hard links"):
        assert part in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is read-only to root")
def test_a_read_only_folder_can_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="the store can't be written"):
            open_objects(str(tmp_path / "store")).check_writable()
    finally:
        tmp_path.chmod(0o700)


def test_stores_are_named_by_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_objects("a/b").root == str(tmp_path / "a" / "b")
    assert open_objects(f"file://{tmp_path}/c").root == str(tmp_path / "c")


def test_free_bytes_are_told_before_the_store_is_there(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path / "not" / "there"))
    free = objects.free_bytes()
    assert free is not None
    assert free > 0
    assert not (tmp_path / "not").exists()
