"""A worker that does not see the store or the staging folder, or may not write there, is found out before
anything is fetched."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.core.errors import ConfigError, StoreError
from etl.io.opening import open_objects
from etl.pipeline.preflight import Seen, check_shared
from jobs.build_store import main
from tests.support.processes import dask_scheduler, running, wait_until
from tests.support.remote_release import VOLUMES, Served, build_by_command, receipts, store_data
from tests.support.s3_server import Bucket
from tests.support.stored import write_config

pytestmark = pytest.mark.usefixtures("small_blocks")

# Runs `$2...` where the folder `$1` is another one, with an empty file system of its own.
ELSEWHERE = 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"'
# Runs it where the same folder can be read only.
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that one of the workers sees empty."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def blind_worker(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address of a scheduler with two workers, name of the one that sees another folder at `hidden`)."""
    with two_workers(tmp_path_factory.mktemp("scheduler"), ELSEWHERE, hidden) as found:
        yield found


@contextlib.contextmanager
def two_workers(folder: Path, script: str, place: Path) -> Iterator[tuple[str, str]]:
    """(address of a scheduler with two workers, name of the one for which `script` changed `place`)."""
    elsewhere = ["unshare", "--mount", "sh", "-c", script, "sh", str(place)]
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace of its own, which this user may not make")
    log = folder / "blind.log"
    with dask_scheduler(folder) as (address, _):
        worker = [sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1"]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", "blind"]
        with running([*elsewhere, *worker, *options, "--local-directory", str(folder)], log) as process:
            wait_until(
                lambda: b"Registered to" in log.read_bytes() or process.poll() is not None, "it was there"
            )
            name = next(
                line.rsplit(" ", 1)[-1] for line in log.read_text().splitlines() if "Start worker at" in line
            )
            yield address, name


def run_job(address: str, config: str) -> tuple[int, str]:
    done = CliRunner(env={"DASK_SCHEDULER_ADDRESS": address}).invoke(main, [config])
    return done.exit_code, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", ["store", "source.staging"])
@pytest.mark.parametrize("has_ranges", [True, False])
def test_job_ends_with_2_and_names_place_worker_and_remedy(
    place: str,
    has_ranges: bool,
    blind_worker: tuple[str, str],
    hidden: Path,
    served: Served,
    tmp_path: Path,
) -> None:
    address, worker = blind_worker
    served.server.has_ranges = has_ranges
    store = (hidden if place == "store" else tmp_path) / f"store-{has_ranges}"
    staging = (tmp_path if place == "store" else hidden) / f"staging-{has_ranges}"
    source = served.source(staging=str(staging))
    code, said = run_job(address, write_config(tmp_path, store_data(store, source, cluster="local")))
    assert code == 2, said
    assert "workers don't see what the driver sees" in said
    assert f"where:   {place}" in said
    assert f"{store if place == 'store' else staging}: not seen by 1 worker, such as {worker}" in said
    assert f"remedy:  set `{place}` to a folder of a shared file system, or to a bucket" in said
    assert "Traceback" not in said
    # Nothing was fetched, and the probes are gone; of the run there is its record.
    for number in (1, 2, 3):
        assert (served.looks(number), served.reads(number)) == (2 if has_ranges else 1, [])
    files = [path for path in (*store.rglob("*"), *staging.rglob("*")) if path.is_file()]
    assert [path for path in files if path.parent.name != "runs"] == []


@pytest.mark.campaign
def test_a_worker_that_may_not_write_ends_the_job_with_2(served: Served, tmp_path: Path) -> None:
    guarded, folder = tmp_path / "guarded", tmp_path / "scheduler"
    guarded.mkdir()
    folder.mkdir()
    with two_workers(folder, READ_ONLY, guarded) as (address, worker):
        for key, store, staging in (
            ("store", guarded / "store", tmp_path / "staging"),
            ("source.staging", tmp_path / "store", guarded / "staging"),
        ):
            data = store_data(store, served.source(staging=str(staging)), cluster="local")
            code, said = run_job(address, write_config(tmp_path, data))
            assert code == 2, said
            assert "workers can't write where the driver writes" in said
            assert f"where:   {key}" in said
            assert f"not writable for 1 worker, such as {worker} (OSError: [Errno 30] Read-only" in said
            assert "mount it writable where they run" in said
            files = [path for path in (*store.rglob("*"), *staging.rglob("*")) if path.is_file()]
            assert [path for path in files if path.parent.name != "runs"] == []


@pytest.mark.slow
def test_what_all_workers_see_is_built(
    blind_worker: tuple[str, str], served: Served, s3_bucket: Bucket, tmp_path: Path
) -> None:
    source = served.source(staging=str(tmp_path / "staging"))
    config = write_config(tmp_path, store_data(tmp_path / "store", source, cluster="local"))
    code, said = run_job(blind_worker[0], config)
    assert code == 0, said
    assert receipts(tmp_path / "store") == set(VOLUMES)


@pytest.mark.parametrize("kind", ["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def test_probe_finds_every_kind_of_blindness(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Workers here are calls: one asks as the driver does, another after the probes are gone."""
    store = open_objects(str(tmp_path / "store"))
    staging = str(tmp_path / "staging")
    if kind == "bucket":
        staging = f"{request.getfixturevalue('s3_bucket').url}/staging"
    later = []

    def all_see(look):  # type: ignore[no-untyped-def]
        later.append(look)
        return {"one": look(), "two": look()}

    check_shared(all_see, store, staging)
    check_shared(all_see, store, None)
    with pytest.raises(ConfigError, match=r"not seen by 1 worker, such as two"):
        check_shared(lambda look: {"one": look(), "two": (Seen(), later[0]()[1])}, store, staging)
    with pytest.raises(StoreError, match=r"not seen by 2 workers, such as one, two"):
        check_shared(lambda look: {"one": later[0](), "two": later[0]()}, store, staging)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_staging_that_can_not_be_written_ends_with_2(
    has_ranges: bool, served: Served, tmp_path: Path
) -> None:
    served.server.has_ranges = has_ranges
    (tmp_path / "file").write_text("in the way")
    source = served.source(staging=str(tmp_path / "file" / "staging"))
    done = build_by_command(tmp_path, store_data(tmp_path / "store", source), code=2)
    assert "where:   source.staging" in done.stderr
    assert str(tmp_path / "file" / "staging") in done.stderr
    assert all(served.reads(number) == [] for number in (1, 2, 3))


def test_staging_in_a_bucket_that_is_not_there_ends_with_2(
    served: Served, s3_bucket: Bucket, tmp_path: Path
) -> None:
    source = served.source(staging=f"{s3_bucket.url}-missing/staging")
    done = build_by_command(tmp_path, store_data(tmp_path / "store", source), code=2)
    assert "where:   source.staging" in done.stderr
    assert f"{s3_bucket.url}-missing/staging" in done.stderr
