"""Pruning: what no kept version names goes, in an order that a kill anywhere does no harm."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import ConfigError, GuardError, RunError, StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.history import rollback
from etl.store.layout import summary_path, to_json, version_path
from etl.store.prune import Pruning, prune
from etl.store.reader import open_store
from etl.store.receipts import read_receipt, read_split
from etl.store.running import DEAD_SECONDS, mark_path, running
from etl.store.sealed import sealed
from etl.store.tags import write_tag
from etl.store.versions import read_version, version_numbers
from etl.verify.verify import verify
from tests.store.test_running import make_older
from tests.support.s3_server import Bucket
from tests.support.three_volumes import PRESENT, ROWS, files_of, variant
from tests.support.tiny_release import build_serial, tiny_config, write_release

DAY_S = 86400.0
SPACINGS = (1.0, 2.0, 4.0)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a store of three versions that share no volume; the last is of 4 mm."""
    write_release(tmp_path / "release", PRESENT, ROWS)
    return three_versions(tiny_config(tmp_path / "release", tmp_path / "store"))


def three_versions(config: Config) -> Config:
    for spacing in SPACINGS:
        last = variant(config, volume={"spacing_mm": spacing})
        build_serial(last)
    return last


def make_all_older(store: str, seconds: float, below: str = "") -> None:
    for path in Path(store, below).rglob("*"):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def counts(pruning: Pruning) -> dict[str, int]:
    known = {folder: len(units) for folder, units in pruning.units.items()}
    assert (known.pop("labels"), known.pop("models")) == (0, 0)
    return known


def assert_whole(store: str, *numbers: int) -> None:
    objects = open_objects(store)
    assert version_numbers(objects) == [*numbers]
    assert [verify(objects, number).problems for number in numbers] == [()] * len(numbers)


def test_the_newest_stay_with_all_that_they_name(config: Config) -> None:
    objects, before = LocalObjects(config.store), files_of(config.store)
    dry = prune(objects, 1, 0, dry_run=True)
    assert files_of(config.store) == before
    found = prune(objects, 1, 0)
    assert found == dry
    assert (found.kept, found.versions, found.younger) == ((3,), (1, 2), 0)
    assert counts(found) == {"volumes": 6, "tables": 2, "reports": 0, ".partial": 0}
    after = files_of(config.store)
    gone = {name for units in found.units.values() for unit in units for name in unit.sizes}
    versions = {path(number) for number in (1, 2) for path in (version_path, summary_path)}
    assert before.keys() - after.keys() == gone | versions
    assert {name: before[name] for name in after} == after
    assert sum(unit.bytes for units in found.units.values() for unit in units) == sum(
        len(before[name]) for name in gone
    )
    assert_whole(config.store, 3)
    # No empty folder stays of what is gone.
    assert not [
        path for path in Path(config.store, "volumes").rglob("*") if path.is_dir() and not any(path.iterdir())
    ]
    again = prune(objects, 1, 0)
    assert (again.versions, counts(again)) == ((), dict.fromkeys(counts(again), 0))
    # What comes next goes on counting, and a build of what is there reuses it.
    build = build_serial(config)
    assert (build.converted, build.published.is_new) == (0, False)
    assert build_serial(variant(config, volume={"spacing_mm": 1.0})).published.version["version"] == 4


def test_what_versions_share_stays(config: Config) -> None:
    objects = LocalObjects(config.store)
    build_serial(variant(config, volume={"spacing_mm": 1.0}))
    found = prune(objects, 1, 0)
    assert (found.versions, len(found.units["volumes"])) == ((1, 2, 3), 6)
    assert_whole(config.store, 4)


def test_a_rolled_back_version_keeps_the_tables_of_another_run(config: Config) -> None:
    objects = LocalObjects(config.store)
    rollback(objects, 1, "back")
    found = prune(objects, 1, 0)
    assert (found.kept, counts(found)["tables"], counts(found)["volumes"]) == ((4,), 2, 6)
    assert_whole(config.store, 4)
    build = build_serial(variant(config, volume={"spacing_mm": 1.0}))
    assert (build.converted, build.published.is_new) == (0, False)


def test_what_is_younger_than_the_grace_period_stays(config: Config) -> None:
    objects = LocalObjects(config.store)
    assert prune(objects, 1, 7 * DAY_S).kept == (1, 2, 3)
    # Old versions whose volumes were written, or reused, a moment ago.
    make_all_older(config.store, 8 * DAY_S, "versions")
    build_serial(variant(config, volume={"spacing_mm": 1.0}))
    found = prune(objects, 1, 7 * DAY_S)
    assert (found.kept, found.versions, found.younger) == ((4,), (1, 2, 3), 6 + 3)
    assert counts(found) == {"volumes": 0, "tables": 0, "reports": 0, ".partial": 0}
    assert_whole(config.store, 4)
    make_all_older(config.store, 8 * DAY_S)
    found = prune(objects, 1, 7 * DAY_S)
    assert (counts(found)["volumes"], counts(found)["tables"], found.younger) == (6, 3, 0)


def test_a_young_version_keeps_all_after_it(config: Config) -> None:
    make_all_older(config.store, 8 * DAY_S)
    path = Path(config.store, version_path(2))
    os.utime(path)
    assert prune(LocalObjects(config.store), 1, 7 * DAY_S).kept == (2, 3)
    assert_whole(config.store, 2, 3)


def test_what_the_store_does_not_know_is_left_alone(config: Config) -> None:
    objects = LocalObjects(config.store)
    strangers = [
        *("notes.txt", "volumes/notes.txt", "tables/notes.txt", "versions/notes.txt", ".partial/notes.txt"),
        *(
            "volumes/masks/0123456789abcdef/0",
            "volumes/000001_01_01_003-005/notes/0",
            "tables/mine/a.parquet",
        ),
        *("versions/0000004.json", "reports/x/a.html", ".partial/keep/0123456789abcdef0123456789abcdef"),
    ]
    partial = ".partial/0123456789abcdef0123456789abcdef"
    for name in (*strangers, "reports/000001/index.html", "reports/3/index.html", partial):
        objects.write(name, b"x")
    assert counts(prune(objects, 1, 0)) == {"volumes": 6, "tables": 2, "reports": 1, ".partial": 1}
    assert all(objects.size(name) == 1 for name in (*strangers, "reports/3/index.html"))
    assert objects.size("reports/000001/index.html") is objects.size(partial) is None


def test_the_record_of_a_split_run_stays_with_its_parts(tmp_path: Path) -> None:

    write_release(tmp_path / "release", PRESENT, ROWS, zipped=False)
    path = tmp_path / "release" / "Images_png" / "000001_01_01" / "004.png"
    path.write_bytes(b"no PNG")
    config = tiny_config(tmp_path / "release", tmp_path / "store", zipped=False)
    build_serial(config)
    objects = LocalObjects(config.store)
    (record,) = Path(config.store).glob("volumes/*/*.split.json")
    assert prune(objects, 1, 0).units["volumes"] == ()
    assert read_split(objects, record.parent.name, record.name.partition(".")[0]) is not None
    build_serial(variant(config, volume={"spacing_mm": 2.0}))
    assert prune(objects, 1, 0).versions == (1,)
    assert not record.exists()
    assert_whole(config.store, 2)
    assert build_serial(variant(config, volume={"spacing_mm": 2.0})).converted == 0


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


@pytest.mark.parametrize("what", ["volumes", "tables"])
def test_a_kept_version_that_names_what_is_not_there_stops_it(config: Config, what: str) -> None:
    """As when one character of a path was changed: what it should name is named by no version."""
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


def test_a_dry_run_writes_nothing_at_all(config: Config) -> None:
    class ReadOnly(LocalObjects):
        def write(self, name: str, *pieces: bytes) -> None:
            raise PermissionError(name)

    assert prune(ReadOnly(config.store), 1, 0, dry_run=True) == prune(LocalObjects(config.store), 1, 0)


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


@pytest.mark.slow
def test_in_a_bucket_it_is_the_same_in_few_requests(tmp_path: Path, s3_bucket: Bucket) -> None:
    write_release(tmp_path / "release", PRESENT, ROWS)
    config = tiny_config(tmp_path / "release", Path("unused")).model_copy(
        update={"store": f"{s3_bucket.url}/store"}
    )
    three_versions(config)
    objects = open_objects(config.store)
    before = s3_bucket.all_keys()
    assert prune(objects, 1, 7 * DAY_S).kept == (1, 2, 3)
    dry = prune(objects, 2, 0, dry_run=True)
    assert s3_bucket.all_keys() == before
    assert prune(objects, 2, 0) == dry
    assert counts(dry) == {"volumes": 3, "tables": 1, "reports": 0, ".partial": 0}
    assert_whole(config.store, 2, 3)
    # The version file, its summary, and what it named.
    assert len(s3_bucket.all_keys()) == len(before) - 2 - sum(
        len(unit.sizes) for units in dry.units.values() for unit in units
    )
    assert (read_version(objects) or {})["version"] == 3
