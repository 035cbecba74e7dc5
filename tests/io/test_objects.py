from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.io.places import Objects, object_info
from tests.support.processes import LIMIT_SECONDS, ROOT


@pytest.fixture
def local(tmp_path: Path) -> LocalObjects:
    return LocalObjects(str(tmp_path / "store"))


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another Python process that has this package; its input says go."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def leftovers(local: LocalObjects) -> list[Path]:
    partial = Path(local.root, ".partial")
    return list(partial.iterdir()) if partial.exists() else []


def test_what_is_written_is_read(objects: Objects) -> None:
    objects.write("a/b", b"first")
    objects.write("a/b", memoryview(b"second"))
    objects.write("a/c/d", b"")
    objects.write("a.txt", b"")
    assert objects.read("a/b") == b"second"
    assert objects.read_range("a/b", 1, 4) == b"eco"
    assert (objects.size("a/b"), objects.size("a/x"), objects.size("a/b/below")) == (6, None, None)
    assert objects.sizes("a") == {"b": 6, "c/d": 0}
    assert list(objects.list("a")) == ["a/b", "a/c/d"]
    assert (objects.sizes("x"), list(objects.list("x"))) == ({}, [])
    objects.remove("a/b")
    objects.remove("a/x")
    assert objects.size("a/b") is None
    with pytest.raises(FileNotFoundError):
        objects.read("a/b")


def test_a_disk_that_is_full_is_named(local: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{local.root}/\.partial/"):
        local.write("a", b"x")
    assert leftovers(local) == []


def test_a_listing_has_sizes_and_times_of_one_clock(objects: Objects) -> None:
    objects.write("a/b/c", b"first")
    objects.write("a/d", b"")
    found = objects.listed("a")
    assert {name: item.bytes for name, item in found.items()} == {"b/c": 5, "d": 0}
    # A bucket gives whole seconds.
    assert -1 <= found["d"].written_s - found["b/c"].written_s < 3600
    assert objects.listed("x") == {}


def test_many_are_deleted_at_once(objects: Objects) -> None:
    names = (
        [f"a/{number % 7}/{number}" for number in range(1005)] if "s3" in objects.root else ["a/b/c", "a/d"]
    )
    for name in names[::100] if "s3" in objects.root else names:
        objects.write(name, b"x")
    objects.write("a/other", b"x")
    objects.remove_all(names)
    assert list(objects.list("a")) == ["a/other"]
    objects.remove_all([])


def test_a_create_is_exclusive(objects: Objects) -> None:
    assert objects.create("versions/000001.json", b"one") is True
    assert objects.create("versions/000001.json", b"two") is False
    assert objects.read("versions/000001.json") == b"one"


def test_it_leaves_nothing_behind_where_it_looked(objects: Objects) -> None:
    objects.check_writable()
    assert list(objects.list(".partial")) == []


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a/../b"])
def test_no_name_leads_out(objects: Objects, name: str) -> None:
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


def test_a_file_in_place_of_a_folder_is_an_error_and_not_a_taken_name(local: LocalObjects) -> None:
    local.write("versions", b"")
    with pytest.raises(OSError, match="versions"):
        local.create("versions/000001.json", b"mine")
    with pytest.raises(OSError, match="versions"):
        local.write("versions/000001.json", b"mine")
    assert leftovers(local) == []


def test_info_is_size_and_sha256() -> None:
    info = object_info("p", b"abc")
    assert (info.path, info.bytes) == ("p", 3)
    assert info.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.slow
def test_of_many_processes_that_create_one_object_one_wins(local: LocalObjects) -> None:
    code = (
        "import sys; from etl.io.local import LocalObjects\n"
        "data = sys.argv[2].encode() * 300_000; objects = LocalObjects(sys.argv[1])\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(''.join('01'[objects.create(f'versions/{n}.json', data)] for n in range(20)))"
    )
    processes = [start(code, local.root, letter) for letter in "abc"]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [process.communicate(timeout=LIMIT_SECONDS)[0].strip() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [len(replies) for replies in won] == [20, 20, 20]
    for number in range(20):
        winners = [letter for letter, replies in zip("abc", won, strict=True) if replies[number] == "1"]
        assert len(winners) == 1
        assert local.read(f"versions/{number}.json") == winners[0].encode() * 300_000
    assert leftovers(local) == []


def test_a_reader_never_sees_part_of_an_object_that_is_replaced(local: LocalObjects) -> None:
    code = (
        "import sys; from etl.io.local import LocalObjects\n"
        "objects = LocalObjects(sys.argv[1]); seen = set()\n"
        "print('ready', flush=True)\n"
        "while len(seen) < 6:\n"
        "    data = objects.read('x')\n"
        "    assert len(data) == 400_000 and data == data[:1] * 400_000, 'part of an object'\n"
        "    seen.add(data[:1])\n"
        "print(len(seen))"
    )
    local.write("x", b"a" * 400_000)
    process = start(code, local.root)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # However long it takes until both have had a core.
        for letter in itertools.cycle(b"abcdefgh"):
            local.write("x", bytes([letter]) * 400_000)
            if process.poll() is not None:
                break
        seen, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        process.kill()
    assert (process.returncode, seen.strip()) == (0, "6")


def test_a_failed_write_leaves_the_old_object_and_nothing_else(local: LocalObjects) -> None:
    local.write("x", b"old")
    with pytest.raises(TypeError):
        local.write("x", "not bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        local.create("y", "not bytes")  # type: ignore[arg-type]
    assert (local.read("x"), local.size("y")) == (b"old", None)
    assert leftovers(local) == []


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
