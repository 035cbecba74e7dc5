"""Masks through the life of a store: in a bucket, through Dask, rolled back, pruned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from etl.annotations.mask_files import list_files, read_files
from etl.annotations.mask_sources import MaskStore, join_masks
from etl.core.errors import SourceError, StoreError
from etl.run.dask import DaskExecutor
from etl.run.serial import SerialExecutor
from etl.store.history import rollback
from etl.store.prune import Pruning, prune
from etl.store.reader import Store, open_store
from etl.verify.verify import verify
from tests.annotations.documents import nifti, tarred
from tests.annotations.test_mask_tasks import ROWS as TASK_ROWS
from tests.annotations.test_mask_tasks import grids, packings
from tests.support.clusters import local_cluster
from tests.support.masked_store import FIRST, MASKS_BY_NAME, PRESENT, ROWS, SECOND, masked_store, with_masks
from tests.support.s3_server import Bucket
from tests.support.three_volumes import files_of
from tests.support.tiny_release import build_serial, tiny_config, write_release

KEY_SLICE_ONLY = {name: data for name, data in MASKS_BY_NAME.items() if name.startswith(SECOND)}


def label_paths(store: Store) -> list[str]:
    return sorted(entry["path"] for entry in store.version["labels"])


def same_masks(one: Store, other: Store) -> None:
    for lesion_id in (0, 1):
        for grid in ("stored", "source"):
            found, expected = (store.mask(lesion_id, grid=grid) for store in (one, other))
            assert found.equals(expected)
            assert bool(found.any())


def test_each_kind_of_mask_of_one_source_can_be_read(tmp_path: Path) -> None:
    on_slice = f"{FIRST}_109_sample_0.nii.gz"
    both = MASKS_BY_NAME | {on_slice: nifti(np.ones((6, 4, 1)), (0.5, 0.5, 2.0), (5, 6, 6))}
    store = masked_store(tmp_path, masks=both)
    rows = store.table("masks").set_index("file")
    assert rows["lesion_id"].tolist() == [0, 0, 1]
    for file, row in rows.iterrows():
        for source in (None, "uls23"):
            mask = store.mask(row.lesion_id, source, is_3d=row.is_3d)
            assert mask.attrs["file"] == file
            assert mask.sum() == row.stored_voxels
    assert store.mask(0).attrs["is_3d"]
    assert not store.mask(1).attrs["is_3d"]
    with pytest.raises(StoreError, match=r"(?s)lesion 1, is_3d True.*: 1 lesions with such masks"):
        store.mask(1, is_3d=True)


@pytest.mark.slow
def test_in_a_bucket_labels_are_the_same_bytes(tmp_path: Path, s3_bucket: Bucket) -> None:
    local = masked_store(tmp_path / "local")
    folder = tmp_path / "bucket"
    write_release(folder, PRESENT, ROWS)
    config = tiny_config(folder, Path("unused")).model_copy(update={"store": f"{s3_bucket.url}/store"})
    build_serial(config)
    with_masks(config.store, folder)
    remote = open_store(config.store)
    assert remote.version["labels"] == local.version["labels"]
    for entry in local.version["labels"]:
        for name in local.objects.list(entry["path"]):
            assert remote.objects.read(name) == local.objects.read(name)
    same_masks(remote, local)
    assert verify(remote.objects, 2).problems == ()
    # The same masks again are a version no more, and nothing is written.
    keys = s3_bucket.all_keys()
    with_masks(config.store, folder)
    assert s3_bucket.all_keys() == keys


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_a_folder_of_masks(s3_bucket: Bucket) -> None:
    files = {
        "deep/a_lesion_01.nii.gz": b"a",
        "masks.tar": tarred({"b_lesion_01.nii.gz": b"b"}),
        "._c.nii": b"c",
    }
    for name, data in files.items():
        s3_bucket.put(f"uls23/labels/{name}", data)
    s3_bucket.put("uls23/labels_of_others/d.nii", b"d")
    listed = list(list_files(f"{s3_bucket.url}/uls23/labels"))
    assert [file.stem for file in listed] == ["a_lesion_01.nii.gz", "b_lesion_01.nii.gz"]
    assert read_files(listed) == [b"a", b"b"]
    for nothing in ("nowhere", "uls23/lab"):
        with pytest.raises(SourceError, match="can't be read"):
            list(list_files(f"{s3_bucket.url}/{nothing}"))


@pytest.mark.slow
def test_rolled_back_and_pruned_masks_follow_their_versions(tmp_path: Path) -> None:
    both = masked_store(tmp_path)
    store, objects = both.objects.root, both.objects
    fewer = with_masks(store, tmp_path, masks=KEY_SLICE_ONLY)
    assert len(label_paths(both)) == 2
    assert label_paths(fewer) == [path for path in label_paths(both) if SECOND in path]

    back, is_new = rollback(objects, 2, "back")
    assert is_new
    assert back["labels"] == both.version["labels"]
    same_masks(open_store(store), both)
    before = files_of(store)
    assert counts_of_labels(prune(objects, 4, 0)) == 0
    assert files_of(store).keys() == before.keys()

    forward, _ = rollback(objects, 3, "forward")
    assert forward["labels"] == fewer.version["labels"]
    dry = prune(objects, 1, 0, dry_run=True)
    assert counts_of_labels(dry) == 1
    assert prune(objects, 1, 0) == dry
    (gone,) = {path for path in label_paths(both) if FIRST in path}
    assert not list(objects.list(gone))
    left = open_store(store)
    assert bool(left.mask(1).any())
    assert verify(objects, left.version["version"]).problems == ()
    # Pruned labels are written once more where somebody asks for them, to the same bytes.
    again = with_masks(store, tmp_path)
    assert again.version["labels"] == both.version["labels"]
    for name in objects.list(gone):
        assert objects.read(name) == before[name]


def counts_of_labels(pruning: Pruning) -> int:
    return len(pruning.units["labels"])


@pytest.mark.slow
def test_workers_write_the_bytes_that_one_process_writes(tmp_path: Path) -> None:
    for name, data in packings().items():
        (tmp_path / name).write_bytes(data)
    urls = [str(tmp_path / "b.tar"), str(tmp_path / "c.tar.gz")]
    serial = join_masks(
        "uls23", urls, TASK_ROWS, SerialExecutor(), MaskStore(str(tmp_path / "serial"), grids())
    )
    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        place = MaskStore(str(tmp_path / "dask"), grids())
        dask = join_masks("uls23", urls, TASK_ROWS, DaskExecutor(client), place)
    assert dask.labels == serial.labels
    assert dask.outcomes == serial.outcomes
    assert files_of(str(tmp_path / "dask")) == files_of(str(tmp_path / "serial"))
