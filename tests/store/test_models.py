"""Models through the life of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.core.config import Config
from etl.core.errors import StoreError
from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.store import open_store
from etl.store.history import rollback
from etl.store.prune import prune
from tests.support.three_volumes import PRESENT, ROWS, SECOND, built, problems
from tests.support.tiny_model import MEAN_BRIGHTNESS_ONNX, tiny_model
from tests.support.tiny_release import build_serial, write_release

ID, OTHER = "brightness-3f6a09c2d1e4b785", "brightness-4f6a09c2d1e4b785"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return built(tmp_path)


def test_a_model_is_added_read_carried_and_pruned(config: Config, tmp_path: Path) -> None:
    objects = open_objects(config.store)
    version, is_new = add_model(objects, "brightness", ID, tiny_model())
    assert (version["version"], is_new) == (2, True)
    (entry,) = version["models"]
    assert (entry["name"], entry["model_id"], entry["path"]) == ("brightness", ID, f"models/brightness/{ID}")
    assert [file["path"] for file in entry["files"]] == ["README.md", "config.json", "model.onnx"]
    assert add_model(objects, "brightness", ID, tiny_model(slope_mean=9)) == (version, False)
    assert problems(config) == []

    store = open_store(config.store)
    assert store.model_file("brightness", "model.onnx") == MEAN_BRIGHTNESS_ONNX
    assert store.model_config("3f6a")["scale"]["slope_mean"] == 0.1, "a model's files are never rewritten"

    add_model(objects, "brightness", OTHER, tiny_model(slope_mean=0.2))
    write_release(tmp_path, PRESENT | {SECOND: [2]}, ROWS)
    build_serial(config)
    store = open_store(config.store)
    assert [model["model_id"] for model in store.version["models"]] == [ID, OTHER]
    assert store.model("brightness")["model_id"] == OTHER, "by name the newest"
    prune(objects, keep=1, grace_s=0)
    assert problems(config) == []
    for wanted, message in (
        ("nothing", "no such model(?s:.*)train one"),
        ("bright", "several models begin so(?s:.*)give more of the id"),
        ("", "no such model"),
        ("model.pt", "no such model"),
    ):
        with pytest.raises(StoreError, match=message):
            store.model(wanted)
    with pytest.raises(StoreError, match="no such file"):
        store.model_file(ID, "weights.pt")


def test_a_damaged_model_is_refused_and_found(config: Config) -> None:
    add_model(open_objects(config.store), "brightness", ID, tiny_model())
    path = Path(config.store, "models", "brightness", ID, "model.onnx")
    path.write_bytes(MEAN_BRIGHTNESS_ONNX[:-1] + b"x")
    with pytest.raises(StoreError, match="a model's file is damaged"):
        open_store(config.store).model_file(ID, "model.onnx")
    path.unlink()
    with pytest.raises(StoreError, match="can't be read"):
        open_store(config.store).model_file(ID, "model.onnx")


def test_remains_of_a_killed_run_are_written_again(config: Config) -> None:
    """Leftovers are not trusted: no version has their checksums, so damage to them would not be seen."""
    objects = open_objects(config.store)
    objects.write(f"models/brightness/{ID}/model.onnx", MEAN_BRIGHTNESS_ONNX[:-1] + b"x")
    add_model(objects, "brightness", ID, tiny_model())
    assert open_store(config.store).model_file(ID, "model.onnx") == MEAN_BRIGHTNESS_ONNX
    assert problems(config) == []


def test_a_model_of_an_earlier_version_stays_as_it_is(config: Config) -> None:
    objects = open_objects(config.store)
    first, _ = add_model(objects, "brightness", ID, tiny_model())
    rollback(objects, 1, "back")
    version, is_new = add_model(objects, "brightness", ID, tiny_model(slope_mean=9))
    assert (version["models"], is_new) == (first["models"], True)
    assert problems(config) == []

    rollback(objects, 1, "back again")
    objects.write(f"models/brightness/{ID}/config.json", b"{}")
    with pytest.raises(StoreError, match="a model's file is damaged"):
        add_model(objects, "brightness", ID, tiny_model(slope_mean=9))
    assert add_model(objects, "brightness", ID, tiny_model())[0]["models"] == first["models"]
    assert problems(config) == []
