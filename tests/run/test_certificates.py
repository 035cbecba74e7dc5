"""Certificates of the clusters that a job starts: who is let in, who is not, and where keys lie."""

from __future__ import annotations

import gc
import stat
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest
from distributed import Client
from distributed.deploy.cluster import Cluster
from distributed.security import Security

from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.certificates import (
    environment_of_certificates,
    private_folder,
    scratch_arguments,
    security_arguments,
)
from etl.run.clusters import environment_of, start_cluster
from etl.run.connection import check_scheduler, open_client, workers_at
from tests.support.processes import DASK_SUBMIT, run

SLURM = kinds.Slurm(kind="slurm", workers=kinds.Size(maximum=2), cores=1, memory="1 GiB")


@pytest.fixture(scope="module")
def adaptive() -> Iterator[Cluster]:
    """An adaptive local cluster, as the default config of a job makes it."""
    with start_cluster(kinds.Local(kind="local", workers=kinds.Size(minimum=0, maximum=1))) as cluster:
        yield cluster


@pytest.mark.slow
def test_only_the_job_itself_can_use_its_cluster(adaptive: Cluster) -> None:
    address = adaptive.scheduler_address
    assert address.startswith("tls://127.0.0.1:")
    with open_client(adaptive) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        workers = client.scheduler_info()["workers"]
        assert [name for name in workers if not name.startswith("tls://")] == []
    for stranger in (None, Security.temporary()):
        with pytest.raises(ConfigError, match="no scheduler answers"):
            check_scheduler(address, stranger, timeout_s=5)
        with pytest.raises((OSError, TypeError, RuntimeError)):
            Client(address, security=stranger, timeout=2, set_as_default=False)
        # Collected in the thread that the next client starts, this one would wait for that thread's lock.
        gc.collect()
    with pytest.raises(ConfigError, match="no scheduler answers"):
        check_scheduler(address.replace("tls://", "tcp://"), timeout_s=2)
    assert isinstance(workers_at(address, adaptive.security), list)


@pytest.mark.slow
def test_a_script_of_dask_submit_is_let_in(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom distributed import Client\n"
        "with Client(timeout=60) as client:\n"
        "    print(os.environ['DASK_SCHEDULER_ADDRESS'][:6], client.submit(sum, [1, 2]).result())\n"
    )
    done = run([*DASK_SUBMIT, "--workers", "1", str(script)])
    assert (done.returncode, done.stdout) == (0, "tls:// 3\n"), done.stderr
    assert "PRIVATE" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_script_gets_the_certificates_of_a_client_only(adaptive: Cluster) -> None:
    config = kinds.Local(kind="local")
    found = environment_of(adaptive.scheduler_address, config, adaptive.security)
    tls = adaptive.security.get_tls_config_for_role("client")
    assert {tls["ca_file"], tls["cert"], tls["key"]} < set(found.values())
    assert found["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
    assert environment_of_certificates(None) == {}
    assert environment_of_certificates(Security()) == {}


def test_without_tls_there_are_no_certificates() -> None:
    for config in (kinds.Local(kind="local", tls=False), SLURM.model_copy(update={"tls": False})):
        assert security_arguments(config) == {}
    options = {"security": Security.temporary()}
    assert security_arguments(SLURM.model_copy(update={"options": options})) == {}


def test_slurm_jobs_read_theirs_from_a_folder_of_their_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = security_arguments(SLURM)
    assert (found["protocol"], found["shared_temp_directory"]) == (
        "tls://",
        str(tmp_path / "deeplesion-store"),
    )
    elsewhere = SLURM.model_copy(update={"options": {"shared_temp_directory": "/shared"}})
    assert security_arguments(elsewhere)["shared_temp_directory"] == "/shared"


@pytest.mark.parametrize("before", [None, 0o777, 0o755])
def test_a_private_folder_is_entered_by_its_user_only(tmp_path: Path, before: int | None) -> None:
    folder = tmp_path / "own"
    if before is not None:
        folder.mkdir()
        folder.chmod(before)
    assert stat.S_IMODE(private_folder(folder, "").stat().st_mode) == 0o700


def test_a_private_folder_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="no private folder"):
        private_folder(tmp_path / "link", "")
    private_folder(tmp_path / "own", "")
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        private_folder(tmp_path / "own", "")


def test_scratch_files_of_a_local_cluster_lie_in_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    config = kinds.Local(kind="local")
    folder = Path(scratch_arguments(config)["local_directory"])
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with dask.config.set({"temporary-directory": "/elsewhere"}):
        assert scratch_arguments(config) == {}
    assert scratch_arguments(SLURM) == {}
