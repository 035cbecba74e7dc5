"""Pruning: what no kept version names goes, in an order that a kill anywhere does no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.history import rollback
from etl.store.layout import TABLES_FOLDER, summary_path, version_path
from etl.store.prune import Pruning, prune
from etl.store.receipts import read_split
from etl.store.tags import write_tag
from etl.store.versions import (
    new_run_id,
    publish_version,
    read_version,
    table_entries,
    under_new_run,
)
from tests.support.s3_server import Bucket
from tests.support.three_volumes import PRESENT, ROWS, assert_whole, built_three_times, files_of, variant
from tests.support.tiny_release import build_serial, written

DAY_S = 86400.0


@pytest.fixture
def config(three_versions: Config) -> Config:
    """The config of a store of three versions that share no volume; the last is of 4 mm."""
    return variant(three_versions, volume={"spacing_mm": 4.0})


def make_all_older(store: str, seconds: float, below: str = "") -> None:
    for path in Path(store, below).rglob("*"):
        written = path.stat().st_mtime - seconds
        os.utime(path, (written, written))


def counts(pruning: Pruning) -> dict[str, int]:
    """Return the numbers of deleted units, but for records of runs, which have a test of their own."""
    known = {folder: len(units) for folder, units in pruning.units.items()}
    assert (known.pop("labels"), known.pop("models")) == (0, 0)
    known.pop("runs")
    return known


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


def test_a_table_that_is_carried_on_keeps_no_other_table_of_its_run(config: Config) -> None:
    objects = LocalObjects(config.store)
    first, current = read_version(objects, 1) or {}, read_version(objects) or {}
    carried = {"rejects": first["tables"]["rejects"]}
    body = under_new_run(current, "carry") | {"tables": {**current["tables"], **carried}}
    publish_version(objects, "carry", lambda parent: body)
    stranger = f"tables/{first['run_id']}/notes.txt"
    objects.write(stranger, b"x")
    found = prune(objects, 1, 0)
    assert (found.kept, counts(found)["tables"]) == ((4,), 3)
    names = {f"{TABLES_FOLDER}/{name}" for name in objects.listed(TABLES_FOLDER)}
    assert names == {item["path"] for item in table_entries(body)} | {stranger}
    assert_whole(config.store, 4)


def test_what_is_younger_than_the_grace_period_stays(config: Config) -> None:
    objects = LocalObjects(config.store)
    assert prune(objects, 1, 7 * DAY_S).kept == (1, 2, 3)
    # Old versions whose volumes were written, or reused, a moment ago.
    make_all_older(config.store, 8 * DAY_S, "versions")
    build_serial(variant(config, volume={"spacing_mm": 1.0}))
    found = prune(objects, 1, 7 * DAY_S)
    assert (found.kept, found.versions, found.younger) == ((4,), (1, 2, 3), 6 + 3 + 3)
    assert counts(found) == {"volumes": 0, "tables": 0, "reports": 0, ".partial": 0}
    assert_whole(config.store, 4)
    make_all_older(config.store, 8 * DAY_S)
    found = prune(objects, 1, 7 * DAY_S)
    assert (counts(found)["volumes"], counts(found)["tables"], found.younger) == (6, 3, 0)


def test_records_stay_of_runs_that_a_kept_version_names(config: Config) -> None:
    objects = LocalObjects(config.store)
    made = [read_version(objects, number) or {} for number in (1, 2, 3)]
    rolled_back, _ = rollback(objects, 1, new_run_id())
    build_serial(variant(config, volume={"spacing_mm": 1.0}))  # finds what is there, and publishes nothing
    (unpublished,) = {name.removesuffix(".json") for name in objects.listed("runs")} - {
        version["run_id"] for version in made
    }
    for run_id in (rolled_back["run_id"], made[1]["run_id"]):
        objects.write(f"runs/{run_id}.html", b"of Dask")
    assert [prune(objects, 1, DAY_S).units["runs"] for _ in range(2)] == [(), ()]
    make_all_older(config.store, 2 * DAY_S)
    os.utime(Path(config.store, f"runs/{made[2]['run_id']}.json"))
    found = prune(objects, 1, DAY_S)
    sizes = {unit.path: len(unit.sizes) for unit in found.units["runs"]}
    assert (sizes, found.younger) == ({f"runs/{made[1]['run_id']}": 2, f"runs/{unpublished}": 1}, 1)
    kept = [f"{made[0]['run_id']}.json", f"{made[2]['run_id']}.json", f"{rolled_back['run_id']}.html"]
    assert sorted(objects.listed("runs")) == sorted(kept)
    prune(objects, 1, 0)
    assert sorted(objects.listed("runs")) == sorted([kept[0], kept[2]])


def test_a_young_version_keeps_all_after_it(config: Config) -> None:
    make_all_older(config.store, 8 * DAY_S)
    path = Path(config.store, version_path(2))
    os.utime(path)
    assert prune(LocalObjects(config.store), 1, 7 * DAY_S).kept == (2, 3)
    assert_whole(config.store, 2, 3)


@pytest.mark.parametrize(
    ("lost", "tagged", "keep", "is_refused"),
    [(2, "", 2, True), (3, "", 1, True), (2, "", 1, False), (1, "paper", 1, True), (1, "", 1, False)],
)
def test_what_a_lost_version_named_stays_with_it(
    config: Config, lost: int, tagged: str, keep: int, is_refused: bool
) -> None:
    objects = LocalObjects(config.store)
    if tagged:
        write_tag(objects, tagged, lost)
    if lost == 1:
        objects.remove(summary_path(1))
    objects.remove(version_path(lost))
    if not is_refused:
        assert prune(objects, keep, 0).kept == (3,)
        return
    before = files_of(config.store)
    with pytest.raises(StoreError, match=f"version {lost}, which would stay, is missing; nothing was"):
        prune(objects, keep, 0)
    assert files_of(config.store) == before


def test_what_the_store_does_not_know_is_left_alone(config: Config) -> None:
    objects = LocalObjects(config.store)
    strangers = [
        *("notes.txt", "volumes/notes.txt", "tables/notes.txt", "versions/notes.txt", ".partial/notes.txt"),
        *(
            "volumes/masks/0123456789abcdef/0",
            "volumes/000001_01_01_003-005/notes/0",
            "tables/mine/a.parquet",
        ),
        *("runs/notes.txt", "runs/mine.json", "runs/20260101T000000Z-0123456789.json"),
        *("versions/0000004.json", "reports/x/a.html", ".partial/keep/0123456789abcdef0123456789abcdef"),
    ]
    partial = ".partial/0123456789abcdef0123456789abcdef"
    for name in (*strangers, "reports/000001/index.html", "reports/3/index.html", partial):
        objects.write(name, b"x")
    assert counts(prune(objects, 1, 0)) == {"volumes": 6, "tables": 2, "reports": 1, ".partial": 1}
    assert all(objects.size(name) == 1 for name in (*strangers, "reports/3/index.html"))
    assert objects.size("reports/000001/index.html") is objects.size(partial) is None


def test_the_record_of_a_split_run_stays_with_its_parts(tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS, zipped=False)
    path = tmp_path / "release" / "Images_png" / "000001_01_01" / "004.png"
    path.write_bytes(b"no PNG")
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


def test_a_dry_run_writes_nothing_at_all(config: Config) -> None:
    class ReadOnly(LocalObjects):
        def write(self, name: str, *pieces: bytes) -> None:
            raise PermissionError(name)

    assert prune(ReadOnly(config.store), 1, 0, dry_run=True) == prune(LocalObjects(config.store), 1, 0)


@pytest.mark.slow
def test_in_a_bucket_it_is_the_same_in_few_requests(tmp_path: Path, s3_bucket: Bucket) -> None:
    config = built_three_times(tmp_path, f"{s3_bucket.url}/store")
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
