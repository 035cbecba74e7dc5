from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from etl.io.places import Objects
    from etl.phantom import PhantomTruth
    from etl.run.protocol import Executor
    from etl.store.reader import Store
    from tests.support.fetching import Staged
    from tests.support.s3_server import Bucket
    from tests.support.servers import HttpServer

# Before numpy or numba are imported: one thread a process, as in the Makefile.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(_name, "1")

ROOT = Path(__file__).resolve().parent.parent

# Examples of a property that doesn't set its own number; `make check` takes few, `make thorough` many.
for _profile, _examples in {"fast": 10, "default": 30, "thorough": 200}.items():
    settings.register_profile(
        _profile,
        max_examples=_examples,
        deadline=None,
        derandomize="CI" in os.environ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
settings.load_profile(os.environ.get("EXAMPLES", "default"))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Return an id of bytes that is the same in every process: gzip writes the time into its header."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without long tests where these alone are asked for.

    Either the file or the conftest.py of its folder marks them. Importing all takes longer than most of them.
    """
    if config.option.markexpr != "campaign" or collection_path.suffix != ".py":
        return None
    files = [collection_path, collection_path.with_name("conftest.py")]
    texts = [file.read_text() for file in files if file.is_file() and file != Path(__file__)]
    return None if any("campaign" in text for text in texts) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the S3 server or a cluster as slow, and begin with the files that take longest.

    So no process is left with such a file at the end.
    """
    for item in items:
        if {"s3_server", "cluster", "cluster_of_two"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    long, slow = (
        {item.path for item in items if item.get_closest_marker(name)} for name in ("campaign", "slow")
    )
    items.sort(key=lambda item: (item.path not in long, item.path not in slow))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the fault campaign, where any of it ran; in a file too where the whole campaign did."""
    from tests.chaos.table import campaign_table

    reports = [report for some in terminalreporter.stats.values() for report in some]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    rows = [row for report in calls for name, row in report.user_properties if name == "chaos"]
    if not rows:
        return
    table = campaign_table(rows)
    terminalreporter.write_sep("=", "fault campaign")
    terminalreporter.write_line(table)
    if os.environ.get("CHAOS") == "long":
        (ROOT / "build").mkdir(exist_ok=True)
        (ROOT / "build" / "chaos.txt").write_text(f"{table}\n")


@pytest.fixture(scope="session")
def real_release() -> Path:
    """The folder of real slices and rows, next to the project."""
    folder = ROOT.parent / "shared" / "real"
    if not (folder / "DL_info_part.csv").is_file():
        pytest.skip("needs the real DeepLesion pieces in ../shared/real, which are not there")
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """The default synthetic release and the truth about it. Read only: copy it to damage it."""
    from etl.phantom import write_phantom
    from tests.support.shared import made_once

    return made_once(tmp_path_factory, "phantom", write_phantom)


@pytest.fixture(autouse=True)
def captured(caplog: pytest.LogCaptureFixture) -> None:
    """A local cluster of Dask lets less through pytest's handler of logs, for as long as it lives."""
    caplog.handler.setLevel(logging.NOTSET)


@pytest.fixture
def http_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """An empty HTTP server on loopback: `put` files, `folder` serves one, `faults` says what goes wrong."""
    from tests.support.servers import serve

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3-compatible server on loopback; tests take `s3_bucket`."""
    from tests.support.s3_server import serve_s3

    with serve_s3() as url:
        yield url


@pytest.fixture(scope="session")
def cluster_of_two() -> Iterator[str]:
    """The address of a cluster of two worker processes that no test kills; of one thread each."""
    from tests.support.clusters import local_cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("no_proxy", "127.0.0.1")
        with local_cluster(2, tls=False) as cluster:
            yield cluster.scheduler_address


@pytest.fixture(scope="session")
def two_workers(cluster_of_two: str) -> Iterator[Executor]:
    """An executor on the shared cluster."""
    from distributed import Client

    from etl.run.dask import DaskExecutor

    with Client(cluster_of_two, set_as_default=False) as client:
        client.wait_for_workers(2)
        yield DaskExecutor(client)


_bucket_numbers = itertools.count(1)


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket. The environment points s3fs and boto3 at it, in processes started from here too."""
    from tests.support.s3_server import Bucket, use_s3

    use_s3(monkeypatch, s3_server)
    return Bucket.make(f"test-bucket-{next(_bucket_numbers)}")


@pytest.fixture
def impatient() -> Iterator[None]:
    """Transfers of this process wait little between attempts; what counts as stalled stays as it is."""
    from tests.support.transfers import SHORT_WAITS, transfers_changed

    with transfers_changed(**SHORT_WAITS):
        yield


@pytest.fixture
def short_stalls() -> Iterator[None]:
    """A connection has stalled after 0.2 s. Only where something stalls: on a slow machine all does."""
    from tests.support.transfers import transfers_changed

    with transfers_changed(stall_s=0.2):
        yield


@pytest.fixture
def serial_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that would start a local cluster do their work in this process."""
    from etl.run.cluster_kinds import Serial

    monkeypatch.setattr("etl.run.clusters.chosen_cluster", lambda name: Serial(kind="serial"))


@pytest.fixture
def folder(tmp_path: Path) -> Staged:
    """A folder to stage archives in, not made yet."""
    from tests.support.fetching import Staged

    return Staged(str(tmp_path / "staging"))


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def staged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Staged:
    """Each kind of staging area."""
    from tests.support.fetching import Staged

    if request.param == "folder":
        folder: Staged = request.getfixturevalue("folder")
        return folder
    # Buckets join parts of 5 MiB and more only; tests make do with small ones.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    return Staged(f"{request.getfixturevalue('s3_bucket').url}/staging")


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty store, on the disk and in a bucket."""
    from etl.io.local import LocalObjects
    from etl.io.opening import open_objects

    if request.param == "folder":
        return LocalObjects(str(tmp_path))
    bucket: Bucket = request.getfixturevalue("s3_bucket")
    return open_objects(f"{bucket.url}/deep/store/")


@pytest.fixture(scope="session")
def demo_store(phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the whole synthetic release at 2 mm. Read only."""
    from etl.run.serial import SerialExecutor
    from etl.store.reader import open_store
    from tests.support.shared import made_once
    from tests.support.stored import build_store, config_data

    def build(folder: Path) -> None:
        build_store(config_data(phantom[0], folder, volume={"spacing_mm": 2.0}), SerialExecutor())

    root, _ = made_once(tmp_path_factory, "demo_store", build)
    return open_store(str(root))


@pytest.fixture(scope="session")
def few_masks(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Volumes of 25 x 8 x 8 voxels of 1 mm, whose lesions have a mask of the whole, of the key slice or none.

    Patient 1 is of train: lesion 0 with a mask of the whole, lesion 1 without one, and lesion 2 with its box.
    Patient 2 is of val, lesion 3 with a mask of the whole. Patient 3 is of test, lesion 4 with a mask of its
    key slice. Patient 4 is of train, lesion 5 without a mask. Read only.
    """
    import numpy as np

    from tests.annotations.documents import nifti
    from tests.support.masked_store import masked_store
    from tests.support.tiny_release import csv_row

    split, series = "Train_Val_Test", [f"{patient:06d}_01_01" for patient in range(1, 5)]
    rows = [
        csv_row(series[0], 4, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
        csv_row(series[0], 11, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
        csv_row(
            series[0],
            11,
            (1, 13),
            **{split: "1"},
            Coarse_lesion_type="-1",
            Measurement_coordinates="7, 9, 11, 9, 8, 7, 8, 10",
            Lesion_diameters_Pixel_="4, 3",
        ),
        csv_row(series[1], 6, (1, 13), **{split: "2"}),
        csv_row(series[2], 7, (1, 13), **{split: "3"}, Coarse_lesion_type="1"),
        csv_row(series[3], 7, (1, 13), **{split: "1"}, Coarse_lesion_type="-1"),
    ]
    masks = {
        f"{series[0]}_004_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 8)),
        f"{series[1]}_006_lesion_01.nii.gz": nifti(np.ones((6, 4, 3)), (0.5, 0.5, 2.0), (5, 6, 6)),
        f"{series[2]}_007_sample_0.nii.gz": nifti(np.ones((6, 4, 1)), (0.5, 0.5, 2.0), (5, 6, 6)),
    }
    folder = tmp_path_factory.mktemp("few_masks")
    return masked_store(folder, rows, masks, {name: range(1, 14) for name in series})
