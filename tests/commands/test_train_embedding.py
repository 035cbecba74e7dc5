"""From a synthetic release whose lesions have types by look or by place to searches, by the commands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from etl.derive.lesion_arrays import lesion_arrays
from etl.derive.place_model import learn
from etl.derive.retrieval_measures import Labelled, answer, vectors
from etl.phantom import write_phantom
from etl.phantom.looks import LOOKS
from etl.run.serial import SerialExecutor
from etl.store import open_store
from etl.store.lesion_embeddings import embeddings_of
from tests.support.jobs import call_job
from tests.support.require import wanting
from tests.support.stored import build_store
from tests.support.three_volumes import built

pytestmark = pytest.mark.usefixtures("serial_jobs")
HAS_TORCH = importlib.util.find_spec("torch") is not None
QUICK = {
    "steps": 120,
    "sequences_a_step": 6,
    "rate": 0.002,
    "average": 0.95,
    "validate_steps": 60,
    "dimensions": 16,
    "labels.seeds": 0.6,
    "labels.refine_steps": 40,
}


def test_a_config_or_store_that_can_not_be_learned_from_is_refused(tmp_path: Path) -> None:
    store = built(tmp_path).store
    if not HAS_TORCH:
        done = call_job("train_embedding", store, "embedding", code=2)
        assert "training needs packages that are missing" in done.output
        return
    for value, said in (
        ("net=other", '`net` = "other": input should be'),
        ("labels.source=tags", "the store has no tags"),
        (f"work={tmp_path}", "patients are in two splits"),
    ):
        done = call_job("train_embedding", store, "embedding", "--set", value, code=2)
        assert said in done.output


def test_several_processes_train_no_embedding() -> None:
    """It is said before anything is read: there is no such store and no such config."""
    done = call_job("train_embedding", "no-store", "no-config", code=2, WORLD_SIZE="3")
    for part in ("an embedding is trained by one process", "WORLD_SIZE=3", "without torchrun"):
        assert part in done.output


@pytest.mark.campaign
def test_looks_are_found_by_pixels_and_places_by_place(tmp_path: Path) -> None:
    if not HAS_TORCH:
        wanting("torch", "needs PyTorch, which is too large for the lock: make torch")
    release, root = tmp_path / "release", str(tmp_path / "store")
    write_phantom(release, patients=1, looks=28, archives=1)
    source = {
        "annotations": str(release / "DL_info.csv"),
        "archives": [str(release / "Images_png_01.zip")],
    }
    build_store({"store": root, "source": source, "cluster": "serial"}, SerialExecutor())
    settings = [w for k, v in QUICK.items() for w in ("--set", f"{k}={v}")]
    settings += ["--set", f"work={tmp_path / 'work'}"]
    first = call_job("train_embedding", root, "embedding", *settings, "--steps-now", "50")
    assert "step 50 of 120" in first.output
    done = call_job("train_embedding", root, "embedding", *settings)
    assert "has now the model sequence-" in done.output
    assert "loss" in done.stderr
    assert (next((tmp_path / "work").iterdir()) / "curves.svg").is_file()
    call_job("embed_lesions", root, "--model", "sequence")

    store = open_store(root)
    metrics = json.loads(store.model_file("sequence", "metrics.json"))
    assert metrics["leak"]["largest_change_of_a_vector"] == 0
    assert metrics["data"]["with_a_type_at_last"] > metrics["data"]["with_a_type_at_first"]
    lesions = store.lesions()
    known = lesions[lesions["coarse_type_code"].notna()].sort_values(["patient_index", "lesion_id"])
    embedding = embeddings_of(store, "sequence", known)
    labelled = Labelled(lesion_arrays(known, embedding), known["coarse_type_code"].to_numpy(np.int64))
    is_val = known["split"].to_numpy() == "val"
    gallery, queries = (labelled.take(np.flatnonzero(rows)) for rows in (is_val, ~is_val))
    by_pixels, by_place = answer(gallery, queries, vectors), answer(gallery, queries, learn(*gallery).embed)
    look = np.isin(queries.coarse_type, LOOKS) & (queries.lesions.patient > 1)
    place = np.isin(queries.coarse_type, (7, 8)) & (queries.lesions.patient > 1)
    assert look.sum() == 28
    assert place.sum() == 28
    assert by_pixels.p_at_10[look].mean() > by_place.p_at_10[look].mean() + 0.2
    assert by_pixels.p_at_10[look].mean() > 0.9
    assert by_place.p_at_10[place].mean() >= by_pixels.p_at_10[place].mean()

    query = int(queries.lesions.lesion_id[look][0])
    page = tmp_path / "similar.html"
    found = call_job("find_similar", root, str(query), "--model", "sequence", "--page", str(page))
    assert len(found.stdout.splitlines()) == 10
    assert b"model <code>sequence</code>" in page.read_bytes()
    measured = json.loads(
        call_job("evaluate_retrieval", "--model", "sequence", "--gallery", root, "--queries", root).stdout
    )
    assert measured["queries"] == len(known)
