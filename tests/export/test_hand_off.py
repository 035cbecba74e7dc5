"""Exports for training: their boxes lie on the lesions of the volumes, as the tools that read them see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from etl.core.errors import ConfigError, StoreError
from etl.export.export import export
from etl.export.huggingface import card
from etl.export.protocol import TYPES, Selection
from etl.phantom import phantom_truth
from etl.publish.add_tables import NewTable, add_tables
from etl.store.reader import Store, open_store
from etl.tables.embeddings import embedding_columns, embeddings_table
from tests.support.three_volumes import built

TRUTH = {lesion.lesion_id: lesion for lesion in phantom_truth().lesions}
FEW = Selection(patients=(1, 4))


@pytest.fixture(scope="module")
def monai(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("monai")
    export(demo_store, out, "monai", FEW)
    return out


def brightness(image: Any, ras_mm: Any) -> float:
    """HU of an image at a point in RAS mm, of the nearest voxel."""
    index = np.linalg.inv(image.affine) @ [*ras_mm, 1]
    return float(np.asarray(image.dataobj)[tuple(np.rint(index[:3]).astype(int))])


def test_boxes_in_ras_are_centred_on_the_lesions(monai: Path) -> None:
    listed = json.loads((monai / "dataset.json").read_text())
    looked_at = 0
    for section in ("training", "validation", "test"):
        for item in listed[section]:
            image = nibabel.load(monai / item["image"])
            for box, label, lesion_id in zip(item["box"], item["label"], item["lesion_id"], strict=True):
                lesion = TRUTH[lesion_id]
                assert len(box) == 6
                assert min(box[3:]) > 0
                assert listed["labels"][str(label)] in TYPES
                nearer = (
                    abs(brightness(image, box[:3]) - lesion.hu) < abs(lesion.hu - lesion.background_hu) / 2
                )
                looked_at += nearer
    assert looked_at >= 4


def test_lesions_csv_has_each_place_in_both_frames(monai: Path, demo_store: Store) -> None:
    places = [f"{frame}_{axis}_mm" for frame in ("lps", "ras") for axis in "xyz"]
    # Left to itself, pandas 2 reads some decimals one bit off.
    exact = dict.fromkeys(places, float)
    rows = pd.read_csv(monai / "lesions.csv", converters=exact).set_index("lesion_id", drop=False)
    lesions = demo_store.lesions().set_index("lesion_id", drop=False).loc[rows.index]
    for name in places[:3]:
        assert np.array_equal(rows[name], lesions[name])
    assert np.array_equal(rows[["ras_x_mm", "ras_y_mm"]], -rows[["lps_x_mm", "lps_y_mm"]] + 0.0)
    assert np.array_equal(rows["ras_z_mm"], rows["lps_z_mm"])
    for row in rows.itertuples():
        affine = nibabel.load(monai / row.file).affine
        placed = affine @ [row.row, row.column, row.slice, 1]
        assert placed[:3] == pytest.approx([row.ras_x_mm, row.ras_y_mm, row.ras_z_mm], abs=1e-4)
        corner = affine @ [row.box_row1, row.box_column1, row.slice, 1]
        assert corner[:2] == pytest.approx([row.box_ras_x1_mm, row.box_ras_y1_mm], abs=1e-4)


def test_one_class_for_all(demo_store: Store, tmp_path: Path) -> None:
    selection = Selection(patients=(1,), single_class=True)
    export(demo_store, tmp_path / "coco", "coco", selection)
    for path in (tmp_path / "coco" / "annotations").iterdir():
        made = json.loads(path.read_text())
        assert [(c["id"], c["name"]) for c in made["categories"]] == [(1, "lesion")]
        assert {a["category_id"] for a in made["annotations"]} == {1}
    export(demo_store, tmp_path / "monai", "monai", selection)
    listed = json.loads((tmp_path / "monai" / "dataset.json").read_text())
    assert listed["labels"] == {"0": "lesion"}
    assert {label for item in listed["training"] for label in item["label"]} <= {0}
    with pytest.raises(ConfigError, match="no classes"):
        export(demo_store, tmp_path / "csv", "csv", selection)
    with pytest.raises(ConfigError, match="another export"):
        export(demo_store, tmp_path / "coco", "coco", Selection(patients=(1,)))


@pytest.mark.slow
def test_webdataset_streams_the_shards(demo_store: Store, tmp_path: Path) -> None:
    import webdataset

    export(demo_store, tmp_path, "webdataset", Selection())
    seen = []
    for split in ("train", "val", "test"):
        shards = [str(path) for path in sorted((tmp_path / split).glob("*.tar"))]
        for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
            voxels, about = sample["hu.npy"], sample["json"]
            lesion = demo_store.lesions().set_index("lesion_id").loc[about["lesion_id"]]
            assert sample["__key__"] == f"{about['lesion_id']:06d}"
            assert (voxels.dtype, voxels.shape) == (np.int16, (32, 128, 128))
            assert (about["volume_id"], lesion["split"]) == (lesion["volume_id"], split)
            z, y, x = about["start_zyx"]
            assert np.add(about["box"], [x, y, x, y]) == pytest.approx(
                lesion[["bbox_x1_vox", "bbox_y1_vox", "bbox_x2_vox", "bbox_y2_vox"]].to_numpy(float)
            )
            assert about["box_z"] + z == pytest.approx(lesion["z_vox"])
            seen.append(about["lesion_id"])
    assert sorted(seen) == sorted(demo_store.lesions()["lesion_id"])


def test_the_card_names_every_file_of_every_table(demo_store: Store, tmp_path: Path) -> None:
    export(demo_store, tmp_path, "huggingface", Selection())
    _, header, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert "Cite: " in text
    named = {}
    for config in metadata["configs"]:
        for files in config["data_files"]:
            for path in files["path"]:
                named[path] = (config["config_name"], files["split"])
    assert set(named) == {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.parquet")}
    lesions = demo_store.lesions()
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        paths = [path for path, where in named.items() if where == ("lesions", name)]
        rows = sum(pq.read_metadata(tmp_path / path).num_rows for path in paths)
        assert rows == (lesions["split"] == split).sum()


@pytest.mark.parametrize("format_name", ["huggingface", "croissant"])
@pytest.mark.parametrize("table", ["slices", "rejects"])
def test_a_damaged_table_is_not_handed_on(
    demo_store: Store, tmp_path: Path, format_name: str, table: str
) -> None:
    version = json.loads(json.dumps(demo_store.version))
    version["tables"][table][0]["sha256"] = "0" * 64
    with pytest.raises(StoreError, match="a table's file is damaged"):
        export(Store(demo_store.objects, version), tmp_path, format_name, Selection())


@pytest.mark.parametrize("model", ["looks", "a.b-c_1"])
def test_tables_of_vectors_are_handed_on(tmp_path: Path, model: str) -> None:
    store = open_store(built(tmp_path / "built").store)
    table = embeddings_table(model, 2)
    rows = table.rows(embedding_columns(range(3), np.ones((3, 2))))
    add_tables(store.objects, store.version, [NewTable(table, rows, range(3))])
    for format_name in ("huggingface", "croissant"):
        export(open_store(store.objects.root), tmp_path / format_name, format_name, Selection())
    metadata = yaml.safe_load((tmp_path / "huggingface/README.md").read_text().split("---\n", 2)[1])
    named = {config["config_name"]: config["data_files"] for config in metadata["configs"]}
    assert "rejects" not in named, "datasets reads no table without rows"
    # Characters that the builder of Hugging Face refuses in names.
    assert not set(r"<>:/\|?*") & set("".join(named))
    (path,) = named[f"embeddings-{model}"][0]["path"]
    assert pq.read_table(tmp_path / "huggingface" / path).num_rows == 3
    records = json.loads((tmp_path / "croissant/croissant.json").read_text())["recordSet"]
    (described,) = (one for one in records if one["name"] == f"embeddings/{model}")
    found = {field["name"]: (field["dataType"], field.get("repeated")) for field in described["field"]}
    assert found["embedding"] == ("sc:Float", True)


@pytest.mark.parametrize(("lesions", "category"), [(21, "n<1K"), (4_889, "1K<n<10K"), (32_735, "10K<n<100K")])
def test_the_card_says_how_large_the_table_is(demo_store: Store, lesions: int, category: str) -> None:
    version = dict(demo_store.version)
    version["counts"] = {**version["counts"], "lesions": lesions}
    assert f"- {category}\n" in card(Store(demo_store.objects, version))
