"""Faults of a bucket: those that pass leave the same store, those that last cost what they concern."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from etl.pipeline.build import build, load_plan
from etl.run.serial import SerialExecutor
from etl.store.reader import open_store
from tests.support.faulty_s3 import FaultyS3, S3Request, serve_faulty_s3
from tests.support.http_faults import (
    PAGE,
    Answer,
    Cut,
    Fault,
    NoRange,
    Stall,
    WrongLength,
    busy,
    seeded_faults,
)
from tests.support.remote_release import (
    ARCHIVES,
    CSV,
    VOLUMES,
    InBucket,
    Served,
    assert_accounts,
    assert_same_store,
    assert_the_second_archive_goes_on,
    build_as_job,
    build_by_command,
    receipts,
    store_data,
)
from tests.support.s3_server import Bucket, serve_small_s3, use_s3
from tests.support.spoiling import TOUCHED, UNTOUCHED, assert_only_touched_is_missing
from tests.support.stored import config_of, version_names
from tests.support.transfers import USUAL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_blocks", "impatient")]
PASSING: list[Fault] = [
    Cut(0),
    Cut(1000),
    Cut(1000, is_reset=True),
    busy(500),
    busy(503),
    busy(429, "0"),
    Stall(),
    Stall(1000),
    WrongLength(1000),
    WrongLength(-1000),
]
LASTING: dict[str, Fault] = {
    "500 for ever": busy(500),
    "429 for ever": busy(429, "0"),
    "cut for ever": Cut(0),
    "stalled for ever": Stall(),
    "a web page": PAGE,
    "no ranges": NoRange(),
    "forbidden": Answer(403),
}


@pytest.fixture
def faulty(s3_bucket: Bucket, release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """The release's bucket behind a server with faults; the driver waits half a second for bytes."""
    InBucket.of(s3_bucket, release)
    monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.5)
    with serve_faulty_s3() as server:
        use_s3(monkeypatch, server.url)
        yield server


@pytest.fixture
def source(faulty: FaultyS3, s3_bucket: Bucket, release: Path, staging: str | None) -> dict[str, Any]:
    return InBucket(s3_bucket, release).source(annotations=str(release / CSV), staging=staging)


@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_lasts_costs_its_archive_and_the_next_run_goes_on(
    fault: str,
    source: dict[str, Any],
    faulty: FaultyS3,
    s3_bucket: Bucket,
    local_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not isinstance(LASTING[fault], Stall):  # a slow machine would make new requests
        monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 60)
    data = store_data(tmp_path / "store", source, limits={"rejects": 1.0, "lost_archives": 1})
    config = config_of(data)
    plan = load_plan(config)
    struck = f"/{s3_bucket.name}/release/{ARCHIVES[1]}"
    faulty.requests.clear()
    faulty.choose = lambda request: LASTING[fault] if request.path == struck else None
    build(config, plan, SerialExecutor())
    assert len(faulty.ranges(struck)) in (1, USUAL.attempts)
    assert_only_touched_is_missing(tmp_path / "store", "archive_unavailable", local_store)
    faulty.choose = lambda request: None
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(TOUCHED), len(UNTOUCHED))
    assert_same_store(tmp_path / "store", local_store)


def test_a_bucket_that_is_full_ends_the_run_with_4_and_the_next_run_goes_on(
    served: Served, local_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    with serve_small_s3() as (url, room):
        use_s3(monkeypatch, url)
        bucket = Bucket.make("full")
        room.bytes = served.bytes(1) + 1_500_000
        data = store_data(tmp_path / "store", served.source(staging=f"{bucket.url}/staging"))
        assert "QuotaExceeded" in build_by_command(tmp_path, data, code=4).stderr
        assert version_names(tmp_path / "store") == []
        room.bytes = 2**40
        assert_the_second_archive_goes_on(data, served, local_store)


def test_faults_that_pass_leave_the_same_store(
    source: dict[str, Any], faulty: FaultyS3, local_store: Path, tmp_path: Path
) -> None:
    """At each object two requests go wrong and one goes well, with every kind of fault in turn."""
    kinds, counts, struck = itertools.cycle(range(len(PASSING))), Counter[str](), set[int]()

    def choose(request: S3Request) -> Fault | None:
        counts[request.path] += 1
        if counts[request.path] % 3 == 0:
            return None
        struck.add(kind := next(kinds))
        return PASSING[kind]

    faulty.choose = choose
    done = build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert len(struck) == len(PASSING)
    assert_same_store(tmp_path / "store", local_store)


@pytest.mark.parametrize("seed", range(2))
def test_any_mix_of_them_does_too(
    seed: int, source: dict[str, Any], faulty: FaultyS3, local_store: Path, tmp_path: Path
) -> None:
    faulty.choose = seeded_faults(seed, 0.6, PASSING)
    build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert_same_store(tmp_path / "store", local_store)


def rewrite(bucket: Bucket) -> None:
    bucket.put(f"release/{ARCHIVES[1]}", b"PK\x03\x04" + bytes(3_000_000))


def shorten(bucket: Bucket) -> None:
    bucket.put(f"release/{ARCHIVES[1]}", bucket.get(f"release/{ARCHIVES[1]}")[:1000])


def remove(bucket: Bucket) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=f"release/{ARCHIVES[1]}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(rewrite, "archive_changed"), (shorten, "archive_changed"), (remove, "archive_unavailable")],
    ids=["rewritten", "cut short", "removed"],
)
def test_an_archive_that_is_another_after_planning_is_rejected_and_built_the_next_time(
    spoil: Callable[[Bucket], None],
    reason: str,
    staging: str | None,
    release: Path,
    s3_bucket: Bucket,
    local_store: Path,
    tmp_path: Path,
) -> None:
    held = InBucket.of(s3_bucket, release)
    data = store_data(
        tmp_path / "store", held.source(staging=staging), limits={"rejects": 1.0, "lost_archives": 1}
    )
    config = config_of(data)
    plan = load_plan(config)
    spoil(s3_bucket)
    build(config, plan, SerialExecutor())
    untouched = {volume for volume, archives in VOLUMES.items() if 2 not in archives}
    assert receipts(tmp_path / "store") == untouched
    rejects = open_store(str(tmp_path / "store")).rejects()
    slices = rejects[(rejects["kind"] == "slice") & (rejects["reason"] != "slice_missing")]
    assert slices["reason"].tolist() == [reason] * (13 + 12)
    assert slices["message"].str.startswith(f"{held.url}/{ARCHIVES[1]}").all()
    assert_accounts(tmp_path / "store")
    held.mend()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(VOLUMES) - len(untouched), len(untouched))
    assert_same_store(tmp_path / "store", local_store)
