"""Lesions of a store as examples: training sees what embedding sees."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from etl.commands.train_embedding import _tags
from etl.core.errors import ConfigError, StoreError
from etl.derive.embedding_input import LESION_COLUMNS, spots_of
from etl.imaging.body_view import BodyView
from etl.io.local import LocalObjects
from etl.learn.embedding_batches import plain_crops
from etl.learn.embedding_config import Augment, Data, Input
from etl.learn.embedding_examples import seen_by, store_examples
from etl.learn.series import ViewCache
from etl.learn.store_series import store_series
from etl.publish.add_tables import NewTable, add_tables
from etl.store import open_store
from etl.store.reader import Store
from etl.tables.tags import TAGS
from tests.support.three_volumes import FIRST, ROWS, SECOND, built
from tests.support.tiny_release import csv_row

SEEN = Input(pixels=16, edge_mm=8.0)
TRAIN = {"Train_Val_Test": "1", "Coarse_lesion_type": "-1"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = (
        csv_row(FIRST, 4, (3, 5), Coarse_lesion_type="4"),
        csv_row(FIRST, 7, (7, 7), Measurement_coordinates="4, 9, 13, 9, 8, 7, 8, 12"),
        csv_row(SECOND, 2, (1, 2), **TRAIN),
    )
    return open_store(built(tmp_path_factory.mktemp("examples"), rows=rows).store)


def test_training_sees_what_embedding_sees(store: Store, tmp_path: Path) -> None:
    examples = store_examples(store, Data(), SEEN, Augment())
    assert examples.lesions.lesion_id.tolist() == [0, 1, 2]
    assert examples.types.tolist() == [4, 5, 0]
    assert examples.split.tolist() == ["val", "val", "train"]
    seen = seen_by(SEEN)
    crops = plain_crops(examples, ViewCache(str(tmp_path)), range(3), SEEN).numpy()
    again = plain_crops(examples, ViewCache(str(tmp_path)), range(3), SEEN).numpy()
    assert np.array_equal(crops, again), "from the folder of the cache"
    for number, row in enumerate(store.lesions().to_dict("records")):
        spacing_mm = (1.0, 1.0, 1.0)
        (spot,) = spots_of({name: [row[name]] for name in LESION_COLUMNS}, spacing_mm)
        expected = seen.crop(store.array(row["volume_id"]), spot, spacing_mm)
        assert crops[number] == pytest.approx(expected, abs=1e-3)
        assert crops[number].std() > 0
        assert examples.boxes[number].tolist() == seen.box(spot).tolist()
    # 9 pixels of 0.5 mm wide and 5 high; 4 mm of margin on each side reach past the crop.
    assert examples.boxes[1].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        SEEN.model_copy(update={"edge_mm": 7.5}),
        SEEN.model_copy(update={"slice_mm": 0.5}),
        SEEN.model_copy(update={"slices": 5}),
        SEEN.model_copy(update={"pixels": 18}),
    ],
)
def test_a_cache_tells_other_surroundings_of_a_lesion_apart(
    store: Store, tmp_path: Path, other: Input
) -> None:
    for seen in (SEEN, other):
        for crop in store_examples(store, Data(), seen, Augment()).crops:
            assert np.array_equal(ViewCache(str(tmp_path)).of(crop), crop.read())


def test_trials_take_some_lesions_of_each_split(store: Store) -> None:
    assert store_examples(store, Data(limit=1), SEEN, Augment()).lesions.lesion_id.tolist() == [0, 2]


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patients are in two splits"):
        store_examples(open_store(built(tmp_path, rows=ROWS).store), Data(), SEEN, Augment())


def test_a_store_without_tags_is_refused_with_the_empty_table_and_without(store: Store) -> None:
    with pytest.raises(StoreError, match="no tags to learn types from"):
        _tags(store)
    none = TAGS.rows({name: [] for name in TAGS.rows_schema.names})
    add_tables(store.objects, store.version, [NewTable(TAGS, none, [0, 1, 2])])
    opened = open_store(store.objects.root)
    assert "tags" in opened.version["tables"]
    with pytest.raises(StoreError, match="no tags to learn types from"):
        _tags(opened)


def test_certain_tags_are_read_by_lesion(store: Store) -> None:
    rows = [(0, 1, "liver", "relevant"), (0, 2, "cyst", "uncertain"), (2, 1, "liver", "relevant")]
    ids, numbers, tags, certainty = (list(column) for column in zip(*rows, strict=True))
    columns = {"lesion_id": ids, "source": ["lesanet"] * 3, "tag_id": numbers}
    table = TAGS.rows(columns | {"tag": tags, "certainty": certainty})
    add_tables(store.objects, store.version, [NewTable(TAGS, table, [0, 1, 2])])
    assert _tags(open_store(store.objects.root)) == {0: ["liver"], 2: ["liver"]}


def test_a_store_that_can_t_be_read_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another reader of it has the indices of shards that earlier tests read.
    opened = open_store(store.objects.root)
    crop = store_examples(opened, Data(), SEEN, Augment()).crops[0]
    series = store_series(opened, BodyView(8, 40.0))[0]

    def fail(objects: LocalObjects, name: str, count: int) -> NoReturn:
        raise ConnectionError("no answer in time")

    monkeypatch.setattr(LocalObjects, "read_end", fail)
    for read in (crop.read, series.read):
        with pytest.raises(StoreError, match=r"the store can't be read(.|\n)*no answer in time"):
            read()
