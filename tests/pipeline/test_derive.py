"""Tables computed from voxels, through the life of a store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.core.config import Config
from etl.core.errors import GuardError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.pipeline import derive as derive_module
from etl.pipeline.derive import Derivations, derive
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store import open_store
from etl.store.history import rollback
from etl.store.prune import prune
from tests.support.s3_server import Bucket
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, files_of, problems
from tests.support.tiny_release import build_serial, tiny_config, write_release
from tests.support.toy_derivations import PEAKS_OF_LESIONS, plane_means

V1, V2, V3 = f"{FIRST}_003-005", f"{FIRST}_007-007", f"{SECOND}_001-002"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_release(tmp_path / "release", PRESENT, ROWS)
    return tiny_config(tmp_path / "release", tmp_path / "store")


@pytest.fixture(params=["folder", "bucket"])
def built(request: pytest.FixtureRequest, config: Config) -> Config:
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        config = config.model_copy(update={"store": f"{bucket.url}/store"})
    build_serial(config)
    return config


def run(
    config: Config,
    executor: Executor | None = None,
    most: float = 0.01,
    volumes_a_part: int = 32,
    **options: Any,
) -> Derivations:
    return derive(
        open_store(config.store),
        plane_means(**options),
        executor or SerialExecutor(),
        most_rejects=most,
        volumes_a_part=volumes_a_part,
    )


def rows(config: Config, table: str = "planes") -> list[tuple[Any, ...]]:
    frame = open_store(config.store).table(table)
    return [tuple(row) for row in frame.itertuples(index=False)]


def rejects(config: Config) -> list[tuple[Any, ...]]:
    return [row[:2] for row in rows(config, "planes_rejects")]


def coverage(config: Config) -> dict[str, int]:
    found: dict[str, int] = open_store(config.store).version["added_tables"]["planes"]["coverage"]
    return found


@pytest.mark.slow
def test_a_derived_table_through_the_life_of_a_store(built: Config, tmp_path: Path) -> None:
    store = open_store(built.store)
    done = run(built)
    assert (done.version["version"], done.is_new, done.computed, done.rejects) == (2, True, 3, ())
    expected = [
        (name, z, float(plane.mean()))
        for name in (V1, V2, V3)
        for z, plane in enumerate(store.array(name)[:])
    ]
    assert rows(built) == expected
    assert coverage(built) == {"covered": 3, "of": 3}
    assert (done.version["volumes"], done.version["parent"]) == (store.version["volumes"], 1)
    assert problems(built) == []
    again = run(built)
    assert (again.version["version"], again.is_new, again.computed) == (2, False, 0)
    assert build_serial(built).published.is_new is False  # the nightly build

    write_release(tmp_path / "release", PRESENT | {SECOND: [2]}, ROWS)
    build_serial(built)
    assert coverage(built) == {"covered": 2, "of": 3}
    assert run(built).computed == 1
    assert (coverage(built), problems(built)) == ({"covered": 3, "of": 3}, [])
    old, new = (open_store(built.store, n).version["tables"]["planes"] for n in (2, 4))
    assert len(old) == 1
    assert len(new) == 2

    other = run(built, added=1.0)  # other parameters: everything is computed again
    assert (other.version["version"], other.computed) == (5, 3)
    assert rows(built)[0] == (V1, 0, expected[0][2] + 1)
    back = run(built)
    assert (back.computed, back.found) == (0, 3), "files of versions 2 and 4 are there"
    assert rows(built)[:4] == expected[:4]
    assert problems(built) == []

    rollback(open_objects(built.store), 2, "back")
    assert rows(built) == expected
    prune(open_objects(built.store), keep=1, grace_s=0)
    assert (rows(built), problems(built)) == (expected, [])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda shard: shard.unlink(), "volume_unreadable"),
        (lambda shard: shard.write_bytes(b""), "volume_unreadable"),
        (lambda shard: shard.write_bytes(shard.read_bytes()[:-1]), "volume_unreadable"),
        (lambda shard: (shard.parents[3] / "zarr.json").write_text("{"), "volume_unreadable"),
    ],
)
def test_a_damaged_volume_is_a_reject_until_it_is_repaired(
    config: Config, spoil: Callable[[Path], Any], reason: str
) -> None:
    build_serial(config)
    folder = Path(config.store, open_store(config.store).volumes().set_index("volume_id").loc[V3, "path"])
    whole = files_of(str(folder))
    spoil(folder / "0/c/0/0/0")
    done = run(config)
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V3, reason)]
    assert (coverage(config), rejects(config)) == ({"covered": 2, "of": 3}, [(V3, reason)])
    assert run(config).version["version"] == done.version["version"], "the same fault is no news"
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    repaired = run(config)
    assert (repaired.computed, coverage(config), rejects(config)) == (1, {"covered": 3, "of": 3}, [])
    assert problems(config) == []


@pytest.mark.parametrize("fault", ["fault", "bug", "stranger", "twice"])
def test_one_faulty_volume_does_not_end_the_others(config: Config, fault: str) -> None:
    build_serial(config)
    done = run(config, faults=((FIRST + "_003", fault),))
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V1, "volume_not_derived")]
    assert {row[0] for row in rows(config)} == {V2, V3}
    assert problems(config) == []


def test_many_faulty_volumes_publish_nothing(config: Config) -> None:
    build_serial(config)
    with pytest.raises(GuardError, match="too many volumes give no rows"):
        run(config, faults=(("000001", "bug"),))
    assert open_store(config.store).version["version"] == 1
    assert len(run(config, faults=(("000001", "bug"),), most=0.7).rejects) == 2
    assert run(config).computed == 2


def test_a_volume_that_no_worker_has_memory_for_is_a_reject(config: Config) -> None:
    build_serial(config)
    executor = SerialExecutor()
    executor.largest_task_bytes = 100
    done = run(config, executor, needs_bytes=101)
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V3, "volume_too_large")]
    assert run(config, executor, needs_bytes=100).computed == 1


def test_rows_of_lesions(config: Config, tmp_path: Path) -> None:
    build_serial(config)
    store = open_store(config.store)
    derive(store, PEAKS_OF_LESIONS, SerialExecutor())
    peaks = [int(store.array(name)[:].max()) for name in store.lesions()["volume_id"]]
    assert rows(config, "peaks") == [(n, peak) for n, peak in enumerate(peaks)]
    moved = ROWS[1] | {"Bounding_boxes": "5, 5, 12, 13"}
    write_release(tmp_path / "release", PRESENT, (ROWS[0], moved, ROWS[2]))
    build_serial(config)
    done = derive(open_store(config.store), PEAKS_OF_LESIONS, SerialExecutor())
    assert done.computed == 1
    assert done.version["added_tables"]["peaks"]["coverage"] == {"covered": 3, "of": 3}
    assert problems(config) == []


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


@pytest.mark.slow
def test_workers_give_the_same_files_as_one_process(
    config: Config, two_workers: Executor, tmp_path: Path
) -> None:
    build_serial(config)
    other = config.model_copy(update={"store": str(tmp_path / "other")})
    build_serial(other)
    one, two = run(config, volumes_a_part=1), run(other, two_workers, volumes_a_part=1)
    names = [[entry["path"].split("/")[-1] for entry in d.version["tables"]["planes"]] for d in (one, two)]
    assert len(names[0]) == 3
    assert names[0] == names[1]
    sums = [[entry["sha256"] for entry in done.version["tables"]["planes"]] for done in (one, two)]
    assert sums[0] == sums[1]


@pytest.mark.campaign
def test_a_volume_that_kills_its_worker_is_a_reject(config: Config) -> None:
    from etl.run.cluster_kinds import Local
    from etl.run.clusters import connect

    build_serial(config)
    with connect(Local(kind="local", workers=1), module="tests.support.toy_derivations") as executor:
        done = run(config, executor, faults=((SECOND, "kill"),))
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V3, "volume_kills_worker")]
    assert done.computed == 2
    assert problems(config) == []
