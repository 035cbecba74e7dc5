"""The contents of versions, their differences, and rollbacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import GuardError, StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.store.history import Change, difference, missing_objects, rollback, table_rows
from etl.store.layout import receipt_path, version_path
from etl.store.named import stored_bytes
from etl.store.reader import open_store
from etl.store.versions import OWN_KEYS, read_version
from etl.verify.verify import verify
from tests.support.s3_server import Bucket
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, files_of, variant
from tests.support.tiny_release import build_serial, written

FEWER = {"allow_fewer_volumes": True, "allow_fewer_lesions": True}


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """The config of a store of two versions: all three volumes; then the first alone, at 2 mm."""
    config = written(tmp_path, PRESENT, ROWS)
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        config = config.model_copy(update={"store": bucket.url})
    build_serial(config)
    build_serial(variant(config, volume={"spacing_mm": 2.0}, select={"limit": 1}, limits=FEWER))
    return config


@pytest.mark.slow
def test_what_differs(config: Config) -> None:
    first, second = open_store(config.store, 1).version, open_store(config.store, 2).version
    found = difference(first, second)
    assert found.config == (
        Change("volume.spacing_mm", 1.0, 2.0),
        Change("select.limit", None, 1),
        Change("limits.allow_fewer_volumes", False, True),
        Change("limits.allow_fewer_lesions", False, True),
    )
    assert (found.code, found.annotations, found.archives) == ((), (), ())
    assert Change("volumes", 3, 1) in found.counts
    assert Change("slices", 6, 1) in found.rows or Change("slices", 6, 3) in found.rows
    assert (found.added, found.removed) == ((), (f"{FIRST}_007-007", f"{SECOND}_001-002"))
    assert (found.changed, found.same) == ((f"{FIRST}_003-005",), 0)
    back = difference(second, first)
    assert back.added == found.removed
    assert back.config[0] == Change("volume.spacing_mm", 2.0, 1.0)
    same = difference(first, first)
    assert same.same == 3
    assert not any((same.config, same.counts, same.rows, same.added, same.removed, same.changed))


@pytest.mark.slow
def test_what_a_version_holds(config: Config) -> None:
    version = open_store(config.store, 1).version
    assert table_rows(version) == {"lesions": 3, "volumes": 3, "slices": 6, "rejects": 0}
    objects = open_objects(config.store)
    named = [entry["path"] for files in version["tables"].values() for entry in files]
    sizes = [objects.size(name) or 0 for name in named]
    for volume in version["volumes"]:
        sizes += [*objects.sizes(volume["path"]).values(), objects.size(receipt_path(volume["path"])) or 0]
    assert stored_bytes(version) == sum(sizes)


@pytest.mark.slow
def test_a_rollback_is_a_new_version_equal_to_the_old(config: Config) -> None:
    objects = open_objects(config.store)
    old = open_store(config.store, 1)
    version, is_new = rollback(objects, 1, "back")
    assert is_new
    assert (version["version"], version["parent"], version["run_id"]) == (3, 2, "back")
    assert version["rollback_of"] == 1
    own = {*OWN_KEYS, "run_id", "created_at", "rollback_of"}
    assert {k: v for k, v in version.items() if k not in own} == {
        k: v for k, v in old.version.items() if k not in own
    }
    assert version.keys() == old.version.keys()
    now = open_store(config.store)
    assert now.version == version == json.loads(objects.read(version_path(3)))
    assert now.lesions().equals(old.lesions())
    assert (now.array(f"{SECOND}_001-002")[:] == old.array(f"{SECOND}_001-002")[:]).all()
    assert verify(objects, 3).problems == ()
    # Once more, or by the build that made it: nothing is to be done.
    assert rollback(objects, 1, "again") == (version, False)
    assert rollback(objects, 3, "again") == (version, False)
    build = build_serial(config)
    assert (build.converted, build.published.is_new, build.published.version) == (0, False, version)
    # And forward again.
    assert rollback(objects, 2, "forward")[0]["parent"] == 3
    assert open_store(config.store).version["counts"]["volumes"] == 1


@pytest.mark.slow
def test_a_build_mends_the_tables_of_a_rolled_back_version(config: Config) -> None:
    objects = open_objects(config.store)
    version, _ = rollback(objects, 1, "back")
    path = version["tables"]["volumes"][0]["path"]
    whole = objects.read(path)
    objects.write(path, whole[:-1])
    assert not build_serial(config).published.is_new
    assert objects.read(path) == whole
    assert not list(objects.list("tables/back"))


@pytest.mark.slow
def test_a_rollback_to_what_is_not_whole_is_refused_and_names_it(config: Config) -> None:
    objects = open_objects(config.store)
    version = open_store(config.store, 1).version
    table, volume = version["tables"]["lesions"][0]["path"], version["volumes"][2]["path"]
    receipt = receipt_path(version["volumes"][1]["path"])
    shard = objects.read(f"{volume}/0/c/0/0/0")
    objects.remove(table)
    objects.write(f"{volume}/0/c/0/0/0", shard[:-1])
    objects.write(receipt, objects.read(receipt) + b" ")
    with pytest.raises(GuardError) as caught:
        rollback(objects, 1, "back")
    said = str(caught.value)
    assert f"{table}: missing" in said
    assert f"{volume}/0/c/0/0/0: {len(shard) - 1} bytes, {len(shard)} bytes expected" in said
    assert f"{receipt}: not the one" in said
    assert "3 objects" in said
    assert caught.value.exit_code == 3
    assert (read_version(objects) or {})["version"] == 2
    assert missing_objects(objects, open_store(config.store, 2).version) == []


@pytest.mark.slow
def test_there_is_no_such_version(config: Config) -> None:
    with pytest.raises(StoreError, match="no such version"):
        rollback(open_objects(config.store), 7, "back")


@pytest.mark.slow
def test_a_rollback_that_is_overtaken_goes_on_top(tmp_path: Path) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    build_serial(config)
    build_serial(variant(config, volume={"spacing_mm": 2.0}))
    others = [variant(config, volume={"spacing_mm": 4.0})]

    class Overtaken(LocalObjects):
        def create(self, name: str, data: bytes) -> bool:
            while others:
                build_serial(others.pop())
            return super().create(name, data)

    version, _ = rollback(Overtaken(config.store), 1, "back")
    assert (version["version"], version["parent"], version["rollback_of"]) == (4, 3, 1)
    before = files_of(config.store)
    assert rollback(LocalObjects(config.store), 1, "back")[1] is False
    assert files_of(config.store) == before
