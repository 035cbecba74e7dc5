"""Tables computed from voxels, through the life of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.core.config import Config
from etl.core.errors import GuardError
from etl.io.opening import open_objects
from etl.pipeline.derive import derive
from etl.run.protocol import Executor
from etl.run.serial import SerialExecutor
from etl.store import open_store
from etl.store.history import rollback
from etl.store.prune import prune
from tests.support.planes import V1, V2, V3, coverage, planes_config, rows, run
from tests.support.s3_server import Bucket
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, files_of, problems
from tests.support.tiny_release import build_serial, csv_row, write_release
from tests.support.toy_derivations import PEAKS_OF_LESIONS


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return planes_config(tmp_path)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def built(request: pytest.FixtureRequest, config: Config) -> Config:
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("s3_bucket")
        config = config.model_copy(update={"store": f"{bucket.url}/store"})
    build_serial(config)
    return config


def rejects(config: Config) -> list[tuple[Any, ...]]:
    return [row[:2] for row in rows(config, "planes_rejects")]


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["fault", "bug", "stranger", "twice"])
def test_one_faulty_volume_does_not_end_the_others(config: Config, fault: str) -> None:
    build_serial(config)
    done = run(config, faults=((FIRST + "_003", fault),))
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V1, "volume_not_derived")]
    assert {row[0] for row in rows(config)} == {V2, V3}
    assert problems(config) == []


@pytest.mark.slow
def test_many_faulty_volumes_publish_nothing(config: Config) -> None:
    build_serial(config)
    with pytest.raises(GuardError, match="too many volumes give no rows"):
        run(config, faults=(("000001", "bug"),))
    assert open_store(config.store).version["version"] == 1
    assert len(run(config, faults=(("000001", "bug"),), most=0.7).rejects) == 2
    assert run(config).computed == 2


@pytest.mark.slow
def test_a_limit_tries_what_was_rejected_before_last(config: Config) -> None:
    build_serial(config)
    faulty = {"faults": ((FIRST + "_003", "fault"),), "limit": 1}
    assert [run(config, **faulty).computed for _ in range(4)] == [0, 1, 1, 0]
    assert (coverage(config), rejects(config)) == ({"covered": 2, "of": 3}, [(V1, "volume_not_derived")])
    run(config, added=1.0, **faulty)
    # One may be rejected; that one counts although this run did not try it.
    with pytest.raises(GuardError, match="2 of 3"):
        run(config, added=1.0, faults=((FIRST, "fault"),), limit=1)


def test_a_volume_that_no_worker_has_memory_for_is_a_reject(config: Config) -> None:
    build_serial(config)
    executor = SerialExecutor()
    executor.largest_task_bytes = 100
    done = run(config, executor, needs_bytes=101)
    assert [(r.volume_id, r.reason) for r in done.rejects] == [(V3, "volume_too_large")]
    assert run(config, executor, needs_bytes=100).computed == 1


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_file_of_an_earlier_run_gives_no_rows_of_a_volume_that_is_computed_again(
    config: Config, tmp_path: Path
) -> None:
    """The volume has one more lesion now; the file has its other lesion, and those of other volumes."""
    build_serial(config)
    store = open_store(config.store)
    derive(store, PEAKS_OF_LESIONS, SerialExecutor())
    rollback(store.objects, 1, "back")
    write_release(tmp_path / "release", PRESENT, (*ROWS, csv_row(FIRST, 5, (3, 5))))
    build_serial(config)
    done = derive(open_store(config.store), PEAKS_OF_LESIONS, SerialExecutor())
    assert (done.computed, done.found) == (1, 2)
    assert done.version["added_tables"]["peaks"]["coverage"] == {"covered": 4, "of": 4}
    assert [lesion_id for lesion_id, _ in rows(config, "peaks")] == [0, 1, 2, 3]
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
