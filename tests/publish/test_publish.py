from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from etl.core.config import Config
from etl.io.places import object_info
from etl.store.layout import receipt_path, root_metadata, run_path, summary_path, version_path
from etl.store.reader import open_store
from etl.store.versions import new_run_id
from tests.support.three_volumes import FIRST, SECOND, files_of, variant
from tests.support.tiny_release import build_serial


def test_a_version_names_every_file_with_size_and_checksum(config: Config) -> None:
    published = build_serial(config).published
    version = published.version
    assert (published.is_new, version["version"], version["parent"]) == (True, 1, None)
    stored = files_of(config.store)
    assert json.loads(stored[version_path(1)]) == version
    assert stored["store.json"] == root_metadata()
    entries = [entry for files in version["tables"].values() for entry in files]
    for entry in entries:
        info = object_info(entry["path"], stored[entry["path"]])
        assert (entry["bytes"], entry["sha256"]) == (info.bytes, info.sha256)
    assert sum(entry["rows"] for entry in version["tables"]["lesions"]) == 3
    assert [entry["path"].split("/", 2)[2] for entry in version["tables"]["lesions"]] == [
        "lesions/split=train/part-0.parquet",
        "lesions/split=val/part-0.parquet",
    ]
    of_the_run = run_path(version["run_id"], "json")
    named = {entry["path"] for entry in entries} | {
        version_path(1),
        summary_path(1),
        "store.json",
        of_the_run,
    }
    for volume in version["volumes"]:
        receipt = json.loads(stored[receipt_path(volume["path"])])
        members = [f"{volume['path']}/{item['path']}" for item in receipt["objects"]]
        named |= {*members, receipt_path(volume["path"])}
        assert volume["bytes"] == sum(len(stored[n]) for n in (*members, receipt_path(volume["path"])))
    assert named == {name for name in stored if not name.startswith(".partial/")}
    assert [volume["volume_id"] for volume in version["volumes"]] == [
        f"{FIRST}_003-005",
        f"{FIRST}_007-007",
        f"{SECOND}_001-002",
    ]


def test_a_version_tells_where_it_comes_from(config: Config, release: Path) -> None:
    version = build_serial(config).published.version
    assert version["config"] == json.loads(json.dumps(config.recorded()))
    csv = (release / "DL_info.csv").read_bytes()
    assert version["annotations"] == {
        "name": "DL_info.csv",
        "rows": 3,
        "bytes": len(csv),
        "sha256": object_info("", csv).sha256,
    }
    (archive,) = version["archives"]
    assert (archive["name"], archive["slices"]) == ("Images_png_01.zip", 6)
    assert archive["bytes"] == (release / "Images_png_01.zip").stat().st_size
    assert {"python", "deeplesion-store", "numpy", "zarr", "numcodecs", "pyarrow"} <= version["code"].keys()


def test_unchanged_content_publishes_no_new_version(config: Config) -> None:
    first = build_serial(config)
    before = files_of(config.store)
    again = build_serial(config)
    assert (first.converted, first.reused, again.converted, again.reused) == (3, 0, 0, 3)
    assert not again.published.is_new
    assert again.published.version == first.published.version
    after = files_of(config.store)
    (record,) = after.keys() - before.keys()
    assert record.startswith("runs/")
    assert {name: data for name, data in after.items() if name != record} == before


@pytest.mark.slow
def test_a_changed_parameter_publishes_a_second_version_and_the_first_stays_readable(config: Config) -> None:
    build_serial(config)
    first = open_store(config.store)
    volume_id = f"{FIRST}_003-005"
    voxels, lesions, volumes = np.asarray(first.array(volume_id)), first.lesions(), first.volumes()
    before = files_of(config.store)

    second = build_serial(variant(config, volume={"spacing_mm": 2.0}))
    assert (second.converted, second.published.version["version"]) == (3, 2)
    assert second.published.version["parent"] == 1
    after = files_of(config.store)
    assert {name: after[name] for name in before} == before

    for store in (first, open_store(config.store, version=1)):
        assert np.array_equal(store.array(volume_id)[:], voxels)
        assert store.lesions().equals(lesions)
        assert store.volumes().equals(volumes)
    current = open_store(config.store)
    assert current.version["version"] == 2
    assert current.array(volume_id).shape != voxels.shape
    assert (current.lesions()["bbox_x1_vox"] * 2).tolist() == lesions["bbox_x1_vox"].tolist()
    assert set(current.volumes()["path"]).isdisjoint(volumes["path"])


@pytest.mark.slow
def test_going_back_to_earlier_parameters_publishes_again_and_converts_nothing(config: Config) -> None:
    build_serial(config)
    build_serial(variant(config, volume={"antialias": False}))
    third = build_serial(config)
    assert (third.converted, third.reused) == (0, 3)
    assert (third.published.version["version"], third.published.version["parent"]) == (3, 2)
    assert third.published.version["volumes"] == open_store(config.store, version=1).version["volumes"]


def test_run_ids_sort_by_time_and_differ() -> None:
    ids = [new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert [i[:16] for i in ids] == sorted(i[:16] for i in ids)
