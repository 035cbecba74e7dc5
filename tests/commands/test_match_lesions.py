from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etl.commands.model_tables import publish_model
from etl.core.config import Config
from etl.core.errors import RunError, StoreError
from etl.derive.match_calibration import read_calibration
from etl.io.local import LocalObjects
from etl.io.opening import open_objects
from etl.publish.add_tables import NewTable, add_tables
from etl.store import open_store
from etl.tables.embeddings import embedding_columns, embeddings_table
from etl.verify.verify import verify
from tests.support.jobs import call_job
from tests.support.three_volumes import built
from tests.support.tiny_release import build_serial, csv_row, write_release

EARLY, LOWER, LATE, ALONE = "000001_01_01", "000001_01_02", "000001_02_01", "000002_01_01"
PRESENT = {EARLY: [3, 4, 5], LOWER: [1, 2], LATE: [3, 4, 5], ALONE: [1, 2]}
FAR = "not nearer than the threshold"
GROWN = {
    "Measurement_coordinates": "5, 9, 12, 9, 8.5, 7, 8.5, 11",
    "Lesion_diameters_Pixel_": "7, 4",
}
ROWS = (
    csv_row(EARLY, 4, (3, 5), Patient_age="61"),
    csv_row(LOWER, 2, (1, 2), Patient_age="61", Normalized_lesion_location="0.2, 0.3, 0.9"),
    csv_row(LATE, 4, (3, 5), Patient_age="31", **GROWN),
    csv_row(ALONE, 2, (1, 2)),
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return built(tmp_path, PRESENT, ROWS)


def match(config: Config, *arguments: str) -> str:
    return call_job("match_lesions", config.store, *arguments).output


def problems(config: Config, number: int) -> list[str]:
    return [f"{p.where}: {p.what}" for p in verify(open_objects(config.store), number).problems]


@pytest.mark.slow
def test_sequences_are_published_read_carried_and_completed(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="were not matched over time"):
        open_store(config.store).sequences()
    said = match(config)
    assert "4 lesions in 3 sequences, 1 over several studies, 3 links, 1 kept" in said
    store = open_store(config.store)
    assert (store.version["version"], store.version["parent"]) == (2, 1)
    assert store.version["added_tables"]["sequences"]["coverage"] == {"covered": 4, "of": 4}
    found = store.sequences()
    assert found["sequence_id"].tolist() == ["000001_00000", "000001_00001", "000001_00000", "000002_00003"]
    assert found["age_falls"].tolist() == [True, True, True, False]
    assert store.sequences(patient=2)["lesion_id"].tolist() == [3]
    with pytest.raises(StoreError, match="no lesion of this patient"):
        store.sequences(patient=7)

    growth = store.growth()
    assert growth["sequence_id"].tolist() == ["000001_00000"] * 2
    assert growth["long_diameter_mm"].tolist() == [2.5, 3.5]
    assert growth["change_from_first_percent"].tolist()[1] == pytest.approx(40)
    assert growth["over_progression_threshold"].tolist() == [False, False]  # 1 mm is under 5 mm
    links = store.table("links")
    assert links["reason"].tolist() == [FAR, "nearest both ways", FAR]
    assert problems(config, 2) == []

    assert "has them already" in match(config)
    assert open_store(config.store).version["version"] == 2
    assert build_serial(config).published.is_new is False  # the nightly build

    write_release(tmp_path, PRESENT | {LATE: [4, 5]}, ROWS)
    build_serial(config)
    carried = open_store(config.store)
    assert carried.version["version"] == 3
    assert carried.version["added_tables"]["sequences"]["coverage"] == {"covered": 3, "of": 4}
    assert carried.sequences()["lesion_id"].tolist() == [0, 1, 3]
    assert carried.table("links")["other_lesion_id"].tolist() == [1]
    match(config)
    assert open_store(config.store).sequences().equals(found)
    assert problems(config, 4) == []


def test_algorithm_1_can_be_chosen(config: Config) -> None:
    match(config, "--algorithm", "paper")
    assert open_store(config.store).sequences()["method"].str.startswith("paper, calibration of 20").all()


@pytest.mark.slow
def test_an_embedding_joins_what_lies_apart(config: Config) -> None:
    refused = call_job("match_lesions", config.store, "--method", "embedding:looks", code=2)
    assert "no embedding of this model" in refused.output
    assert "embeddings/looks" in refused.output
    store = open_store(config.store)
    table = embeddings_table("looks", 2)
    rows = embedding_columns(range(3), np.array([[1.0, 0], [0, 1], [0, 1]]))
    add_tables(store.objects, store.version, [NewTable(table, table.rows(rows), range(4))])
    match(config)
    by_place = open_store(config.store).table("links").set_index(["lesion_id", "other_lesion_id"])["distance"]
    said = match(config, "--method", "embedding:looks")
    assert "1 patient matched by place alone, for lack of a vector of looks" in said
    by_looks = open_store(config.store)
    distance = by_looks.table("links").set_index(["lesion_id", "other_lesion_id"])["distance"]
    # Lesions 0 and 2 differ in looks: their cosine is 0. 1 and 2 do not.
    assert distance[0, 2] == pytest.approx(by_place[0, 2] + read_calibration().embedding_weight)
    assert distance[1, 2] == pytest.approx(by_place[1, 2])
    methods = [method.partition(", ")[0] for method in by_looks.sequences()["method"]]
    assert methods == ["mutual by embedding:looks"] * 3 + ["mutual"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "embedding"], "is neither `place` nor `embedding:MODEL`"),
        (["--method", "place:x"], "is neither `place` nor `embedding:MODEL`"),
        (["--method", "embedding:x", "--algorithm", "paper"], "use it with --method place"),
    ],
)
def test_wrong_methods_are_refused(arguments: list[str], said: str) -> None:
    done = call_job("match_lesions", "store", *arguments, code=2)
    assert said in " ".join(done.output.split())


def test_a_place_without_a_store_ends_with_one_message(tmp_path: Path) -> None:
    done = call_job("match_lesions", str(tmp_path / "nothing"), code=2)
    assert "there is no store here" in done.output


def test_a_store_that_fails_while_it_is_published_to_ends_with_4(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("write", "create"):
        own: Callable[..., Any] = getattr(LocalObjects, method)

        def fail(objects: LocalObjects, name: str, *data: bytes, own: Callable[..., Any] = own) -> Any:
            if name.startswith(("tables/", "models/")):
                raise OSError(errno.ESTALE, "Stale file handle", name)
            return own(objects, name, *data)

        monkeypatch.setattr(LocalObjects, method, fail)
    done = call_job("match_lesions", config.store, code=4)
    assert "the store failed" in done.stderr
    assert "Stale file handle" in done.stderr
    with pytest.raises(RunError, match=r"the store failed(.|\n)*Stale file handle"):
        publish_model(
            LocalObjects(config.store), config.store, "looks", "looks-3f6a09c2d1e4b785", {"card.md": b""}
        )
