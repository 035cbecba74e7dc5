"""A prune that other jobs, a kill, damage or wrong numbers stop leaves a whole store."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import ConfigError, GuardError, RunError, StoreError
from etl.io.local import LocalObjects
from etl.store.history import rollback
from etl.store.layout import to_json, version_path
from etl.store.prune import prune
from etl.store.reader import open_store
from etl.store.receipts import read_receipt
from etl.store.running import DEAD_SECONDS, mark_path, running
from etl.store.sealed import sealed
from etl.store.tags import remove_tag, write_tag
from etl.store.versions import version_numbers
from etl.verify.verify import verify
from tests.store.test_running import make_older
from tests.support.three_volumes import assert_whole, files_of, variant
from tests.support.tiny_release import build_serial


@pytest.fixture
def config(three_versions: Config) -> Config:
    return three_versions


def test_beside_a_build_it_refuses_and_says_which(config: Config) -> None:
    objects, before = LocalObjects(config.store), files_of(config.store)
    with running(objects, "20261123T160000Z-1", "build"):
        with pytest.raises(GuardError) as caught:
            prune(objects, 1, 0)
        for part in (
            "build 20261123T160000Z-1",
            os.uname().nodename,
            "since",
            ".running/20261123T160000Z-1.json",
        ):
            assert part in str(caught.value)
        assert caught.value.exit_code == 3
        make_older(config.store, "20261123T160000Z-1", DEAD_SECONDS + 1)
        assert prune(objects, 1, 0).versions == (1, 2)
    assert before.keys() - files_of(config.store).keys()
    with running(objects, "x", "prune"), pytest.raises(GuardError, match="prune x"):
        prune(objects, 1, 0)


def test_a_run_that_was_held_up_and_goes_on_meanwhile_is_seen(config: Config) -> None:
    """Its mark was dead at the first look, and is back at the second."""

    @dataclasses.dataclass(frozen=True)
    class GoesOn(LocalObjects):
        def remove(self, name: str) -> None:
            super().remove(name)
            if name == mark_path("held"):
                held.renew()

    with running(LocalObjects(config.store), "held", "build") as held:
        make_older(config.store, "held", DEAD_SECONDS + 1)
        with pytest.raises(GuardError, match="held"):
            prune(GoesOn(config.store), 1, 0)
        assert version_numbers(LocalObjects(config.store)) == [1, 2, 3]
        assert held.lapsed()


class Killed(BaseException):
    pass


@dataclasses.dataclass(frozen=True)
class Mortal(LocalObjects):
    """A store whose pruner dies at its n-th deletion of an object."""

    left: list[int] = dataclasses.field(default_factory=list)

    def remove_all(self, names: Sequence[str]) -> None:
        for name in names:
            if not self.left[0]:
                raise Killed
            self.left[0] -= 1
            super().remove_all([name])


@pytest.mark.campaign
def test_killed_at_every_deletion_it_leaves_a_whole_store_and_a_second_finishes(
    config: Config, tmp_path: Path
) -> None:
    """Every version that is left is whole, no receipt stays without its volume, nothing half is reused."""
    store, release = Path(config.store), variant(config, volume={"spacing_mm": 1.0})
    expected: dict[str, bytes] | None = None
    place, objects_there = 0, len(files_of(config.store))
    while True:
        copy = tmp_path / f"copy-{place}"
        copy.mkdir()
        # Hard links: what is deleted in the copy stays in the store.
        for name in files_of(str(store)):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(store / name, copy / name)
        objects = LocalObjects(str(copy))
        try:
            prune(Mortal(str(copy), [place]), 1, 0)
        except Killed:
            for number in version_numbers(objects):
                assert verify(objects, number).problems == ()
            for path in copy.glob("volumes/*/*.receipt.json"):
                assert read_receipt(objects, path.parent.name, path.name.partition(".")[0]) is not None
        else:
            break
        if place % 7 == 0:  # a build of what was half deleted
            again = build_serial(release.model_copy(update={"store": str(copy)}))
            assert_whole(str(copy), *version_numbers(objects))
            assert again.published.is_new
        else:
            prune(objects, 1, 0)
            expected = expected or files_of(str(copy))
            assert files_of(str(copy)) == expected
        place += 1
    assert expected is not None
    assert place == objects_there - len(expected)


def test_a_prune_that_was_held_up_stops(config: Config) -> None:
    """It lapses while it deletes receipts, so that their volumes stay."""

    @dataclasses.dataclass(frozen=True)
    class HeldUp(LocalObjects):
        def remove_all(self, names: Sequence[str]) -> None:
            super().remove_all(names)
            if names[0].startswith("volumes/"):
                (mark,) = self.list(".running")
                make_older(self.root, Path(mark).stem, DEAD_SECONDS + 1)

    with pytest.raises(RunError, match="the mark of this prune lapsed"):
        prune(HeldUp(config.store), 1, 0)
    assert len(list(Path(config.store).glob("volumes/*/*.ome.zarr"))) == 9
    assert len(list(Path(config.store).glob("volumes/*/*.receipt.json"))) == 3
    assert_whole(config.store, 3)
    prune(LocalObjects(config.store), 1, 0)
    assert len(list(Path(config.store).glob("volumes/*/*.ome.zarr"))) == 3


def test_a_rollback_that_was_held_up_publishes_nothing_that_a_prune_took(config: Config) -> None:
    """Its mark lapses after it found all that it is to name, before it publishes."""

    @dataclasses.dataclass(frozen=True)
    class HeldUp(LocalObjects):
        looks: list[str] = dataclasses.field(default_factory=list)

        def list(self, prefix: str) -> Iterator[str]:
            self.looks.append(prefix)
            if self.looks == ["versions"] * 2:
                make_older(self.root, "back", DEAD_SECONDS + 1)
                assert prune(LocalObjects(self.root), 1, 0).versions == (1, 2)
            return super().list(prefix)

    objects = HeldUp(config.store)
    with (
        running(objects, "back", "rollback") as own,
        pytest.raises(RunError, match="a prune deleted what it relied on"),
    ):
        rollback(objects, 1, "back", own)
    assert_whole(config.store, 3)


def test_a_kept_version_that_cannot_be_read_stops_it(config: Config) -> None:
    objects, before = LocalObjects(config.store), files_of(config.store)
    objects.write(version_path(2), b"{")
    with pytest.raises(StoreError, match="damaged"):
        prune(objects, 2, 0)
    assert files_of(config.store) == before | {version_path(2): b"{"}
    # One that goes need not be read.
    assert prune(objects, 1, 0).versions == (1, 2)


@pytest.mark.parametrize("named_by", ["a tag", "the next version"])
def test_a_kept_version_that_was_exchanged_stops_it(config: Config, named_by: str) -> None:
    """It holds a right checksum of its own, but not the one by which others name it."""
    objects = LocalObjects(config.store)
    if named_by == "a tag":
        write_tag(objects, "paper", 2)
    version = json.loads(objects.read(version_path(2)))
    objects.write(version_path(2), to_json(sealed(version | {"created_at": "2026-01-01T00:00:00+00:00"})))
    before = files_of(config.store)
    with pytest.raises(StoreError, match=r"version 2 is not the one .* nothing was deleted"):
        prune(objects, 1 if named_by == "a tag" else 2, 0)
    assert files_of(config.store) == before
    # The remedy where there is no copy of the file.
    if named_by == "a tag":
        remove_tag(objects, "paper")
    assert prune(objects, 1, 0).kept == (3,)


@pytest.mark.parametrize("what", ["volumes", "tables"])
def test_a_kept_version_that_names_what_is_not_there_stops_it(config: Config, what: str) -> None:
    """One character of a path was changed, so that no version names the object that is there."""
    objects, path = LocalObjects(config.store), Path(config.store, version_path(3))
    version = json.loads(path.read_bytes())
    entry = (version["volumes"] if what == "volumes" else version["tables"]["slices"])[0]
    place = entry["path"].rindex("/") + 1
    other = "0" if entry["path"][place] != "0" else "1"
    entry["path"] = f"{entry['path'][:place]}{other}{entry['path'][place + 1 :]}"
    path.write_text(json.dumps(sealed(version)))
    before = files_of(config.store)
    for dry_run in (True, False):
        with pytest.raises(StoreError, match="names objects that are missing") as caught:
            prune(objects, 1, 0, dry_run=dry_run)
        assert entry["path"].removesuffix(".ome.zarr") in str(caught.value)
        assert files_of(config.store) == before


@pytest.mark.parametrize(("keep", "grace_s"), [(0, 1.0), (-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_numbers_that_mean_nothing_are_refused(config: Config, keep: int, grace_s: float) -> None:
    before = files_of(config.store)
    with pytest.raises(ConfigError, match="--keep 3"):
        prune(LocalObjects(config.store), keep, grace_s)
    assert files_of(config.store) == before


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["versions", "volumes", "tables"])
def test_a_folder_that_cannot_be_listed_is_an_error(config: Config, folder: str) -> None:
    objects, path = LocalObjects(config.store), Path(config.store, folder)
    path.rename(path.with_name("moved"))
    path.symlink_to(folder)  # a link to itself, which no user can list
    with pytest.raises((OSError, StoreError), match="Too many"):
        prune(objects, 1, 0)
    if folder == "versions":
        for read in (lambda: open_store(config.store), lambda: build_serial(config)):
            with pytest.raises((StoreError, RunError), match="Too many"):
                read()
    path.unlink()
    path.with_name("moved").rename(path)
    assert_whole(config.store, 1, 2, 3)


def test_where_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        prune(LocalObjects(str(tmp_path / "store")), 1, 0)
    assert not (tmp_path / "store").exists()
