"""A run that computes a table ends at any write: the next one goes on from the files that are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core.config import Config
from etl.io.local import LocalObjects
from etl.pipeline import derive as derive_module
from etl.pipeline.derive import derive
from etl.run.serial import SerialExecutor
from etl.store import open_store
from tests.support import tiny_release
from tests.support.planes import V2, V3, coverage, planes_config, rows, run
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, problems
from tests.support.tiny_release import build_serial, slice_png, write_release
from tests.support.toy_derivations import plane_means


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return planes_config(tmp_path)


class Struck(BaseException):
    """The process ends here."""


@pytest.mark.slow
def test_a_run_that_ends_at_any_write_is_continued(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_serial(config)
    pristine = shutil.copytree(config.store, tmp_path / "pristine")
    run(config)
    expected = rows(config)
    writes = 0

    def struck_at(last: int, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(self: LocalObjects, name: str, *pieces: bytes) -> Any:
            nonlocal writes
            writes += 1
            if writes == last:
                raise Struck(name)
            return call(self, name, *pieces)

        return write

    for last in range(1, 30):
        store = shutil.copytree(pristine, tmp_path / f"store-{last}")
        struck = config.model_copy(update={"store": str(store)})
        writes, is_published = 0, False
        with monkeypatch.context() as patch:
            patch.setattr(LocalObjects, "write", struck_at(last, LocalObjects.write))
            patch.setattr(LocalObjects, "create", struck_at(last, LocalObjects.create))
            try:
                run(struck, volumes_a_part=1)
            except Struck as end:
                is_published = str(end).startswith("versions/summaries/")
                assert ("planes" in open_store(struck.store).version["tables"]) is is_published
            else:
                break
        there = len(list(store.glob("tables/*/planes/*.parquet")))
        done = run(struck)
        assert (done.computed, done.found) == ((0, 0) if is_published else (3 - there, there))
        assert (rows(struck), problems(struck)) == (expected, [])
    assert last > 6


@pytest.mark.slow
def test_a_version_of_a_killed_runs_files_leaves_out_what_changed(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_serial(config)
    before = open_store(config.store)
    with monkeypatch.context() as patch:

        def stop(*arguments: Any) -> None:
            raise Struck

        patch.setattr(derive_module, "add_tables", stop)
        with pytest.raises(Struck):
            run(config, volumes_a_part=2)
    write_release(tmp_path / "release", PRESENT | {FIRST: [3, 4, 7]}, ROWS)
    build_serial(config)
    # A job that read the older version publishes on the newer one: what changed is left out.
    done = derive(before, plane_means(), SerialExecutor())
    assert (done.computed, done.found) == (0, 3)
    assert coverage(config) == {"covered": 2, "of": 3}
    assert run(config).computed == 1
    assert (coverage(config), problems(config)) == ({"covered": 3, "of": 3}, [])
    assert {row[0] for row in rows(config)} == {f"{FIRST}_003-004", V2, V3}


@pytest.mark.slow
def test_a_killed_runs_file_does_not_stand_for_a_volume_that_changed_since(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_serial(config)
    with monkeypatch.context() as patch:

        def stop(*arguments: Any) -> None:
            raise Struck

        patch.setattr(derive_module, "add_tables", stop)
        with pytest.raises(Struck):
            run(config)
    other = {FIRST: FIRST, SECOND: "000009_01_01"}
    monkeypatch.setattr(tiny_release, "slice_png", lambda series, index: slice_png(other[series], index))
    write_release(tmp_path / "release", PRESENT, ROWS)
    build_serial(config)
    done = run(config)
    assert (done.computed, done.found) == (1, 2)
    assert (coverage(config), problems(config)) == ({"covered": 3, "of": 3}, [])
    means = [float(plane.mean()) for plane in open_store(config.store).array(V3)[:]]
    assert [row[2] for row in rows(config) if row[0] == V3] == means


@pytest.mark.slow
def test_a_damaged_file_of_a_killed_run_is_computed_again(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version has its checksum yet: its name has."""

    def stop(*arguments: Any) -> None:
        raise Struck

    build_serial(config)
    with monkeypatch.context() as patch:
        patch.setattr(derive_module, "add_tables", stop)
        with pytest.raises(Struck):
            run(config)
    (file,) = Path(config.store).glob("tables/*/planes/*.parquet")
    changed = pq.read_table(file)
    means = pa.array([0.5] * len(changed))
    changed = changed.set_column(2, changed.schema.field("mean_hu"), means)
    pq.write_table(changed, file)
    done = run(config)
    assert (done.computed, done.found) == (3, 0)
    assert problems(config) == []
