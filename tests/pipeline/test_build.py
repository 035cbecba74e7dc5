"""One build, several ways: the same bytes on every executor; a changed parameter takes nothing away."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.convert.reuse import find_all
from etl.core.errors import GuardError, RunError, SourceError, StoreError
from etl.io.local import LocalObjects
from etl.phantom import PhantomTruth
from etl.pipeline.build import load_plan
from etl.run.clusters import chosen_cluster, connect
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.stored import (
    build_store,
    config_data,
    config_of,
    files_below,
    published_files,
    read_versions,
    table_bytes,
    without_run,
)
from tests.support.three_volumes import PRESENT, ROWS
from tests.support.tiny_release import build_serial, written

# Three of the phantom's patients: a gap, two intervals, padding, several archives.
SELECT = {"patients": [1, 2, 3]}
VOLUMES = 6


def coarse(release: Path, store: Path, **sections: Any) -> dict[str, Any]:
    """Return a config of 3 mm voxels."""
    return config_data(release, store, **{"volume": {"spacing_mm": 3.0}} | sections)


@pytest.fixture(scope="module")
def release(phantom: tuple[Path, PhantomTruth]) -> Path:
    return phantom[0]


@pytest.fixture(scope="module")
def serial_store(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the serial executor, the oracle. Read only."""
    root = tmp_path_factory.mktemp("serial")
    build_store(coarse(release, root, select=SELECT), SerialExecutor())
    return root


@pytest.mark.slow
def test_dask_builds_the_same_bytes(
    two_workers: Executor, release: Path, serial_store: Path, tmp_path: Path
) -> None:
    done = build_store(coarse(release, tmp_path / "store", select=SELECT, cluster="local"), two_workers)
    assert (done.converted, done.reused) == (VOLUMES, 0)
    assert files_below(tmp_path / "store" / "volumes") == files_below(serial_store / "volumes")
    (version,), (serial,) = read_versions(tmp_path / "store"), read_versions(serial_store)
    assert table_bytes(tmp_path / "store", version) == table_bytes(serial_store, serial)
    assert without_run(version) == without_run(serial)


@pytest.mark.slow
def test_second_build_converts_nothing_and_adds_no_version(release: Path, tmp_path: Path) -> None:
    data = coarse(release, tmp_path / "store", select={"patients": [1]})
    first = build_store(data, SerialExecutor())
    before = published_files(tmp_path / "store")
    second = build_store(data, SerialExecutor())
    assert (first.converted, first.reused, first.published.is_new) == (1, 0, True)
    assert (second.converted, second.reused, second.published.is_new) == (0, 1, False)
    assert (second.converted_slices, second.source_bytes) == (0, 0)
    assert published_files(tmp_path / "store") == before


@pytest.mark.slow
def test_damaged_volume_is_built_again_to_the_same_bytes(release: Path, tmp_path: Path) -> None:
    data = coarse(release, tmp_path / "store", select={"patients": [2]})
    build_store(data, SerialExecutor())
    before = published_files(tmp_path / "store")
    cut, lost, _ = sorted((tmp_path / "store" / "volumes").glob("*/*.ome.zarr"))
    shard = next((cut / "0").rglob("c/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (lost / "zarr.json").unlink()
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused, again.published.is_new) == (2, 1, False)
    assert published_files(tmp_path / "store") == before


@pytest.mark.slow
def test_a_shard_of_other_bytes_and_the_same_size_is_replaced(release: Path, tmp_path: Path) -> None:
    data = coarse(release, tmp_path / "store", select={"patients": [2]})
    build_store(data, SerialExecutor())
    before = published_files(tmp_path / "store")
    shard = next((tmp_path / "store" / "volumes").rglob("0/c/0/0/0"))
    shard.write_bytes(bytes(reversed(shard.read_bytes())))
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused, again.published.is_new) == (1, 2, False)
    assert published_files(tmp_path / "store") == before


@pytest.mark.slow
def test_a_copied_store_is_planned_unread_then_read_once(release: Path, tmp_path: Path) -> None:
    """Times of a copy mean nothing: here its receipts are older than the objects that they prove."""
    data = coarse(release, tmp_path / "store", select={"patients": [2]})
    build_store(data, SerialExecutor())
    receipts = sorted((tmp_path / "store" / "volumes").rglob("*.receipt.json"))
    for receipt in receipts:
        os.utime(receipt, (0, 0))
    config = config_of(data)
    found = find_all(config.store, load_plan(config))
    assert [len(reusable.unproven) for reusable in found] == [1, 1, 1]
    assert {receipt.stat().st_mtime for receipt in receipts} == {0}

    before = published_files(tmp_path / "store")
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused, again.published.is_new) == (0, 3, False)
    assert published_files(tmp_path / "store") == before
    assert [len(reusable.unproven) for reusable in find_all(config.store, load_plan(config))] == [0, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"spacing_mm": 2.0},
        {"interpolation": "nearest"},
        {"antialias": False},
        {"clip_hu": [-1000, 1000]},
        {"chunk": [32, 64, 64]},
        {"codec": {"level": 3}},
        {"pyramid_levels": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_parameter_adds_paths_and_keeps_the_old_version(
    change: dict[str, Any], release: Path, tmp_path: Path
) -> None:
    select = {"patients": [1]}
    root = tmp_path / "store"
    build_store(coarse(release, root, select=select), SerialExecutor())
    before = files_below(root)
    old = open_store(str(root))
    voxels = old.array("000001_01_01_103-115")[...]

    volume = {"spacing_mm": 3.0} | change
    again = build_store(coarse(release, root, select=select, volume=volume), SerialExecutor())
    assert (again.converted, again.published.version["version"]) == (1, 2)
    after = files_below(root)
    assert {name: after[name] for name in before} == before
    pinned = open_store(str(root), version=1)
    assert pinned.version == old.version
    np.testing.assert_array_equal(pinned.array("000001_01_01_103-115")[...], voxels)
    assert set(pinned.volumes()["path"]).isdisjoint(open_store(str(root)).volumes()["path"])
    assert len(open_store(str(root)).lesions()) == len(pinned.lesions()) == 3


@pytest.mark.slow
def test_guard_refuses_fewer_volumes_unless_allowed_by_name(release: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    build_store(coarse(release, root, select={"patients": [1, 5]}), SerialExecutor())
    fewer = coarse(release, root, select={"patients": [1]})
    with pytest.raises(GuardError, match="fewer lesions than version 1; nothing was converted"):
        build_store(fewer, SerialExecutor())
    assert len(read_versions(root)) == 1
    fewer["limits"] |= {"allow_fewer_volumes": True, "allow_fewer_lesions": True}
    assert build_store(fewer, SerialExecutor()).published.version["version"] == 2


def test_store_that_cannot_be_written_stops_before_any_work(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    data = coarse(release, tmp_path / "file" / "store")

    class Unused(SerialExecutor):
        def run(self, function: object, items: object) -> Any:
            raise AssertionError("work was started")

    with pytest.raises(StoreError, match="can't be written"):
        build_store(data, Unused())


def test_selection_of_nothing_says_so(release: Path, tmp_path: Path) -> None:
    data = coarse(release, tmp_path / "store", select={"patients": [99]})
    with pytest.raises(SourceError, match="nothing to build") as caught:
        build_store(data, SerialExecutor())
    assert "280 not selected" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_failed_publishing_keeps_the_volumes(release: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / "tables").write_text("in the way")
    data = coarse(release, root, select={"patients": [1]})
    with pytest.raises(RunError, match="could not be published") as caught:
        build_store(data, SerialExecutor())
    assert str(root) in str(caught.value)
    (root / "tables").unlink()
    again = build_store(data, SerialExecutor())
    assert (again.converted, again.reused, again.published.version["version"]) == (0, 1, 1)


@pytest.mark.parametrize("answers", [0, 1])
def test_a_store_that_does_not_say_how_full_it_is(
    answers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(tmp_path, PRESENT, ROWS)
    left = [1 << 40] * answers

    def free_bytes(objects: LocalObjects) -> int:
        if not left:
            raise OSError(errno.ESTALE, "Stale file handle", objects.root)
        return left.pop()

    monkeypatch.setattr(LocalObjects, "free_bytes", free_bytes)
    with pytest.raises(StoreError, match=r"the store can't be read(.|\n)*Stale file handle"):
        build_serial(config)


def test_cluster_named_serial_starts_no_cluster() -> None:
    with connect(chosen_cluster("serial")) as executor:
        assert isinstance(executor, SerialExecutor)
        assert list(executor.run(str, [1, 2])) == ["1", "2"]
