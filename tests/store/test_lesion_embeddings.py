"""Lesions like a lesion, by places and by a table of vectors that a job added."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from etl.core.config import Config
from etl.core.errors import ConfigError, StoreError
from etl.publish.add_tables import NewTable, add_tables
from etl.report.similar_page import similar_page
from etl.store import open_store
from etl.store.reader import Store
from etl.tables.embeddings import embedding_columns, embeddings_table
from etl.verify.verify import verify
from tests.support.jobs import call_job
from tests.support.three_volumes import built
from tests.support.tiny_release import build_serial, csv_row, tiny_config, write_release

SERIES = ("000001_01_01", "000002_01_01", "000003_01_01", "000004_01_01")
# lesion_ids 0 and 1 are of patient 1; 2, 3 and 4 are of one place, 2 and 3 of one size, 5 is far away.
PLACES = (
    "0.5, 0.5, 0.5",
    "0.5, 0.5, 0.5",
    "0.5, 0.5, 0.6",
    "0.5, 0.5, 0.6",
    "0.5, 0.5, 0.6",
    "0.1, 0.1, 0.1",
)
ROWS = tuple(
    csv_row(
        SERIES[patient],
        1 + key % 2,
        (1, 2),
        Normalized_lesion_location=place,
        Train_Val_Test="3" if patient == 3 else "2",
        **(
            {"Measurement_coordinates": "5, 9, 12, 9, 8, 7, 8, 10", "Lesion_diameters_Pixel_": "7, 3"}
            if key == 4
            else {}
        ),
    )
    for key, (patient, place) in enumerate(zip((0, 0, 1, 2, 3, 3), PLACES, strict=True))
)
VECTORS = np.array([[1, 0], [1, 0.001], [0, 0], [np.nan, 1], [0, 1], [1, 0]])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("similar")
    return built(folder, {key: [1, 2] for key in SERIES}, ROWS)


@pytest.fixture(scope="module")
def embedded(config: Config) -> Store:
    """The store with a table of vectors: lesion 2 is zero, 3 not finite, 5 the same as 0."""
    store = open_store(config.store)
    ids = store.lesions()["lesion_id"].tolist()
    assert ids == list(range(6))
    table = embeddings_table("looks", 2)
    rows = table.rows(embedding_columns(ids, VECTORS))
    add_tables(store.objects, store.version, [NewTable(table, rows, ids)])
    return open_store(config.store)


def test_places_and_sizes_order_lesions_of_other_patients(config: Config) -> None:
    store = open_store(config.store)
    found = store.similar(2)
    assert found["lesion_id"].tolist() == [3, 4, 0, 1, 5]  # equal distances by lesion_id
    assert found["distance"].tolist()[0] == 0
    assert found["distance"].is_monotonic_increasing
    assert store.similar(0)["lesion_id"].tolist() == [2, 3, 4, 5]
    assert store.similar(0, 2, same_patient=True)["lesion_id"].tolist() == [1, 2]
    assert store.similar(2, split="test")["lesion_id"].tolist() == [4, 5]
    assert store.similar(2, split="train").empty


def test_vectors_of_a_model_are_searched_and_zero_and_missing_ones_never_found(embedded: Store) -> None:
    found = embedded.similar(0, model="looks")
    assert found["lesion_id"].tolist() == [5, 4]
    assert found["distance"].tolist() == pytest.approx([0, 2**0.5])
    assert embedded.similar(5, 2, model="looks")["lesion_id"].tolist() == [0, 1]
    for lesion_id in (2, 3):
        with pytest.raises(StoreError, match=r"this lesion has no embedding(?s:.*)remedy:  compare it by"):
            embedded.similar(lesion_id, model="looks")
    page = similar_page(embedded, 0, found, "looks").decode()
    assert "The nearest 2 by the model" in page
    assert "It has vectors of 4 of 6 lesions." in page


def test_a_model_is_scored_on_its_vectors(embedded: Store, tmp_path: Path) -> None:
    root = embedded.objects.root
    words = ("evaluate_retrieval", "--model", "looks", "--gallery")
    result = json.loads(call_job(*words, root, "--queries", root).stdout)
    # All are of one type; lesions 2 and 3 have no vector and find nothing.
    assert (result["queries"], result["top1"]) == (6, round(4 / 6, 4))
    assert result["without_vector"] == {"gallery": 2, "queries": 2}
    assert result["reference"]["reach of the model place"]["top1"] == 0.77
    (tmp_path / "a.csv").touch()
    done = call_job(*words, str(tmp_path / "a.csv"), code=2)
    assert "a CSV has no vectors of the model 'looks'" in " ".join(done.output.split())


def test_a_table_of_vectors_is_read_verified_and_carried(embedded: Store, tmp_path: Path) -> None:
    number = embedded.version["version"]
    assert [p.what for p in verify(embedded.objects, number).problems] == []
    kept = embedded.table("embeddings/looks")["embedding"]
    assert embedded.table("embeddings/looks")["lesion_id"].tolist() == [0, 1, 4, 5]
    assert kept[1].dtype == np.float16
    # The next night the volume of lesions 4 and 5 is another one.
    present = {key: [1, 2] for key in SERIES} | {SERIES[3]: [1, 2, 3]}
    write_release(tmp_path, present, ROWS)
    shutil.copytree(embedded.objects.root, tmp_path / "store")
    build_serial(tiny_config(tmp_path, tmp_path / "store"))
    later = open_store(tmp_path / "store")
    assert later.version["version"] == number + 1
    assert later.table("embeddings/looks")["lesion_id"].tolist() == [0, 1]
    assert later.version["added_tables"]["embeddings/looks"]["coverage"] == {"covered": 4, "of": 6}
    assert later.similar(0, model="looks").empty
    with pytest.raises(StoreError, match="embed what is new by jobs/embed_lesions"):
        later.similar(4, model="looks")


@pytest.mark.parametrize(
    ("lesion_id", "choice", "error", "said"),
    [
        (99, {}, StoreError, "no such lesion"),
        (0, {"split": "all"}, StoreError, "no such split"),
        (0, {"k": 0}, ConfigError, "wrong number of neighbours"),
        (0, {"model": "other"}, StoreError, "no embedding of this model"),
        (0, {"model": "../x"}, ConfigError, "no name of an embedding model"),
    ],
)
def test_what_is_not_there_is_said(
    config: Config, lesion_id: int, choice: dict, error: type, said: str
) -> None:
    with pytest.raises(error, match=said):
        open_store(config.store).similar(lesion_id, **choice)


def test_a_store_reads_vectors_once_and_pickles_without_them(
    embedded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.similar(0, model="looks")
    with monkeypatch.context() as reading:
        reading.setattr(Store, "lesions", lambda *a, **k: pytest.fail("read again"))
        pd.testing.assert_frame_equal(embedded.similar(0, model="looks"), first)
    copy = pickle.loads(pickle.dumps(embedded))
    assert copy._compared == {}
    pd.testing.assert_frame_equal(copy.similar(0, model="looks"), first)


@pytest.mark.parametrize("dimensions", [0, 5000])
def test_lengths_of_vectors_have_bounds(dimensions: int) -> None:
    with pytest.raises(ConfigError, match="wrong length of an embedding"):
        embeddings_table("looks", dimensions)
