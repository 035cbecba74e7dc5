"""Marks of what is at work on a store. Their ages are set on the disk, as nobody can in a bucket."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.places import Objects
from etl.store.running import DEAD_SECONDS, mark_path, running
from tests.support.written_times import move_written


def make_older(store: str, run_id: str, seconds: float) -> None:
    """Make the mark older by the store's clock."""
    path = Path(store, mark_path(run_id))
    written = path.stat().st_mtime - seconds
    os.utime(path, (written, written))


@pytest.fixture
def local(tmp_path: Path) -> LocalObjects:
    return LocalObjects(str(tmp_path / "store"))


def test_a_mark_says_who_and_is_gone_at_the_end(objects: Objects) -> None:
    with running(objects, "run-1", "build") as own:
        written = json.loads(objects.read(".running/run-1.json"))
        assert written["run_id"] == "run-1"
        assert (written["kind"], written["process"]) == ("build", os.getpid())
        assert {"host", "user", "since"} < written.keys()
        assert own.others() == []
        assert not own.lapsed()
    assert objects.size(".running/run-1.json") is None
    with pytest.raises(KeyError), running(objects, "run-1", "build"):
        raise KeyError
    assert list(objects.list(".running")) == []


def test_each_sees_the_others(objects: Objects) -> None:
    with running(objects, "a", "build") as a, running(objects, "b", "prune") as b:
        assert [(mark.run_id, mark.kind) for mark in a.others()] == [("b", "prune")]
        assert [(mark.run_id, mark.kind) for mark in b.others()] == [("a", "build")]
        assert "build a" in str(b.others()[0])
    assert not objects.listed(".running")


def test_a_mark_that_was_not_renewed_is_dead(local: LocalObjects) -> None:
    with running(local, "a", "build") as a, running(local, "b", "build") as b:
        make_older(local.root, "b", DEAD_SECONDS - 60)
        a.remove_dead()
        assert len(a.others()) == 1
        make_older(local.root, "b", 65)
        assert a.others() == []
        a.remove_dead()
        assert local.size(mark_path("b")) is None
        assert b.lapsed()
        # It is back, and says so once.
        assert len(a.others()) == 1
        assert not b.lapsed()


def test_a_run_that_was_held_up_knows_even_if_nobody_removed_its_mark(local: LocalObjects) -> None:
    with running(local, "a", "build") as a:
        make_older(local.root, "a", DEAD_SECONDS - 60)
        assert not a.lapsed()
        make_older(local.root, "a", DEAD_SECONDS + 5)
        a.renew()
        assert a.lapsed()


def test_a_clock_that_goes_back_kills_nobody(local: LocalObjects) -> None:
    with running(local, "a", "build") as a, running(local, "b", "build") as b:
        make_older(local.root, "a", -86400)
        make_older(local.root, "b", -86400)
        assert len(a.others()) == len(b.others()) == 1
        assert not a.lapsed()


def test_the_thread_renews_and_a_failure_does_not_stop_the_run(
    local: LocalObjects, caplog: pytest.LogCaptureFixture
) -> None:
    writes: list[str] = []
    enough = threading.Event()

    class Failing(LocalObjects):
        def write(self, name: str, *pieces: bytes) -> None:
            writes.append(name)
            if len(writes) == 2:
                raise OSError("no space")
            super().write(name, *pieces)
            if len(writes) > 3:
                enough.set()

    with running(Failing(local.root), "a", "build", renew_s=0.01):
        assert enough.wait(60)
    assert "can't be renewed: no space" in caplog.text
    assert local.size(mark_path("a")) is None
    assert not [thread for thread in threading.enumerate() if thread.name == "mark a"]


def test_a_mark_nobody_understands_is_somebody_at_work(local: LocalObjects) -> None:
    local.write(mark_path("x"), b"{")
    local.write(mark_path("y"), b'{"new": 1}')
    local.write(".running/README", b"")
    with running(local, "a", "prune") as a:
        assert {(mark.run_id, mark.kind) for mark in a.others()} == {("x", "run"), ("y", "run")}


def test_waiting_ends_with_what_is_waited_for(objects: Objects, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ended, prune = threading.Event(), running(objects, "b", "prune")
    prune.__enter__()

    def wait() -> None:
        with running(objects, "a", "build") as a:
            a.wait_for("prune", poll_s=0.01)
            assert objects.size(mark_path("b")) is None
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while "waiting for the end of prune b" not in caplog.text:
        assert thread.is_alive()
    assert not ended.is_set()
    prune.__exit__(None, None, None)
    thread.join(60)
    assert ended.is_set()
    assert caplog.text.count("waiting for the end of prune b") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [("20260101T000000Z-a", "20250101T000000Z-b"), ("20250101T000000Z-b", "20260101T000000Z-a")],
    ids=["the second's clock is behind", "ahead"],
)
def test_who_began_earlier_is_told_by_the_store_s_clock(first: str, second: str, objects: Objects) -> None:
    """Names begin with a time, of the machine's own clock; marks that are renewed since are no younger."""
    with running(objects, first, "build") as a:
        move_written(objects, mark_path(first), -60)
        with running(objects, second, "build") as b:
            # The first was not renewed yet: nothing but its time tells.
            assert [mark.run_id for mark in b.earlier("build")] == [first]
            assert (a.earlier("build"), a.earlier("prune"), b.earlier("prune")) == ([], [], [])
            move_written(objects, mark_path(first), 300)
            a.renew()
            assert [mark.run_id for mark in b.earlier("build")] == [first]
            assert a.earlier("build") == []


def test_of_two_that_began_at_once_the_names_decide(objects: Objects) -> None:
    with running(objects, "b", "build") as b, running(objects, "a", "build") as a:
        for run_id in ("a", "b"):
            written_s = objects.listed(".running")[f"{run_id}.json"].written_s
            move_written(objects, mark_path(run_id), -(written_s % 1))
        written = objects.listed(".running")
        move_written(objects, mark_path("a"), written["b.json"].written_s - written["a.json"].written_s)
        assert [mark.run_id for mark in b.earlier("build")] == ["a"]
        assert a.earlier("build") == []


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with (
        pytest.raises(StoreError, match="can't be written"),
        running(LocalObjects(str(tmp_path / "store")), "a", "build"),
    ):
        pass
