"""Exports of patients whose lesions are of several splits: nothing of test is learned from."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from etl.export.export import export
from etl.export.protocol import Selection
from etl.store.reader import Store
from tests.support.masked_store import masked_store
from tests.support.tiny_release import csv_row

BOTH, TRAIN, VAL = "000001_01_01", "000001_02_01", "000002_01_01"
VOLUMES = {f"{BOTH}_103-115", f"{TRAIN}_008-023"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Patient 1 has a volume of train and test, and one of train alone; patient 2 is of train and val."""
    rows = [
        csv_row(BOTH, 109, (103, 115), Train_Val_Test="1"),
        csv_row(TRAIN, 14, (8, 23), Train_Val_Test="1"),
        csv_row(BOTH, 109, (103, 115), Train_Val_Test="3"),
        csv_row(VAL, 4, (3, 5), Train_Val_Test="2"),
        csv_row(VAL, 4, (3, 5), Train_Val_Test="1"),
    ]
    present = {BOTH: range(103, 116), TRAIN: range(8, 24), VAL: range(3, 6)}
    return masked_store(tmp_path_factory.mktemp("several"), rows, present=present)


def files_of(store: Store, out: Path, format_name: str, *selected: str) -> list[str]:
    export(store, out, format_name, Selection(splits=selected))
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


@pytest.mark.parametrize("selected", [(), ("train",)], ids=["all", "train"])
@pytest.mark.parametrize("format_name", ["nnunet", "nndetection"])
def test_volumes_of_a_test_patient_are_not_trained_on(
    store: Store, tmp_path: Path, format_name: str, selected: tuple[str, ...]
) -> None:
    files = files_of(store, tmp_path, format_name, *selected)
    for kind in ("images", "labels"):
        held = {Path(name).name[: len(BOTH) + 8] for name in files if f"{kind}Ts/" in name}
        assert held == VOLUMES
        trained = [name for name in files if f"{kind}Tr/" in name]
        assert bool(trained) == (format_name == "nndetection")
        assert all(VAL in name for name in trained)
    assert "in the last of them" in (tmp_path / "README.txt").read_text()


def test_a_volume_is_in_one_section_of_monai(store: Store, tmp_path: Path) -> None:
    files_of(store, tmp_path, "monai")
    listed = json.loads((tmp_path / "dataset.json").read_text())
    found = {
        name: [item["lesion_id"] for item in listed[name]] for name in ("training", "validation", "test")
    }
    assert found == {"training": [], "validation": [[3, 4]], "test": [[0, 2], [1]]}
    assert pd.read_csv(tmp_path / "lesions.csv")["split"].tolist() == [
        "train",
        "train",
        "test",
        "val",
        "train",
    ]


def test_a_key_slice_is_in_one_document_of_coco(store: Store, tmp_path: Path) -> None:
    files = files_of(store, tmp_path, "coco")
    documents = [name for name in files if name.startswith("annotations/")]
    assert documents == ["annotations/test.json", "annotations/val.json"]
    made = [json.loads((tmp_path / name).read_text()) for name in documents]
    assert [[lesion["lesion_id"] for lesion in one["annotations"]] for one in made] == [[0, 2, 1], [3, 4]]
    assert all(
        (tmp_path / "images" / image["file_name"]).is_file() for one in made for image in one["images"]
    )


def test_shards_of_webdataset_are_of_whole_patients(store: Store, tmp_path: Path) -> None:
    files = files_of(store, tmp_path, "webdataset")
    assert [name for name in files if name.endswith(".tar")] == ["test/test-000000.tar", "val/val-000000.tar"]
