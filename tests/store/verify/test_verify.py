"""Verification: an intact version is all right; each kind of damage is found and named, and all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from etl.build import build, load_plan
from etl.config import Config
from etl.config_file import load_config
from etl.errors import StoreError
from etl.run.executors import SerialExecutor
from etl.store.layout import to_json
from etl.store.objects import LocalObjects
from etl.store.problems import Repair
from etl.store.verify import choose_version, verify
from tests.store.verify.damage import (
    VERSION,
    cut,
    edit_version,
    forge_table,
    forge_volume,
    problems_of,
    set_value,
    short,
    version_of,
)
from tests.store.verify.version_cases import VERSION_CASES, lesion
from tests.store.verify.volume_cases import VOLUME_CASES

DAMAGE = VOLUME_CASES | VERSION_CASES


def test_intact_store_is_all_right(config: Config) -> None:
    seen: list[tuple[str, int]] = []
    objects = LocalObjects(config.store)
    result = verify(objects, 1, lambda check, total: seen.append((check.volume_id, total)))
    assert result.problems == ()
    entries = version_of(Path(config.store))["volumes"]
    assert seen == [(entry["volume_id"], len(entries)) for entry in entries]
    # Everything below the store but the version file was read, and nothing twice.
    sizes = [path.stat().st_size for path in Path(config.store).rglob("*") if path.is_file()]
    assert result.objects == len(sizes) - 1
    assert result.bytes == sum(sizes) - (Path(config.store) / VERSION).stat().st_size


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


def test_box_past_the_edge_may_reach_out_but_not_leave(store: Path) -> None:
    def flag(table: pa.Table) -> pa.Table:
        return set_value(table, "bbox_past_edge", True, lesion_id=0)

    forge_table(store, "lesions", flag)
    lesion("bbox_x2_vox", 500.0)(store)
    assert problems_of(store) == ()
    lesion("bbox_x1_vox", 499.0)(store)
    assert [short(problem)[1] for problem in problems_of(store)] == ["bbox_x1_vox is outside its volume"]


def test_each_version_is_verified_by_its_own_number(store: Path) -> None:
    version = version_of(store)
    (store / "versions/000002.json").write_bytes(to_json(version | {"version": 2, "parent": 1}))
    assert problems_of(store, 2) == ()
    assert choose_version(LocalObjects(str(store))) == 2
    cut(store / VERSION)
    assert [(short(p), p.repair) for p in problems_of(store, 2)] == [
        ((VERSION, "the parent version can't be read"), Repair.PARENT)
    ]
    with pytest.raises(StoreError, match="no such version"):
        choose_version(LocalObjects(str(store)), 3)


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
