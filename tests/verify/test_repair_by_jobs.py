"""Damage to what jobs added is repaired by what verification says to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.store import open_store
from etl.store.tags import write_tag
from etl.verify.problems import Repair
from etl.verify.verify import verify
from tests.support.damage import flip
from tests.support.jobs import call_job
from tests.support.masked_store import masked_store, with_masks
from tests.support.planes import planes_config, rows, run
from tests.support.three_volumes import built
from tests.support.tiny_model import tiny_model
from tests.support.tiny_release import build_serial

pytestmark = pytest.mark.slow

MODEL_ID = "brightness-3f6a09c2d1e4b785"
DAMAGE: dict[str, Callable[[Path], object]] = {
    "lost": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "flipped": lambda path: flip(path, len(path.read_bytes()) // 2),
}
damaged = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)


def repairs(store: str) -> set[Repair]:
    """Return what verification says to do about the current version."""
    found = verify(open_objects(store), open_store(store).version["version"]).problems
    return {problem.repair for problem in found}


@damaged
@pytest.mark.parametrize("table", ["sequences", "links"])
def test_the_job_again_replaces_a_damaged_table(
    tmp_path: Path, damage: Callable[[Path], object], table: str
) -> None:
    config = built(tmp_path)
    call_job("match_lesions", config.store)
    before = open_store(config.store)
    damage(Path(config.store, before.version["tables"][table][0]["path"]))
    assert repairs(config.store) == {Repair.ADDED}
    assert "has them already" in call_job("match_lesions", config.store).output
    after = open_store(config.store)
    assert (after.version["version"], repairs(config.store)) == (2, set())
    assert after.sequences()["lesion_id"].tolist() == [0, 1, 2]


@damaged
@pytest.mark.parametrize("table", ["planes", "planes_rejects"])
def test_a_derivation_again_replaces_a_damaged_file(
    tmp_path: Path, damage: Callable[[Path], object], table: str
) -> None:
    config: Config = planes_config(tmp_path)
    build_serial(config)
    run(config)
    expected = rows(config)
    damage(Path(config.store, open_store(config.store).version["tables"][table][0]["path"]))
    assert repairs(config.store) == {Repair.ADDED}
    done = run(config)
    assert (done.is_new, done.computed) == (False, 3 if table == "planes" else 0)
    assert (repairs(config.store), rows(config), rows(config, "planes_rejects")) == (set(), expected, [])


@damaged
@pytest.mark.parametrize("name", ["model.onnx", "README.md"])
def test_the_same_training_again_repairs_a_damaged_model(
    tmp_path: Path, damage: Callable[[Path], object], name: str
) -> None:
    config = built(tmp_path)
    objects = open_objects(config.store)
    add_model(objects, "brightness", MODEL_ID, tiny_model())
    damage(Path(config.store, "models", "brightness", MODEL_ID, name))
    assert repairs(config.store) == {Repair.MODEL}
    assert add_model(objects, "brightness", MODEL_ID, tiny_model())[1] is False
    assert repairs(config.store) == set()


@damaged
def test_deleted_labels_are_written_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store = masked_store(tmp_path).objects.root
    shard = min(Path(store, "labels").rglob("c/0/0/0"))
    damage(shard)
    assert repairs(store) == {Repair.LABELS}
    group = next(folder for folder in shard.parents if folder.name.endswith(".ome.zarr"))
    shutil.rmtree(group)
    Path(str(group).replace(".ome.zarr", ".receipt.json")).unlink()
    with_masks(store, tmp_path)
    assert repairs(store) == set()


@pytest.mark.parametrize("damage", [DAMAGE["cut"], DAMAGE["flipped"]], ids=["cut", "flipped"])
def test_a_damaged_tag_is_no_damage_to_the_version(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    config = built(tmp_path)
    for name in ("paper", "poster"):
        write_tag(open_objects(config.store), name, 1)
    damage(Path(config.store, "versions", "tags", "paper.json"))
    (problem,) = verify(open_objects(config.store), 1).problems
    assert (problem.where, problem.repair) == ("versions/tags/paper.json", Repair.TAG)
    call_job("store_versions", config.store, "untag", "paper")
    call_job("store_versions", config.store, "tag", "paper", "1")
    assert repairs(config.store) == set()
