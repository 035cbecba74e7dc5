"""Positions in the body, in the report and for the viewer."""

from __future__ import annotations

import io
import json
import re
import shutil
from http import HTTPStatus
from pathlib import Path

import pandas as pd
import pytest

from etl.io.opening import open_objects
from etl.publish.add_model import add_model
from etl.report.body import body_of
from etl.report.report import make_report
from etl.report.serving import Site
from etl.store import Store, open_store
from tests.support.jobs import call_job
from tests.support.three_volumes import FIRST, built
from tests.support.tiny_model import tiny_model

MODEL_ID = "brightness-3f6a09c2d1e4b785"
CURVES = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, Store]:
    """A version without a model, one with a model, and one whose slices were scored. Read only."""
    from etl.run.cluster_kinds import Serial

    place = built(tmp_path_factory.mktemp("body")).store
    add_model(open_objects(place), "brightness", MODEL_ID, tiny_model() | {"curves.svg": CURVES})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.run.clusters.chosen_cluster", lambda name: Serial(kind="serial"))
        call_job("score_slices", place, "--model", "brightness")
    return open_store(place, 1), open_store(place, 2), open_store(place, 3)


def test_nothing_is_said_without_a_model(stores: tuple[Store, Store, Store]) -> None:
    assert body_of(stores[0], stores[0].lesions()) is None
    assert b'id="body"' not in make_report(stores[0])["index.html"]


def test_a_model_is_shown_with_its_curves(stores: tuple[Store, Store, Store]) -> None:
    body = body_of(stores[1], stores[1].lesions())
    assert body is not None
    assert [model.model_id for model in body.models] == [MODEL_ID]
    page = make_report(stores[1])["index.html"].decode()
    assert "data:image/svg+xml;base64," in page
    assert f"../../models/brightness/{MODEL_ID}/README.md" in page
    assert "were not scored" in page


@pytest.mark.parametrize("damage", [b"<svg/>", None], ids=["changed", "lost"])
def test_a_model_whose_curves_are_damaged_only_loses_these(
    stores: tuple[Store, Store, Store], tmp_path: Path, damage: bytes | None
) -> None:
    shutil.copytree(stores[1].objects.root, tmp_path / "store")
    curves = tmp_path / "store" / "models" / "brightness" / MODEL_ID / "curves.svg"
    curves.unlink() if damage is None else curves.write_bytes(damage)
    page = make_report(open_store(tmp_path / "store", 2))["index.html"].decode()
    (said,) = re.findall(rf"<p class=\"lacking\">Model {MODEL_ID}, without curves \((.*?)\)", page)
    assert said.startswith(f"curves.svg: a model&#39;s file {'is damaged' if damage else 'can'}")
    assert "data:image/svg+xml;base64," not in page


def test_the_table_holds_each_lesion_with_the_position_of_its_key_slice(
    stores: tuple[Store, Store, Store],
) -> None:
    store = stores[2]
    files = make_report(store)
    rows = pd.read_csv(io.BytesIO(files["lesion_positions.csv"]))
    lesions = store.lesions().set_index("lesion_id")
    assert rows["lesion_id"].tolist() == lesions.index.tolist()
    positions = store.body_positions().set_index(["volume_id", "slice_index"])["norm_z"]
    for row in rows.itertuples():
        lesion = lesions.loc[row.lesion_id]
        assert row.norm_z == pytest.approx(lesion["norm_z"])
        assert row.norm_z_predicted == pytest.approx(
            positions[lesion["volume_id"], lesion["key_slice_index"]]
        )
    page = files["index.html"].decode()
    assert f"as the model {MODEL_ID} sees them" in page
    assert "3 too_short" in page
    assert "without positions" not in page
    assert "z_of_slices" not in page, "no volume's order is known, so no slice is counted"


def test_volumes_without_positions_are_counted(
    stores: tuple[Store, Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = stores[2].body_positions()
    scored = scored[scored["volume_id"] != f"{FIRST}_003-005"]
    monkeypatch.setattr(Store, "body_positions", lambda self: scored)
    page = make_report(stores[2])["index.html"].decode()
    assert "2 too_short" in page
    assert "1 volume without positions: run deeplesion score again" in page


def test_the_viewer_gets_the_positions_of_a_volume(stores: tuple[Store, Store, Store]) -> None:
    answer = Site(stores[2]).answer("/positions/0")
    assert answer.status == HTTPStatus.OK
    assert answer.headers["Content-Type"].startswith("application/json")
    found = json.loads(answer.body)
    rows = stores[2].body_positions(volume_id=f"{FIRST}_003-005")
    assert found["mm"] == rows["mm"].tolist()
    assert found["norm_z"] == pytest.approx(rows["norm_z"].tolist())
    assert found["region"] == rows["region"].tolist()
    assert found["order"] == "too_short"
    nothing = {"mm": [], "norm_z": [], "region": [], "order": ""}
    assert json.loads(Site(stores[2]).answer("/positions/99").body) == nothing
    assert json.loads(Site(stores[1]).answer("/positions/0").body) == nothing
    catalogues = [json.loads(Site(store).answer("/viewer/catalogue.json").body) for store in stores]
    assert [one["positions"] for one in catalogues] == [False, False, True]
