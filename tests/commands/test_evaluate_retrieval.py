from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.derive.place_model import COMMITTED, read_place_model
from etl.publish.add_tables import NewTable, add_tables
from etl.store import open_store
from etl.tables.embeddings import embedding_columns, embeddings_table
from tests.support.jobs import call_job
from tests.support.three_volumes import ROWS, built
from tests.support.tiny_release import csv_bytes, csv_row


def printed(*arguments: str) -> dict[str, Any]:
    return json.loads(call_job("evaluate_retrieval", *arguments).stdout)


@pytest.fixture
def val(real_release: Path) -> list[str]:
    return ["--gallery", str(real_release / "DL_info_row_index.csv"), "--gallery-split", "val"]


@pytest.mark.slow
def test_folds_on_real_rows_and_the_committed_weights(val: list[str], tmp_path: Path) -> None:
    floor = printed("--model", "xyz", *val)
    assert floor["queries"] == 4889
    assert (floor["top1"], floor["p_at_10"], floor["nn20"]) == pytest.approx((0.756, 0.726, 0.792), abs=0.002)
    out = tmp_path / "weights.json"
    place = printed(*val, "--learn", str(out))
    assert place["top1"] >= 0.770
    assert place["p_at_10"] >= 0.755
    assert place["nn20"] >= 0.825
    assert place["macro_recall"] > floor["macro_recall"]
    assert abs(read_place_model(out).weights - read_place_model(COMMITTED).weights).max() < 1e-4


def test_two_files_are_scored_by_the_committed_weights(tmp_path: Path) -> None:
    lung, pelvis = "0.7, 0.4, 0.3", "0.5, 0.6, 0.85"
    rows = [
        csv_row("000001_01_01", 4, (3, 5), Normalized_lesion_location=lung),
        csv_row("000002_01_01", 4, (3, 5), Normalized_lesion_location=pelvis, Coarse_lesion_type="8"),
        csv_row("000003_01_01", 4, (3, 5), Coarse_lesion_type="-1", Train_Val_Test="1"),
    ]
    queries = [csv_row("000009_01_01", 4, (3, 5), Normalized_lesion_location=lung, Train_Val_Test="3")]
    (tmp_path / "gallery.csv").write_bytes(csv_bytes(rows))
    (tmp_path / "queries.csv").write_bytes(csv_bytes(queries))
    files = ["--gallery", str(tmp_path / "gallery.csv"), "--queries", str(tmp_path / "queries.csv")]
    result = printed(*files)
    assert (result["top1"], result["p_at_10"], result["nn20"]) == (1.0, 0.1, 1.0)
    assert result["weights"] == read_place_model().made
    assert printed("--model", "xyz", *files)["weights"] is None


@pytest.mark.parametrize(
    ("models", "lengths", "said"),
    [
        (("looks-aaaa", "looks-aaaa"), (2, 2), ""),
        (("looks-aaaa", None), (2, 2), ""),
        ((None, None), (2, 2), ""),
        (("looks-aaaa", "looks-bbbb"), (2, 2), "two models can't be compared: looks-aaaa in"),
        (("looks-aaaa", None), (2, 3), "two models can't be compared: vectors of 2 numbers in"),
    ],
)
def test_vectors_of_two_models_of_one_name_are_not_compared(
    tmp_path: Path, models: tuple[str | None, ...], lengths: tuple[int, ...], said: str
) -> None:
    stores = []
    for number, (model, length) in enumerate(zip(models, lengths, strict=True)):
        store = open_store(built(tmp_path / str(number), rows=(ROWS[0], ROWS[2])).store)
        table = embeddings_table("looks", length)
        rows = table.rows(embedding_columns([0, 1], np.ones((2, length))))
        recipe = None if model is None else {"model": model}
        add_tables(store.objects, store.version, [NewTable(table, rows, [0, 1], recipe=recipe)])
        stores.append(store.objects.root)
    arguments = ("--gallery", stores[0], "--queries", stores[1], "--model", "looks")
    done = call_job("evaluate_retrieval", *arguments, code=2 if said else 0)
    assert said in " ".join(done.output.replace("│", " ").split())


def test_wrong_inputs_end_with_one_message(tmp_path: Path) -> None:
    rows = [csv_row(series, 4, (3, 5)) for series in ("000001_01_01", "000001_02_01")]
    (tmp_path / "a.csv").write_bytes(csv_bytes(rows))
    file = str(tmp_path / "a.csv")
    for arguments, said in (
        (["--gallery", file], "are of one patient"),
        (["--gallery", str(tmp_path / "b.csv")], "there is no file"),
        (["--gallery", file, "--gallery-split", "test"], "has a coarse type in test"),
        (["--gallery", str(tmp_path / "nothing")], "there is no store here"),
        (["--gallery", file, "--queries-split", "test"], "--queries-split goes with --queries"),
        (
            ["--gallery", file, "--queries", file, "--learn", str(tmp_path / "no" / "w.json")],
            "can't be written",
        ),
    ):
        done = call_job("evaluate_retrieval", *arguments, code=2)
        assert said in " ".join(done.output.split())
