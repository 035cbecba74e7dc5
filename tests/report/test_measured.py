"""The measures of a model on the page of lesions like one: its own, none, or why they can't be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etl.publish.add_model import add_model
from etl.publish.add_tables import NewTable, add_tables
from etl.report.serving import Site
from etl.store import Store, open_store
from etl.store.layout import to_json
from etl.tables.embeddings import embedding_columns, embeddings_table
from tests.support.three_volumes import built
from tests.support.tiny_embedding import ID, tiny_embedding

METRICS = {"val": {"model": {"queries": 7, "top1": 0.5, "p_at_10": 0.25, "nn20": 0.125}}}


def embedded(folder: Path, **files: bytes) -> Store:
    """A store with a model of these further files and its vectors."""
    store = open_store(built(folder).store)
    add_model(store.objects, "means", ID, tiny_embedding() | {f"{k}.json": v for k, v in files.items()})
    table = embeddings_table("means", 2)
    rows = table.rows(embedding_columns(range(3), np.ones((3, 2))))
    new = NewTable(table, rows, range(3), recipe={"model": ID})
    store = open_store(store.objects.root)
    add_tables(store.objects, store.version, [new])
    return open_store(store.objects.root)


def page_of(store: Store) -> str:
    return Site(store).answer("/similar/0/means").body.decode()


def test_a_model_without_measures_has_no_row(tmp_path: Path) -> None:
    page = page_of(embedded(tmp_path))
    assert "the paper, with pixels" in page
    assert "lesions of its store" not in page
    assert "metrics.json" not in page


@pytest.mark.parametrize("damage", [b"{}", None], ids=["changed", "lost"])
def test_measures_that_can_not_be_read_are_named(tmp_path: Path, damage: bytes | None) -> None:
    store = embedded(tmp_path, metrics=to_json(METRICS))
    assert "means, 7 val lesions of its store" in page_of(store)
    metrics = Path(store.objects.root, "models", "means", ID, "metrics.json")
    metrics.unlink() if damage is None else metrics.write_bytes(damage)
    page = page_of(open_store(store.objects.root))
    assert "means: metrics.json: a model&#39;s file" in page
    assert "lesions of its store" not in page
