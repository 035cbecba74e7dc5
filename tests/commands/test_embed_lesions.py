"""Vectors of lesions, from a model in a store to readers, night after night."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etl.core.config import Config
from etl.core.errors import ConfigError, StoreError
from etl.derive.embedding_input import EmbeddingInput
from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.report.serving import Site
from etl.store import open_store
from etl.store.lesion_embeddings import embedding_models
from etl.store.reader import Store
from tests.support.jobs import call_job
from tests.support.three_volumes import FIRST, PRESENT, ROWS, SECOND, built, problems
from tests.support.tiny_embedding import ID, INPUT, tiny_embedding
from tests.support.tiny_model import tiny_model
from tests.support.tiny_release import build_serial, csv_row, write_release

pytestmark = pytest.mark.usefixtures("serial_jobs")
TABLE = "embeddings/means"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = built(tmp_path)
    add_model(open_objects(config.store), "means", ID, tiny_embedding())
    return config


def embed(config: Config, *arguments: str, code: int = 0) -> str:
    return call_job("embed_lesions", config.store, *arguments, code=code).output


def expected(store: Store, lesion_id: int) -> np.ndarray:
    """The vector of a lesion: its diameters are 2.5 mm wide, and the margin of the box is 2 mm."""
    row = store.lesions().set_index("lesion_id").loc[lesion_id]
    center = (row["z_vox"], (3 + 4.5) / 2, (2.5 + 5) / 2)
    seen = EmbeddingInput.from_json(INPUT).view.of(store.array(row["volume_id"]), center, (1.0, 1.0, 1.0))
    means = ((np.rint(seen) + 1024) / 4095).clip(0, 1).mean((1, 2))
    return np.array([*means, means[1] * (2.5 + 2 * 2) / 16])


@pytest.mark.slow
def test_lesions_are_embedded_searched_carried_and_completed(config: Config, tmp_path: Path) -> None:
    said = embed(config, "--model", "means")
    assert f"{TABLE} covers 3 of 3 lesions by {ID}, of which 0 have no vector; 3 volumes now" in said
    store = open_store(config.store)
    rows = store.table(TABLE)
    assert rows["lesion_id"].tolist() == [0, 1, 2]
    for lesion_id, vector in zip(rows["lesion_id"], rows["embedding"], strict=True):
        assert vector.dtype == np.float16
        assert vector == pytest.approx(expected(store, lesion_id), abs=1e-3)
    assert rows["fingerprint"].tolist() == store.volumes()["fingerprint"].tolist()
    assert store.version["added_tables"][TABLE]["recipe"]["model"] == ID
    assert embedding_models(store) == ["place", "means"]
    assert problems(config) == []
    assert "has them already" in embed(config, "--model", ID)
    for address, says in (
        ("/similar/0", '<b>place</b>, <a href="/similar/0/means">means</a>'),
        ("/similar/0/means", 'href="/similar/2/means"'),
    ):
        assert says in Site(store).answer(address).body.decode()
    for address in ("/similar/0/other", "/similar/0/..", "/similar/9/means", "/similar/0/means/0"):
        assert Site(store).answer(address).status == 404
    # The next night one volume is another one, and there is a fourth lesion.
    write_release(tmp_path, PRESENT | {SECOND: [2, 3, 4]}, [*ROWS[:2], csv_row(SECOND, 3, (2, 4))])
    build_serial(config)
    assert open_store(config.store).version["added_tables"][TABLE]["coverage"] == {"covered": 2, "of": 3}
    assert "1 volumes now" in embed(config, "--model", "means")
    assert problems(config) == []


@pytest.mark.slow
def test_lesions_of_any_voxels_are_found(tmp_path: Path) -> None:
    # Slice 8 is missing, so 9 is a volume without lesions.
    rows = (ROWS[0], ROWS[1] | {"Slice_range": "7, 9"}, ROWS[2])
    config = built(tmp_path, PRESENT | {FIRST: [3, 4, 5, 7, 9]}, rows)
    add_model(open_objects(config.store), "means", ID, tiny_embedding())
    embed(config, "--model", "means")
    store = open_store(config.store)
    found = store.similar(0, model=ID, same_patient=True)
    assert sorted(found["lesion_id"]) == [1, 2]
    hu = np.asarray(store.array(f"{FIRST}_003-005")[...])
    asked = (hu, (2.0, 3.75, 3.75))
    found = store.similar(asked, model="means", spacing_mm=(1.0, 1.0, 1.0), size_mm=(1.5, 2.5))
    assert found["lesion_id"].tolist()[0] == 0, "these are the voxels of lesion 0"
    assert found["distance"].tolist()[0] == pytest.approx(0, abs=1e-3)
    assert len(found) == 3
    # A volume of this store says its spacing and whose it is; patient 1 has lesions 0 and 1.
    volume = store.volume(f"{FIRST}_003-005")
    assert store.similar((volume, asked[1]), model="means")["lesion_id"].tolist() == [2]
    assert len(store.similar((volume, asked[1]), model="means", same_patient=True)) == 3
    assert store.similar(store.volume(f"{FIRST}_009-009"), model="means")["lesion_id"].tolist() == [2]
    assert store.similar(store.crop(0, 4), model="means", split="val")["lesion_id"].tolist() == [2]
    for voxels, choice, error, said in (
        (hu, {}, ConfigError, "no published place"),
        (hu, {"model": "means"}, ConfigError, "spacing_mm"),
        (volume, {"model": "means", "size_mm": -1}, ConfigError, "size_mm"),
        (volume, {"model": "other"}, StoreError, "no embedding of this model"),
        (volume, {"model": "means", "k": 0}, ConfigError, "number of neighbours"),
        (hu * 0 - 1024, {"model": "means", "spacing_mm": (1, 1, 1)}, StoreError, "these voxels no vector"),
    ):
        with pytest.raises(error, match=said):
            store.similar(voxels, **choice)


@pytest.mark.slow
def test_a_store_whose_rows_were_all_rejected_gets_an_empty_table(tmp_path: Path) -> None:
    config = built(tmp_path, {FIRST: [3, 4, 6, 7]}, [csv_row(FIRST, 5, (3, 7))])
    add_model(open_objects(config.store), "means", ID, tiny_embedding())
    assert f"{TABLE} covers 0 of 0 lesions" in embed(config, "--model", "means")
    assert "has them already" in embed(config, "--model", "means")
    assert problems(config) == []


@pytest.mark.slow
def test_a_lesion_in_nothing_but_air_has_no_row(config: Config) -> None:
    above_all = tiny_embedding(window_hu=[3000.0, 3071.0])
    add_model(open_objects(config.store), "means", "means-1123456789abcdef", above_all)
    assert "covers 3 of 3 lesions by means-1123456789abcdef, of which 3 have no vector" in embed(
        config, "--model", "means"
    )
    store = open_store(config.store)
    assert store.table(TABLE).empty
    with pytest.raises(StoreError, match="this lesion has no embedding"):
        store.similar(0, model="means")
    assert "has them already" in embed(config, "--model", "means")
    assert problems(config) == []


def test_another_kind_of_model_is_refused(config: Config) -> None:
    add_model(open_objects(config.store), "brightness", "brightness-3f6a09c2d1e4b785", tiny_model())
    assert "this model is of another kind" in embed(config, "--model", "brightness", code=2)
    done = call_job("score_slices", config.store, "--model", "means", code=2)
    assert "this model is of another kind" in done.output
    assert "no such model in this version" in embed(config, "--model", "nothing", code=2)
