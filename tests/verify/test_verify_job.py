"""jobs/verify_store.py: exit codes and messages."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from etl.core.config import Config
from etl.core.errors import StoreError
from etl.io.local import LocalObjects
from etl.pipeline.preflight import Digest, check_seen
from etl.verify.problems import Repair
from etl.verify.verify import Sample, verify
from tests.support.damage import VERSION, VOLUME, version_of
from tests.support.jobs import call_job
from tests.support.processes import DASK_SUBMIT, dask_scheduler, run
from tests.support.s3_server import Bucket
from tests.support.version_cases import VERSION_CASES
from tests.support.volume_cases import VOLUME_CASES

DAMAGE = VOLUME_CASES | VERSION_CASES

job = partial(call_job, "verify_store")


@pytest.mark.slow
def test_job_says_all_right_and_writes_nothing(config: Config) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(config.store).rglob("*")}
    done = run([sys.executable, "jobs/verify_store.py", config.store])
    assert {path: path.stat().st_mtime_ns for path in Path(config.store).rglob("*")} == before
    assert done.returncode == 0, done.stderr
    count = len(version_of(Path(config.store))["volumes"])
    assert re.fullmatch(rf"all right: version 1 of .+ \({count} volumes, \d+ objects, .+\)\n", done.stdout)
    # What Dask does within is none of the reader's business.
    own = r"\S+ INFO (verifying version|started LocalCluster|\d+ workers? at|dashboard:|\d+/\d+ volumes).*\n"
    assert re.fullmatch(f"({own})+", done.stderr)


@pytest.mark.slow
def test_job_lists_what_is_wrong_and_what_repairs_it(store: Path, cluster_of_two: str) -> None:
    DAMAGE["missing shard"][0](store)
    DAMAGE["missing table"][0](store)
    done = job(str(store), "--version", "1", code=1, DASK_SCHEDULER_ADDRESS=cluster_of_two)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 faults in version 1 of ")
    shard = rf"  volumes/{VOLUME}/\w+\.ome\.zarr/0/c/0/0/0: is missing: expected \d+ bytes"
    assert re.fullmatch(shard, lines[1])
    assert re.fullmatch(r"  tables/[^/]+/rejects/part-0\.parquet: is missing: expected \d+ bytes", lines[2])
    assert lines[4:] == [f"  - {Repair.VOLUME.value}", f"  - {Repair.TABLE.value}"]


@pytest.mark.campaign
def test_job_reads_a_bucket_on_a_cluster(config: Config, s3_bucket: Bucket, tmp_path: Path) -> None:
    for path in sorted(Path(config.store).rglob("*")):
        if path.is_file():
            s3_bucket.put(f"store/{path.relative_to(config.store).as_posix()}", path.read_bytes())
    keys, count = s3_bucket.all_keys(), len(version_of(Path(config.store))["volumes"])
    command = [*DASK_SUBMIT, "--workers", "2", "jobs/verify_store.py", f"{s3_bucket.url}/store"]
    done = run([*command, "--sample", "1", "--seed", "5"])
    assert done.returncode == 0, done.stderr
    assert f"(1 volume, a sample of {1 / count:.1%} of {count}; all tables, " in done.stdout
    assert "2 workers at" in done.stderr
    assert s3_bucket.all_keys() == keys
    s3_bucket.put(next(key for key in keys if key.endswith("0/c/0/0/0")), b"x")
    done = run(command)
    assert done.returncode == 1
    assert f"1 fault in version 1 of {s3_bucket.url}/store ({count} volumes, " in done.stdout


@pytest.mark.campaign
def test_job_does_not_trust_workers_that_see_another_store(config: Config, tmp_path: Path) -> None:
    """Workers in another folder, to whom a relative path would be another: they are told the absolute one."""
    with dask_scheduler(tmp_path) as (address, _):
        done = run([*DASK_SUBMIT, "--scheduler", address, "jobs/verify_store.py", config.store])
        assert done.returncode == 0, done.stderr

    def blind(look: Callable[[], Digest]) -> dict[str, Digest]:
        return {"tcp://a": look(), "tcp://b": (None, "")}

    with pytest.raises(StoreError, match="1 worker, such as tcp://b"):
        check_seen(blind, LocalObjects(config.store), VERSION)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "0", "0%", "101%", "x", "-1", "1.5", "%"])
def test_job_takes_a_number_or_a_share(config: Config, part: str) -> None:
    assert "--sample" in job(config.store, "--sample", part, code=2).stderr


@pytest.mark.parametrize("arguments", [("nowhere",), (".", "--version", "7"), ("ftp://host/store",), ()])
def test_job_without_a_store_ends_with_2(config: Config, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    places = {"nowhere": str(tmp_path / "nowhere"), ".": config.store}
    done = job(*(places.get(argument, argument) for argument in arguments), code=2)
    assert done.stdout == ""
    assert "rror: " in done.stderr


def fail_at(name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each read of an object, and each listing of a folder, whose path has this part raise an error."""
    for method in ("read", "listed", "list"):
        own: Callable[[LocalObjects, str], object] = getattr(LocalObjects, method)

        def called(objects: LocalObjects, path: str, own: Any = own) -> Any:
            if name in path:
                raise error
            return own(objects, path)

        monkeypatch.setattr(LocalObjects, method, called)


STALE = OSError(errno.ESTALE, "Stale file handle")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        *((name, STALE) for name in ("0/c/0/0/0", "ome.zarr/0/zarr.json", "receipt", "lesions", "tags")),
        ("0/c/0/0/0", PermissionError(errno.EACCES, "Permission denied")),
        ("0/c/0/0/0", ConnectionError("s3://bucket: EndpointConnectionError")),
        ("0/c/0/0/0", MemoryError("unable to allocate")),
    ],
)
def test_a_machine_that_fails_is_no_damage(
    name: str, error: BaseException, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(name, error, monkeypatch)
    with pytest.raises(type(error), match=str(error.args[-1])):
        verify(LocalObjects(config.store), 1, sample=Sample(count=1))


@pytest.mark.usefixtures("serial_jobs")
def test_job_ends_with_4_where_the_machine_fails(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0/c/0/0/0", "lesions"):
        with monkeypatch.context() as patch:
            fail_at(name, STALE, patch)
            done = job(config.store, "--sample", "1", code=4)
            assert "Stale file handle" in done.stderr
            assert done.stdout == ""


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG])
@pytest.mark.usefixtures("serial_jobs")
def test_a_disk_that_lost_a_part_of_a_file_is_damage(
    number: int, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at("0/c/0/0/0", OSError(number, "as the disk says"), monkeypatch)
    done = job(config.store, "--sample", "1", code=1)
    assert f"0/c/0/0/0: can't be read: found OSError: [Errno {number}] as the disk says" in done.stdout
    assert Repair.VOLUME.value in done.stdout
