"""A store in a bucket: the same promises as on a disk, against a server that enforces conditional writes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from etl.core.errors import StoreError
from etl.io.buckets import BucketObjects
from etl.io.opening import open_objects
from etl.pipeline.build import build, load_plan
from etl.run.clusters import chosen_cluster, connect
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from etl.verify.verify import verify
from tests.support.s3_server import Bucket, serve_careless_s3, use_s3
from tests.support.stored import build_store, config_data, config_of

COARSE = {"spacing_mm": 3.0}


def test_a_url_opens_a_bucket() -> None:
    assert open_objects("s3://bucket/deep/store/") == BucketObjects("s3://bucket/deep/store")
    with pytest.raises(StoreError, match="not supported"):
        open_objects("ftp://host/store")


@pytest.mark.slow
def test_a_large_object_arrives_in_parts(s3_bucket: Bucket) -> None:
    data = bytes(range(256)) * (120 * 2**12)
    objects = open_objects(s3_bucket.url)
    objects.write("shard", data)
    assert objects.read("shard") == data
    assert "-" in s3_bucket.client.head_object(Bucket=s3_bucket.name, Key="shard")["ETag"]


def test_a_bucket_that_is_not_there(s3_bucket: Bucket) -> None:
    with pytest.raises(StoreError, match="can't be written"):
        open_objects("s3://no-such-bucket-here/store").check_writable()


@pytest.mark.slow
def test_an_endpoint_that_ignores_the_condition_is_refused(
    s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_careless_s3() as endpoint:
        use_s3(monkeypatch, endpoint)
        with pytest.raises(StoreError, match="If-None-Match"):
            open_objects(s3_bucket.url).check_writable()


@pytest.mark.slow
def test_a_build_into_a_bucket_equals_one_on_disk(
    phantom: tuple[Path, Any], s3_bucket: Bucket, tmp_path: Path
) -> None:
    select = {"patients": [1, 3]}
    data = config_data(phantom[0], tmp_path / "store", select=select, volume=COARSE)
    on_disk = build_store(data, SerialExecutor())
    config = config_of(data | {"store": f"{s3_bucket.url}/store", "cluster": "local"})
    with connect(chosen_cluster("local")) as executor:
        built = build(config, load_plan(config), executor)
        assert built.converted == on_disk.converted > 1
        again = build(config, load_plan(config), executor)
    assert (again.converted, again.published.is_new) == (0, False)

    local, remote = open_store(str(tmp_path / "store")), open_store(config.store)
    assert remote.version["volumes"] == local.version["volumes"]
    digests = [
        [entry["sha256"] for files in store.version["tables"].values() for entry in files]
        for store in (local, remote)
    ]
    assert digests[0] == digests[1]
    volume_id = local.volumes()["volume_id"][0]
    assert (remote.array(volume_id)[:] == local.array(volume_id)[:]).all()
    assert remote.lesions().equals(local.lesions())
    verification = verify(open_objects(config.store), 1)
    assert verification.problems == ()
    assert verification.volumes == built.converted
    assert not [key for key in s3_bucket.all_keys() if "/.partial/" in key]


@pytest.mark.slow
def test_a_half_written_volume_is_replaced(phantom: tuple[Path, Any], s3_bucket: Bucket) -> None:
    data = config_data(phantom[0], Path("unused"), select={"patients": [1]}, volume=COARSE)
    data["store"] = s3_bucket.url
    build_store(data, SerialExecutor())
    (shard,) = (key for key in s3_bucket.all_keys() if key.endswith("/0/c/0/0/0"))
    whole = s3_bucket.get(shard)
    s3_bucket.put(shard, whole[:1000])
    assert build_store(data, SerialExecutor()).converted == 1
    assert s3_bucket.get(shard) == whole


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_cannot_be_read(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="nothing was published yet"):
        open_store(s3_bucket.url)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        use_s3(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(StoreError, match="the store can't be read"):
            open_store(s3_bucket.url)
