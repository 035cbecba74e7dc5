"""Positions of slices, from a model in a store to readers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from etl.core.config import Config
from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.store import open_store
from tests.support.jobs import call_job
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, built, problems
from tests.support.tiny_model import PIXELS, tiny_model
from tests.support.tiny_release import build_serial, csv_row, write_release

pytestmark = pytest.mark.usefixtures("serial_jobs")
ID, OTHER = "brightness-3f6a09c2d1e4b785", "brightness-4f6a09c2d1e4b785"
V1, V2, V3 = f"{FIRST}_003-005", f"{FIRST}_007-007", f"{SECOND}_001-002"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = built(tmp_path)
    add_model(open_objects(config.store), "brightness", ID, tiny_model())
    return config


def score(config: Config, *arguments: str, code: int = 0) -> str:
    done = call_job("score_slices", config.store, *arguments, code=code)
    return done.output


@pytest.mark.slow
def test_positions_are_published_read_carried_and_completed(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="were not scored"):
        open_store(config.store).body_positions()
    assert "positions of 3 of 3 volumes by brightness-3f6a09c2d1e4b785; 3 scored now" in score(
        config, "--model", "brightness"
    )
    store = open_store(config.store)
    found = store.body_positions()
    assert list(zip(found["volume_id"], found["slice_index"], strict=True)) == [
        *((V1, n) for n in (3, 4, 5)),
        (V2, 7),
        *((V3, n) for n in (1, 2)),
    ]
    assert found["order"].eq("too_short").all(), "volumes of a few mm say nothing of their order"
    first = found.iloc[0]
    hu = store.array(V1)[0].astype(float)
    shares = (np.clip(hu, -175, 275) + 175) / 450
    # The image lies in the middle of the view, pixel on pixel, and air around it is black.
    assert hu.shape == (8, 8)
    assert first["score"] == pytest.approx(4 * shares.sum() / PIXELS**2 - 1, abs=1e-6)
    assert first["norm_z"] == pytest.approx((first["smoothed"] + 1) / 4)
    assert store.version["added_tables"]["body_positions"]["recipe"]["model"] == ID
    assert store.body_positions(volume_id=V2)["slice_index"].tolist() == [7]
    assert set(store.body_positions(split="train")["volume_id"]) == {V2}
    assert store.body_positions(volume_id=V2, split="train")["slice_index"].tolist() == [7]
    assert len(store.body_positions(volume_id=V2, split="val")) == 0
    with pytest.raises(StoreError, match="no such volume"):
        store.body_positions(volume_id="nothing")
    assert problems(config) == []
    assert "has them already" in score(config, "--model", ID)

    write_release(tmp_path, PRESENT | {SECOND: [2]}, ROWS)
    build_serial(config)
    assert "1 scored now" in score(config, "--model", ID)

    add_model(open_objects(config.store), "brightness", OTHER, tiny_model(scores=[], norm_z=[], landmarks=[]))
    assert "by brightness-4f6a09c2d1e4b785; 3 scored now" in score(config, "--model", "brightness")
    other = open_store(config.store).body_positions()
    assert other["norm_z"].isna().all()
    # A NaN would be found by no reader that looks for nulls, and by some as a number.
    for entry in open_store(config.store).version["tables"]["body_positions"]:
        column = pq.read_table(Path(config.store, entry["path"]))["norm_z"]
        assert column.null_count == len(column)
    assert other["region"].isna().all()
    assert problems(config) == []


def test_volumes_are_found_by_position(tmp_path: Path) -> None:
    """Slices get brighter by 7 HU each, so a long volume has an order; a short one is left out."""
    long, short = "000003_01_01", "000004_01_01"
    rows = (csv_row(long, 9, (1, 60)), csv_row(short, 1, (1, 2)))
    config = built(tmp_path, {long: list(range(1, 61)), short: [1, 2]}, rows)
    apart_mm = float(open_store(config.store).volumes()["source_spacing_z_mm"].iloc[0])
    # 64 pixels of 1,024 show the image, and it rises by 7 HU a slice of the window's 450.
    slope = 4 * 64 / PIXELS**2 * 7 / 450 / apart_mm
    model = tiny_model(slope_mean=slope, slope_deviation=slope / 10)
    add_model(open_objects(config.store), "brightness", ID, model)
    score(config, "--model", ID)
    store = open_store(config.store)
    found = store.body_positions()
    assert found.groupby("volume_id")["order"].unique().map(list).tolist() == [["ok"], ["too_short"]]
    middle = found.iloc[30]
    near = store.volume_at(float(middle["norm_z"]))
    assert near[["volume_id", "slice_index"]].to_numpy().tolist() == [[middle["volume_id"], 31]]
    assert store.volume_at(5.0).empty
    assert store.body_positions(split="val").equals(found)
    assert [len(store.body_positions(split=split)) for split in ("train", "test")] == [0, 0]
    for wrong in ((float("nan"),), ("0.5",), (None,), (0.5, -0.1), (0.5, float("inf"))):
        with pytest.raises(StoreError, match="there are no slices at this position"):
            store.volume_at(*wrong)


def test_a_score_that_is_no_number_is_a_reject(config: Config) -> None:
    add_model(open_objects(config.store), "brightness", OTHER, tiny_model() | {"model.onnx": b"no model"})
    assert "3 rejected" in score(config, "--model", OTHER, "--most-rejects", "1")
    assert (
        open_store(config.store).table("body_positions_rejects")["reason"].tolist()
        == ["volume_not_derived"] * 3
    )
    score(config, "--model", OTHER, code=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda data: data[:-1] + b"x", "a model's file is damaged"), (None, "a model's file can't be read")],
)
def test_a_model_whose_file_was_changed_blames_no_volume(
    config: Config, change: Callable[[bytes], bytes] | None, said: str
) -> None:
    path = Path(config.store, "models", "brightness", ID, "model.onnx")
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    output = score(config, "--model", ID, "--most-rejects", "1", code=2)
    assert said in output
    assert "train it again" in output
    assert "body_positions" not in open_store(config.store).version["tables"]


def test_a_model_whose_map_descends_is_refused(config: Config) -> None:
    add_model(open_objects(config.store), "brightness", OTHER, tiny_model(scores=[3.0, -1.0]))
    assert "scale.scores" in score(config, "--model", OTHER, code=2)


def test_there_is_one_message_without_a_model(config: Config) -> None:
    assert "no such model in this version" in score(config, "--model", "nothing", code=2)


def test_a_machine_without_the_device_rejects_no_volume(config: Config) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    output = score(config, "--model", ID, "--device", "cuda", "--most-rejects", "1", code=4)
    assert "no CUDAExecutionProvider here" in output
    assert "body_positions" not in open_store(config.store).version["tables"]


def test_a_store_that_fails_while_files_of_runs_are_listed_ends_with_4(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(objects: LocalObjects, prefix: str) -> NoReturn:
        raise OSError(errno.ESTALE, "Stale file handle", prefix)

    with monkeypatch.context() as patch:
        patch.setattr("etl.pipeline.derive.part_names", fail)
        output = score(config, "--model", ID, code=4)
    assert "the store failed" in output
    assert "Stale file handle" in output
    assert "3 scored now" in score(config, "--model", ID)
