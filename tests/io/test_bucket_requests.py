"""The number of requests that a build costs in a bucket; docs/operations.md has the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.core.config import Config
from etl.io.opening import open_objects
from tests.support.faulty_s3 import FaultyS3, serve_faulty_s3
from tests.support.processes import ROOT
from tests.support.s3_server import Bucket, use_s3
from tests.support.tiny_release import build_serial, csv_row, tiny_config, write_release
from tests.support.written_times import move_written

FIRST, SECOND = "000001_01_01", "000002_01_01"
VOLUMES = 2
# Of the release: volumes, at one level each.
RELEASE = 20_094


@pytest.fixture
def log(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The server's log; its bucket is the one of `config`."""
    with serve_faulty_s3() as server:
        use_s3(monkeypatch, server.url)
        yield server


@pytest.fixture
def config(s3_bucket: Bucket, tmp_path: Path) -> Config:
    rows = [csv_row(FIRST, 4, (3, 5)), csv_row(SECOND, 2, (1, 2), Train_Val_Test="1")]
    write_release(tmp_path, {FIRST: [3, 4, 5], SECOND: [1, 2]}, rows)
    return tiny_config(tmp_path, tmp_path).model_copy(update={"store": f"{s3_bucket.url}/store"})


def counts(log: FaultyS3) -> tuple[Counter[str], Counter[str]]:
    """Requests by method (LIST is one): those for volumes, and all others."""
    of_volumes: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for request in log.requests:
        method = "LIST" if "list-type" in request.query else request.method
        # /bucket/store/volumes/..., or a listing below that
        is_volume = request.path.split("/")[3:4] == ["volumes"] or "store%2Fvolumes%2F" in request.query
        (of_volumes if is_volume else others)[method] += 1
    log.requests.clear()
    return of_volumes, others


@pytest.mark.slow
def test_a_volume_costs_four_writes_and_four_looks(log: FaultyS3, config: Config) -> None:
    assert build_serial(config).converted == VOLUMES
    of_volumes, others = counts(log)
    assert sum(others.values()) < 40, others
    assert of_volumes == {"PUT": 4 * VOLUMES, "GET": 4 * VOLUMES}

    assert build_serial(config).reused == VOLUMES
    of_volumes, others = counts(log)
    assert of_volumes == {"GET": VOLUMES, "LIST": VOLUMES}
    assert sum(others.values()) < 40, others


@pytest.mark.slow
def test_a_copied_store_is_read_once(log: FaultyS3, config: Config) -> None:
    """Its receipts were written before what they prove: the driver looks, then workers look and read."""
    build_serial(config)
    store = open_objects(config.store)
    for name in store.list("volumes"):
        if name.endswith(".receipt.json"):
            move_written(store, name, -60)
    log.requests.clear()
    assert (build_serial(config).reused, build_serial(config).reused) == (VOLUMES, VOLUMES)
    of_volumes, _ = counts(log)
    looks, objects_read = 3, 4
    assert of_volumes == {"GET": (looks + objects_read) * VOLUMES, "LIST": looks * VOLUMES, "PUT": VOLUMES}


@pytest.mark.slow
def test_a_shard_of_other_bytes_and_the_same_size_is_replaced(log: FaultyS3, config: Config) -> None:
    build_serial(config)
    objects = open_objects(config.store)
    name = next(name for name in objects.list("volumes") if name.endswith("/0/c/0/0/0"))
    before = objects.read(name)
    objects.write(name, bytes(reversed(before)))
    move_written(objects, name, 2)
    again = build_serial(config)
    assert (again.converted, again.reused, again.published.is_new) == (1, VOLUMES - 1, False)
    assert objects.read(name) == before


def test_the_document_says_what_the_whole_release_costs() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert f"{4 * RELEASE:,}" in text
    assert f"{RELEASE:,}" in text
    other = " ".join((ROOT / "docs" / "performance.md").read_text().split())
    requests = f"{round(8 * RELEASE, -3):,} requests"
    assert f"Four PUTs and four GETs per volume for {RELEASE:,} volumes are {requests}" in other
