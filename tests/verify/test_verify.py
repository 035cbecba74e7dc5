"""Verification: an intact version is all right; each kind of damage is found and named, and all at once."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from etl.core.config import Config
from etl.core.config_file import load_config
from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from etl.store.layout import receipt_path, summary_path, to_json, version_path
from etl.store.sealed import sealed
from etl.store.summaries import write_summary
from etl.store.tags import write_tag
from etl.store.version_list import choose_version
from etl.verify.problems import Repair
from etl.verify.verify import Sample, verify
from etl.verify.volume import MOST_PROBLEMS, VolumeCheck, VolumeTask, VolumeVerifier
from tests.support.damage import (
    VERSION,
    VOLUME,
    cut,
    edit_version,
    forge_table,
    forge_volume,
    problems_of,
    set_value,
    short,
    version_of,
)
from tests.support.version_cases import VERSION_CASES, lesion
from tests.support.volume_cases import VOLUME_CASES

DAMAGE = VOLUME_CASES | VERSION_CASES


@pytest.mark.slow
def test_intact_store_is_all_right(config: Config) -> None:
    seen: list[tuple[str, int]] = []
    objects = LocalObjects(config.store)
    result = verify(objects, 1, lambda check, total: seen.append((check.volume_id, total)))
    assert result.problems == ()
    entries = version_of(Path(config.store))["volumes"]
    assert seen == [(entry["volume_id"], len(entries)) for entry in entries]
    # Everything below the store but the version file and the run's record was read, and nothing twice.
    files = [path for path in Path(config.store).rglob("*") if path.is_file()]
    sizes = [
        path.stat().st_size for path in files if path.parent.name not in ("versions", "summaries", "runs")
    ]
    assert result.objects == len(sizes)
    assert result.bytes == sum(sizes)


def test_a_version_older_than_a_column_is_all_right(store: Path) -> None:
    forge_table(store, "slices", lambda table: table.drop_columns(["crc32"]))
    edit_version(store, lambda version: version["schemas"]["slices"].remove(["crc32", "uint32"]))
    assert problems_of(store) == ()


def test_masks_that_the_receipt_lacks_are_missed(store: Path) -> None:
    forge_volume(store, lambda receipt: replace(receipt, slice_masks=receipt.slice_masks[:0]))
    (problem,) = problems_of(store)
    assert problem.what == "number of slices with masks in its receipt is wrong"


def test_a_column_that_the_contract_does_not_have_is_found(store: Path) -> None:
    edit_version(store, lambda version: version["schemas"]["slices"].append(["mood", "string"]))
    (problem,) = problems_of(store)
    assert (problem.what, problem.found) == ("schema of slices is wrong", "[['mood', 'string']]")


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(store: Path, name: str) -> None:
    damage, repair, expected = DAMAGE[name]
    damage(store)
    problems = problems_of(store)
    assert [short(problem) for problem in problems] == expected
    assert problems[0].repair is repair
    assert all("\n" not in str(problem) for problem in problems)


def test_damages_at_once_are_all_listed(store: Path) -> None:
    names = [
        "no root",
        "truncated shard",
        "flipped bit in a shard",
        "missing table",
        "lesion below its volume",
    ]
    # Forging reads the version; the damage that it doesn't see comes after.
    for name in reversed(names):
        DAMAGE[name][0](store)
    expected = [finding for name in names for finding in DAMAGE[name][2]]
    assert [short(problem) for problem in problems_of(store)] == expected


def test_a_lost_part_of_a_table_hides_nothing_of_the_others(store: Path) -> None:
    version = version_of(store)
    parts = [entry["path"] for entry in version["tables"]["lesions"]]
    assert len(parts) > 1
    DAMAGE["lesion below its volume"][0](store)
    last = pq.read_table(store / parts[-1], partitioning=None)["lesion_id"].to_pylist()
    lost = parts[0] if 0 in last else parts[-1]
    (store / lost).unlink()
    found = [short(problem) for problem in problems_of(store)]
    assert found == [(lost.split("/", 2)[2], "is missing"), *DAMAGE["lesion below its volume"][2]]


@pytest.mark.slow
def test_box_past_the_edge_may_reach_out_but_not_leave(store: Path) -> None:
    def flag(table: pa.Table) -> pa.Table:
        return set_value(table, "bbox_past_edge", True, lesion_id=0)

    forge_table(store, "lesions", flag)
    lesion("bbox_x2_vox", 500.0)(store)
    assert problems_of(store) == ()
    lesion("bbox_x1_vox", 499.0)(store)
    assert [short(problem)[1] for problem in problems_of(store)] == ["bbox_x1_vox is outside its volume"]


def add_version(store: Path, number: int) -> None:
    """Publish the first version's content again, on top of the version before."""
    before = (store / f"versions/{number - 1:06d}.json").read_bytes()
    own = {"version": number, "parent": number - 1, "parent_sha256": hashlib.sha256(before).hexdigest()}
    version = sealed(version_of(store) | own)
    (store / f"versions/{number:06d}.json").write_bytes(to_json(version))
    write_summary(LocalObjects(str(store)), version)


@pytest.mark.slow
def test_an_exchanged_version_is_found_by_all_after_it(store: Path) -> None:
    """Somebody rewrites history, with a checksum that is right: the next version names another file."""
    for number in (2, 3):
        add_version(store, number)
    assert problems_of(store, 3) == ()
    edit_version(store, lambda version: version.update(created_at="2020-01-01T00:00:00+00:00"))
    assert problems_of(store, 1) == ()
    for number in (2, 3):
        (problem,) = problems_of(store, number)
        assert (problem.what, problem.repair) == ("SHA-256 of its file is wrong", Repair.PARENT)
        assert problem.where == "versions/000002.json: parent 1"


@pytest.mark.slow
def test_each_version_is_verified_by_its_own_number(store: Path) -> None:
    add_version(store, 2)
    assert problems_of(store, 2) == ()
    assert choose_version(LocalObjects(str(store))) == 2
    cut(store / VERSION)
    assert [(short(p), p.repair) for p in problems_of(store, 2)] == [
        ((VERSION, "the parent version can't be read"), Repair.PARENT)
    ]
    with pytest.raises(StoreError, match="no such version"):
        choose_version(LocalObjects(str(store)), 3)


@pytest.mark.slow
def test_a_parent_that_was_pruned_is_no_problem_and_one_that_was_lost_is(store: Path) -> None:
    for number in (2, 3):
        add_version(store, number)
    (store / "versions/000002.json").unlink()
    assert [(short(p), p.repair) for p in problems_of(store, 3)] == [
        (("versions/000002.json", "the parent version can't be read"), Repair.PARENT)
    ]
    for path in (store / VERSION, *(store / summary_path(number) for number in (1, 2))):
        path.unlink()
    assert problems_of(store, 3) == ()


@pytest.mark.slow
def test_a_lost_version_is_found_where_only_a_tag_or_a_summary_names_it(store: Path) -> None:
    objects = LocalObjects(str(store))
    for number in (2, 3, 4):
        add_version(store, number)
    for name, number in (("paper", 1), ("poster", 2)):
        write_tag(objects, name, number)
    first = objects.read(version_path(1))
    for number in (1, 2, 3):
        objects.remove_all([version_path(number), summary_path(number)])
    tag = "versions/tags/{}.json: version {}"
    lost = [tag.format("paper", 1), tag.format("poster", 2)]
    assert [(short(p), p.repair) for p in problems_of(store, 4)] == [
        ((where, "can't be read"), Repair.PARENT) for where in lost
    ]
    objects.write(version_path(1), first)
    edit_version(store, lambda version: version.update(created_at="2020-01-01T00:00:00+00:00"))
    (store / version_path(4)).unlink()
    assert [(short(p), p.repair) for p in problems_of(store, 1)] == [
        ((version_path(4), "is missing, and its summary is there"), Repair.VERSION),
        ((lost[0], "SHA-256 of its file is wrong"), Repair.PARENT),
        ((lost[1], "can't be read"), Repair.PARENT),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["0000001.json", "1.json", "00000000000000000002.json", "01.json"])
def test_a_version_file_under_a_name_that_no_reader_looks_for_is_named(store: Path, name: str) -> None:
    (store / "versions" / name).write_bytes((store / VERSION).read_bytes())
    assert [(short(p), p.repair) for p in problems_of(store, 1)] == [
        ((f"versions/{name}", "is no version's name"), Repair.MISNAMED)
    ]
    (store / "versions" / name).rename(store / "versions" / "notes.json")
    assert problems_of(store, 1) == ()


@pytest.mark.slow
def test_a_sample_reads_the_same_volumes_every_time_and_all_tables(store: Path) -> None:
    objects, entries = LocalObjects(str(store)), version_of(store)["volumes"]
    read: list[str] = []
    first, again, other = (
        verify(objects, 1, lambda check, total: read.append(check.path), sample=sample)
        for sample in (Sample(count=1), Sample(share=0.01), Sample(share=1.0, seed=3))
    )
    assert [(v.checked, v.volumes) for v in (first, again)] == [(1, len(entries))] * 2
    assert read == [read[0], read[0], *(entry["path"] for entry in entries)]
    assert other.checked == other.volumes == len(entries) > 1
    # What lies in another volume is not seen, what is wrong with a table is.
    unread = next(entry["path"] for entry in entries if entry["path"] != read[0])
    (store / receipt_path(unread)).unlink()
    assert verify(objects, 1, sample=Sample(count=1)).problems == ()
    DAMAGE["missing table"][0](store)
    assert len(verify(objects, 1, sample=Sample(count=1)).problems) == 1


@given(st.integers(0, 500), st.floats(0, 1, exclude_min=True), st.integers())
def test_a_sample_is_the_share_rounded_up(total: int, share: float, seed: int) -> None:
    entries = [{"volume_id": str(number)} for number in range(total)]
    chosen = Sample(share, seed=seed).choose(entries)
    assert total * share - 1e-6 <= len(chosen) < total * share + 1
    assert (
        [entry for entry in entries if entry in chosen] == chosen == Sample(share, seed=seed).choose(entries)
    )


@pytest.mark.slow
def test_volumes_are_checked_wherever_and_in_any_order(store: Path) -> None:
    DAMAGE["truncated shard"][0](store)
    here = problems_of(store)
    assert here

    def backwards(function: VolumeVerifier, tasks: Iterable[VolumeTask]) -> Iterator[VolumeCheck]:
        # As a worker gives them: pickled.
        yield from (pickle.loads(pickle.dumps(function(task))) for task in reversed(list(tasks)))

    assert verify(LocalObjects(str(store)), 1, each=backwards).problems == here


def test_what_a_volume_sends_back_is_small_however_many_slices_and_strangers(store: Path) -> None:
    (entry,) = [e for e in version_of(store)["volumes"] if e["volume_id"] == VOLUME]
    path = store / entry["path"]
    task = VolumeTask(entry, (0.5, 0.5))
    intact = VolumeVerifier(str(store))(task)
    assert intact.facts is not None
    for number in range(500):
        (path / f"stranger-{number}").write_bytes(b"")
    check = VolumeVerifier(str(store))(task)
    assert len(check.problems) == MOST_PROBLEMS + 1
    assert check.problems[-1].what == f"and {500 - MOST_PROBLEMS} more"
    for found in (intact, check):
        assert len(pickle.dumps(found)) < 8000


@pytest.mark.slow
def test_real_slices_verify(real_release: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "store": str(tmp_path / "store"),
                "source": {
                    "annotations": str(real_release / "DL_info_images.csv"),
                    "images": str(real_release / "Images_png"),
                },
                "limits": {"rejects": 1.0},
                "cluster": "serial",
            }
        )
    )
    config = load_config(tmp_path / "config.yaml")
    build(config, load_plan(config), SerialExecutor())
    assert problems_of(tmp_path / "store") == ()
