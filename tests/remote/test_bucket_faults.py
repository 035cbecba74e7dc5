"""Faults of a bucket: those that pass leave the same store, those that last cost what they concern."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.build import build, load_plan
from etl.run.executors import SerialExecutor
from etl.store.reader import open_store
from tests.http_faults import Cut, Fault, busy, seeded_faults
from tests.remote.released import (
    ARCHIVES,
    CSV,
    VOLUMES,
    Served,
    assert_accounts,
    assert_same_store,
    build_as_job,
    receipts,
    store_data,
)
from tests.s3_server import Bucket, use_s3
from tests.stored import config_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_blocks", "short_waits")]
PASSING: list[Fault] = [Cut(0), Cut(1000), Cut(1000, is_reset=True), busy(500), busy(503), busy(429)]


@pytest.fixture(params=["in place", "staged"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return str(tmp_path / "staging") if request.param == "staged" else None


def test_faults_that_pass_leave_the_same_store(
    staging: str | None,
    served: Served,
    local_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The S3 driver talks to a server that loses connections and is busy by turns."""
    use_s3(monkeypatch, served.server.url)
    # The driver's own attempts wait for seconds.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    for name in ARCHIVES:
        served.server.put(f"/bucket/{name}", (served.release / name).read_bytes())
    source = {
        "annotations": str(served.release / CSV),
        "archives": [f"s3://bucket/{name}" for name in ARCHIVES],
        "staging": staging,
    }
    served.server.chance = seeded_faults(2, 0.6, PASSING)
    done = build_as_job(store_data(tmp_path / "store", source), SerialExecutor())
    assert (done.converted, done.reused) == (len(VOLUMES), 0)
    assert {request.status for request in served.server.requests} > {206, 503}
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
    def fill() -> None:
        for name in (CSV, *ARCHIVES):
            s3_bucket.put(f"release/{name}", (release / name).read_bytes())

    fill()
    url = f"{s3_bucket.url}/release"
    source = {"annotations": f"{url}/{CSV}", "archives": [f"{url}/{name}" for name in ARCHIVES]}
    data: dict[str, Any] = store_data(
        tmp_path / "store", source | {"staging": staging}, limits={"rejects": 1.0}
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
    assert slices["message"].str.startswith(f"{url}/{ARCHIVES[1]}").all()
    assert_accounts(tmp_path / "store")
    fill()
    again = build_as_job(data, SerialExecutor())
    assert (again.converted, again.reused) == (len(VOLUMES) - len(untouched), len(untouched))
    assert_same_store(tmp_path / "store", local_store)
