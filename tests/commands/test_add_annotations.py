"""Annotations by others become tables of a small store, and are carried on by the next builds."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pycocotools.mask
import pytest
import yaml

from etl.annotations.sources import given_rows, join_source
from etl.annotations.table_rows import annotation_tables
from etl.core.config import Config, More
from etl.core.errors import SourceError, StoreError
from etl.export.export import export
from etl.export.protocol import Selection
from etl.io.opening import open_objects
from etl.report.report import write_report
from etl.report.serving import Site
from etl.store import Store, open_store
from etl.store.lesion_crops import LesionCrops
from etl.verify.verify import verify
from tests.support.jobs import call_job
from tests.support.other_annotations import FIRST, PRESENT, ROWS, SECOND, write_sources
from tests.support.processes import LIMIT_SECONDS, ROOT, environment
from tests.support.three_volumes import built
from tests.support.tiny_release import build_serial, parse_rows, tiny_config, write_release


def run_job(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "add_annotations.py"), *arguments]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


@pytest.fixture
def store(tmp_path: Path) -> tuple[Config, Path]:
    """A built store, and the config of its annotations."""
    config = built(tmp_path, PRESENT, ROWS)
    more = tmp_path / "more.yaml"
    source = {"annotations": str(tmp_path / "DL_info.csv"), "more": write_sources(tmp_path / "others")}
    more.write_text(yaml.safe_dump({"source": source, "cluster": "serial"}))
    return config, more


def check_recipes(store: str) -> None:
    """Run the recipes of docs/annotations.md on a store."""
    text = (ROOT / "docs" / "annotations.md").read_text()
    recipes = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    assert len(recipes) == 4
    for recipe in recipes:
        exec(recipe.replace("build/store", store), found)
    assert found["nodules"]["lesion_id"].tolist() == [0]
    assert found["lesions_over_time"] == [[0, 1]]
    assert found["inside_hu"].shape == (9, 5, 4)
    assert found["volume_mm3"] == 32


def check_masks(store: Store, folder: Path) -> None:
    """Check that masks lie in the version, on their lesions, in crops, and in exports."""
    labels = store.version["labels"]
    assert [entry["volume_id"] for entry in labels] == [f"{FIRST}_103-115", f"{SECOND}_008-023"]
    mask, volume = store.mask(0), store.volume(f"{FIRST}_103-115")
    assert mask.shape == volume.shape
    assert all((mask[axis] == volume[axis]).all() for axis in "zyx")
    assert [tuple(np.flatnonzero(mask.any(list(other)))[[0, -1]]) for other in ("yx", "zx", "zy")] == [
        *((9, 14), (3, 4), (3, 5)),
    ]
    crop, cut = store.crop(0, 8), store.mask(0, size_mm=8)
    assert all((crop[axis] == cut[axis]).all() for axis in "zyx")
    assert cut.sum() == mask.sum() == store.table("masks")["stored_voxels"][0]
    own = store.mask(1, "uls23", grid="source")
    assert own.shape == (16, 16, 16)
    assert np.argwhere(own.to_numpy()).min(axis=0).tolist() == [6, 6, 5]
    assert own.sum() == 24
    for lesion_id, source in ((2, None), (0, "other")):
        with pytest.raises(StoreError, match="no such mask"):
            store.mask(lesion_id, source)
    samples = LesionCrops(store, size_vox=(8, 8, 8), masks=True)
    assert [int(sample["mask_kind"]) for sample in samples] == [2, 1, 0]
    assert [int(sample["mask"].sum()) for sample in samples] == [32, 12, 0]

    export(store, folder / "nifti", "nifti", Selection())
    image = nibabel.load(folder / "nifti" / "labels" / f"{FIRST}_103-115.uls23.lesions.nii.gz")
    voxels = np.asarray(image.dataobj).transpose(2, 0, 1)
    assert ((voxels == 1) == mask.to_numpy()).all()
    assert np.array_equal(image.affine, nibabel.load(folder / "nifti" / f"{FIRST}_103-115.nii.gz").affine)
    export(store, folder / "coco", "coco", Selection())
    document = json.loads((folder / "coco" / "annotations" / "val.json").read_bytes())
    by_lesion = {entry["lesion_id"]: entry for entry in document["annotations"]}
    plane = mask.to_numpy()[12]
    decoded = pycocotools.mask.decode(
        pycocotools.mask.frPyObjects(by_lesion[0]["segmentation"], *plane.shape)
    )
    assert (decoded == plane).all()
    assert by_lesion[0]["area"] == plane.sum()
    assert isinstance(by_lesion[2]["segmentation"], list)


def counts(report: dict[str, Any], name: str) -> list[int]:
    source = report["sources"][name]
    return [source[key] for key in ("entries", "joined", "unmatched", "rejects")]


@pytest.mark.slow
def test_annotations_through_the_life_of_a_store(store: tuple[Config, Path], tmp_path: Path) -> None:
    config, more = store
    done = run_job(config.store, str(more))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["csv"]["lesion_ids"] == "other"
    assert {name: counts(report, name) for name in report["sources"]} == {
        "lesanet": [3, 1, 2, 0],
        "dlt": [1, 1, 0, 0],
        "coco": [3, 1, 1, 1],
        "manual": [1, 1, 0, 0],
        "own": [1, 1, 0, 0],
        "uls23": [3, 2, 0, 1],
    }
    opened = open_store(config.store)
    assert opened.version["version"] == 2
    tags = opened.table("tags")
    assert tags.values.tolist() == [
        [0, "lesanet", 0, "chest", "relevant"],
        [0, "lesanet", 1, "lung", "relevant"],
        [0, "lesanet", 2, "nodule", "uncertain"],
    ]
    assert opened.table("pairs").values.tolist() == [["dlt", 0, 1, False]]
    masks = opened.table("masks", ["file", "lesion_id", "is_3d", "voxels", "volume_mm3", "end_point_px"])
    assert masks.values.tolist() == [
        [f"{FIRST}_109_lesion_01.nii.gz", 0, True, 72, 36.0, 0.0],
        [f"{SECOND}_014_sample_0.nii.gz", 1, False, 24, 12.0, 0.0],
    ]
    boxes = opened.table("boxes").set_index("source")
    assert boxes["lesion_id"].fillna(-1).tolist() == [0, -1, 0, 0]
    assert boxes.index.tolist() == ["coco", "coco", "manual", "own"]
    manual = boxes.loc["manual"]
    assert manual[["is_3d", "has_margin", "slice_first", "slice_last"]].tolist() == [True, False, 107, 111]
    assert manual["iou"] == pytest.approx(36 / 64)
    assert manual[["x1_px", "y2_px", "x1_mm", "y2_mm", "z1_mm", "z2_mm"]].tolist() == [5, 12, 2, 5.5, 8, 16]
    assert manual[["x1_vox", "y2_vox", "z1_vox", "z2_vox"]].tolist() == [2, 5.5, 8, 16]
    assert opened.table("other_splits").values.tolist() == [[0, "lesanet", "train"], [0, "uls23", "train"]]
    assert opened.table("release_rows").values.tolist() == [[0, 0]]
    accounts = opened.table("annotation_sources").set_index("source")
    assert (accounts["entries"] == accounts[["joined", "unmatched", "rejects"]].sum(axis=1)).all()
    rejects = opened.table("annotation_rejects")[["source", "reason"]].values.tolist()
    assert rejects == [["coco", "box_inverted"], ["uls23", "mask_misses_key_slice"]]
    assert [str(problem) for problem in verify(opened.objects, 2).problems] == []
    check_masks(opened, tmp_path)

    check_recipes(config.store)

    name, _ = write_report(opened, 1.0)
    page = (Path(config.store) / name).read_text()
    assert "Annotations by others" in page
    assert "mask_misses_key_slice" in page
    assert page.count('class="cyan"') == 2
    assert page.count("mask by others") == 1
    site = Site(opened)
    assert json.loads(site.answer("/viewer/catalogue.json").body)["lesions"]["has_mask"] == [
        True,
        True,
        False,
    ]
    outline = json.loads(site.answer("/outline/0").body)
    assert np.unique(np.array(outline), axis=0).tolist() == np.argwhere(opened.mask(0).to_numpy()).tolist()
    assert json.loads(site.answer("/outline/2").body) == []
    assert site.answer("/outline/x").status == 404

    again = run_job(config.store, str(more))
    assert "version 2 holds the same already" in again.stderr
    assert build_serial(config).published.is_new is False
    write_release(tmp_path, PRESENT | {SECOND: range(8, 20)}, ROWS)
    changed = build_serial(tiny_config(tmp_path, tmp_path / "store")).published.version
    assert changed["version"] == 3
    carried = open_store(config.store)
    assert carried.table("tags").equals(tags)
    assert carried.table("masks")["lesion_id"].tolist() == [0]
    assert carried.version["labels"] == opened.version["labels"][:1]
    assert carried.mask(0).equals(opened.mask(0))
    assert len(carried.table("pairs")) == 0

    (shard,) = Path(config.store).glob(f"labels/{FIRST}*/*/labels/lesions/0/c/0/0/0")
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=r"(?s)labels of a volume .*chunk \(0, 0, 0\)"):
        open_store(config.store).mask(0)
    shard.unlink()
    with pytest.raises(StoreError, match=r"(?s)labels of a volume .*no such object"):
        open_store(config.store).mask(0)


@pytest.mark.slow
def test_a_csv_of_another_store_is_refused(store: tuple[Config, Path], tmp_path: Path) -> None:
    config, more = store
    write_release(tmp_path, PRESENT, (ROWS[1], ROWS[0], ROWS[2]))
    done = run_job(config.store, str(more))
    assert done.returncode == 2
    assert "not the one that the store was built from" in done.stderr
    assert open_store(config.store).version["version"] == 1


@pytest.mark.slow
def test_tags_of_unknown_rows_are_refused_as_a_whole(tmp_path: Path) -> None:
    write_release(tmp_path, {}, ROWS[1:], zipped=False)
    more = {"lesanet": write_sources(tmp_path / "others")["lesanet"]}
    config = tmp_path / "more.yaml"
    config.write_text(yaml.safe_dump({"source": {"more": more}}))
    done = run_job("--check", str(tmp_path / "DL_info.csv"), str(config))
    assert done.returncode == 2
    assert "the CSV is in another order" in done.stderr
    assert counts(json.loads(done.stdout), "lesanet") == [3, 0, 3, 0]


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "others")
    given = given_rows(parse_rows(*ROWS))
    for name, key in (("coco", "file"), ("uls23", "files")):
        path = str(tmp_path / "others" / ("coco.json" if key == "file" else "masks.zip"))
        for sha256, is_right in (
            (hashlib.sha256(Path(path).read_bytes()).hexdigest(), True),
            ("0" * 64, False),
        ):
            file = {"url": path, "sha256": sha256}
            data = {"kind": sources[name]["kind"], key: file if key == "file" else (file,)}
            more = More.model_validate(data)
            if is_right:
                assert join_source(name, more, given).joined
                continue
            with pytest.raises(SourceError, match="not the file that is expected"):
                join_source(name, more, given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"a": {"kind": "tags", "file": "f"}}, "source.more.a.kind"),
        ({"a": {"kind": "dlt_pairs"}}, "source.more.a"),
        ({"a": {"kind": "dlt_pairs", "file": "f", "files": ["g"]}}, "source.more.a"),
        ({"A b": {"kind": "dlt_pairs", "file": "f"}}, "source.more"),
        ({"a": {"kind": "dlt_pairs", "file": "nothing.json"}}, "nothing.json"),
        ({}, "source.more"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, more: dict[str, Any], named: str) -> None:
    write_release(tmp_path, {}, ROWS, zipped=False)
    config = tmp_path / "more.yaml"
    config.write_text(yaml.safe_dump({"source": {"more": more}}))
    done = run_job("--check", str(tmp_path / "DL_info.csv"), str(config))
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_prune_takes_the_labels_of_a_join_that_is_not_published_yet(
    store: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, more = store

    def pruned_before(*arguments: Any) -> Any:
        done = call_job(
            "store_versions", config.store, "prune", "--keep", "1", "--older-than", "0", code=None
        )
        refused.append(done.exit_code)
        return annotation_tables(*arguments)

    refused: list[int] = []
    monkeypatch.setattr("etl.annotations.table_rows.annotation_tables", pruned_before)
    call_job("add_annotations", config.store, str(more))
    assert refused == [3]
    assert len(open_store(config.store).version["labels"]) == 2
    assert verify(open_objects(config.store), 2).problems == ()
    assert not list(Path(config.store, ".running").glob("*"))
