"""A store as the first version of the contract wrote it is read, every part of it, by what is here now.

tests/contract/store_v1 was built from the release below before any column was added. It is never built again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from etl.core.errors import ConfigError, StoreError
from etl.export.export import export
from etl.export.protocol import FORMATS, Selection
from etl.io.opening import open_objects
from etl.report.serving import Site
from etl.store import LesionCrops, Store, open_store
from etl.store.history import rollback
from etl.store.prune import prune
from etl.store.receipts import Receipt, read_receipt
from etl.tables.registry import BUILD_TABLES
from etl.verify.verify import verify
from tests.regenerate_contract import contract_config
from tests.support.three_volumes import files_of
from tests.support.tiny_release import build_serial

FOLDER = Path(__file__).parent / "contract" / "store_v1"
VOLUMES = ["000001_01_01_003-004", "000001_01_01_006-007", "000002_01_01_001-002"]
ROWS = {"lesions": 3, "volumes": 3, "slices": 6, "rejects": 2}


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store(str(FOLDER))


def test_its_tables(store: Store) -> None:
    tables = {name: getattr(store, name)() for name in BUILD_TABLES}
    assert {name: len(table) for name, table in tables.items()} == ROWS
    lesions = tables["lesions"]
    assert lesions["volume_id"].tolist() == VOLUMES
    assert lesions["split"].tolist() == ["train", "train", "val"]
    assert lesions["coarse_type"].isna().tolist() == [True, True, False]
    assert lesions["coarse_type"][2] == "liver"
    assert lesions["age_years"].isna().tolist() == [False, True, False]
    assert lesions[["bbox_x1_px", "bbox_y2_px"]].values.tolist() == [[4, 13]] * 3
    # 0.5 mm a pixel, which count from 1; voxels of 1 mm.
    assert lesions[["bbox_x1_mm", "bbox_y2_mm", "z_mm"]].values.tolist() == [
        [1.5, 6, 2],
        [1.5, 6, 2],
        [1.5, 6, 2],
    ]
    assert lesions["z_vox"].tolist() == [2, 2, 2]
    assert tables["volumes"]["volume_id"].tolist() == VOLUMES
    assert tables["slices"]["slice_index"].tolist() == [3, 4, 6, 7, 1, 2]
    assert sorted(tables["rejects"]["reason"]) == ["slice_missing", "unknown_sex"]


def test_every_column_of_then_is_there_as_it_was(store: Store) -> None:
    for name, table in BUILD_TABLES.items():
        now = {field.name: str(field.type) for field in table.schema}
        then = {column: kind.removesuffix(" nullable") for column, kind in store.version["schemas"][name]}
        assert then.items() <= now.items()


def test_its_volumes(store: Store) -> None:
    y, x = np.mgrid[:8, :8]
    for volume_id, patient, first in zip(VOLUMES, (1, 1, 2), (3, 6, 1), strict=True):
        volume = store.volume(volume_id)
        assert volume.shape == store.array(volume_id).shape == (3, 8, 8)
        # The slope that its slices were made of: 7 HU a slice of 2 mm, 10 and 3 a pixel of 0.5 mm. Away from
        # the border, where the low-pass filter has less to weigh, a slope stays as it is.
        for z in range(3):
            expected = 20 * y + 6 * x + 7 * first + 3.5 * z + patient - 100
            assert np.abs(volume[z] - expected)[1:-1, 1:-1].max() <= 0.5
        assert volume["z"].values.tolist() == [0, 1, 2]
        assert store.volume(volume_id, level=1).shape == (2, 4, 4)


def test_its_crops(store: Store) -> None:
    crops = LesionCrops(store, size_vox=(3, 4, 4))
    assert [int(sample["lesion_id"]) for sample in crops] == [0, 1, 2]
    for sample in crops:
        crop = store.crop(int(sample["lesion_id"]), size_mm=(3, 4, 4))
        assert np.array_equal(store.window(crop), sample["image"])
        assert crop["z"].values.tolist() == [1, 2, 3]
        assert (crop[2] == -1024).all()
        assert crop[1].min() > -1024


def test_a_column_that_came_later_is_said_not_to_be_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no such column of `lesions` in this version"):
        store.lesions(columns=["lesion_id", "a_later_column"])


def test_its_receipts_are_kept_to_the_byte() -> None:
    for path in FOLDER.glob("volumes/*/*/receipt.json"):
        assert Receipt.from_bytes(path.read_bytes()).to_bytes() == path.read_bytes()


def test_its_volumes_are_not_reused_by_a_build(store: Store) -> None:
    for entry in store.version["volumes"]:
        _, volume_id, fingerprint = entry["path"].split("/")
        assert (FOLDER / entry["path"] / "receipt.json").exists()
        assert read_receipt(store.objects, volume_id, fingerprint) is None


def test_it_verifies() -> None:
    found = verify(open_objects(str(FOLDER)), 1)
    assert found.problems == ()
    assert found.volumes == 3


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_exported(store: Store, tmp_path: Path, name: str) -> None:
    if name == "nnunet":
        with pytest.raises(ConfigError, match="no selected lesion has a mask"):
            export(store, tmp_path / "out", name, Selection())
        return
    done = export(store, tmp_path / "out", name, Selection())
    assert (done.lesions, done.volumes) == (3, 3)
    written = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} - {".txt", ""}
    assert (
        written
        >= {
            "nifti": {".gz"},
            "monai": {".json", ".gz"},
            "nndetection": {".json", ".gz"},
            "webdataset": {".tar"},
            "huggingface": {".md", ".parquet"},
            "coco": {".json", ".png"},
            "csv": {".csv"},
            "images": {".png"},
            "croissant": {".json", ".parquet"},
        }[name]
    )


def test_it_is_served(store: Store) -> None:
    """Requests of the viewer: the catalogue, a volume's metadata and a range of its voxels."""
    site = Site(store)
    listed = json.loads(site.answer("/viewer/catalogue.json").body)
    assert listed["volumes"]["volume_id"] == VOLUMES
    assert listed["lesions"]["volume_id"] == VOLUMES
    assert listed["report"] is None
    for path in listed["volumes"]["path"]:
        assert site.answer(f"/store/{path}/zarr.json").body == (FOLDER / path / "zarr.json").read_bytes()
        shard = (FOLDER / path / "0/c/0/0/0").read_bytes()
        assert site.answer(f"/store/{path}/0/c/0/0/0", "bytes=3-8").body == shard[3:9]


@pytest.mark.slow
def test_a_build_into_it_publishes_by_the_second_contract_and_leaves_it_readable(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same release again: all is converted again, and the first version is read and rolled back to."""
    copy = tmp_path / "store"
    shutil.copytree(FOLDER, copy)
    before = files_of(str(copy))
    config = contract_config(tmp_path, copy, limits={"rejects": 0.9, "allow_schema_change": True})
    build = build_serial(config)
    assert (build.converted, build.reused, build.published.version["version"]) == (3, 0, 2)
    (line,) = [r.message for r in caplog.records if "of the contract" in r.message]
    assert "version 1 of the contract, this build version 2: volumes are converted again" in line
    first = before["versions/000001.json"]
    assert build.published.version["parent_sha256"] == hashlib.sha256(first).hexdigest()
    after = files_of(str(copy))
    assert {name: after[name] for name in before} == before
    now, then = open_store(str(copy)), open_store(str(copy), 1)
    assert then.version == store.version
    for volume_id in VOLUMES:
        assert np.array_equal(now.array(volume_id)[...], then.array(volume_id)[...])
    objects = open_objects(str(copy))
    version, is_new = rollback(objects, 1, "back")
    assert (version["contract_version"], version["volumes"], is_new) == (2, store.version["volumes"], True)
    assert open_store(str(copy)).lesions().equals(then.lesions())
    for number in (1, 2, 3):
        assert verify(objects, number).problems == ()
    # Its volumes go with the last version that names them.
    rollback(objects, 2, "forward")
    prune(objects, 1, 0)
    assert sorted(path.suffix for path in copy.glob("volumes/*/*")) == [".json"] * 3 + [".zarr"] * 3
    assert verify(objects, 4).problems == ()
