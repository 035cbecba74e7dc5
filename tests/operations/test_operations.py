"""docs/operations.md: its crontab line runs in cron's environment, its batch file on a real Slurm."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from distributed.security import Security

from etl.core.errors import ConfigError
from etl.io.opening import open_objects
from etl.run.cluster_config import load_cluster
from etl.run.clusters import connect, start_cluster
from etl.run.connection import check_scheduler, open_client
from etl.verify.verify import verify
from tests.support.one_node import Slurm, one_node
from tests.support.processes import DASK_SUBMIT, LIMIT_SECONDS, ROOT, run, wait_until
from tests.support.spoilt_builds import VOLUMES, Outlasting, build_spoilt, config_of
from tests.support.stored import config_data, version_names

pytestmark = pytest.mark.campaign
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
WORKER = {"kind": "slurm", "cores": 1, "memory": "1 GiB", "walltime": "00:10:00", "wait_for_worker_s": 90}
LOOPBACK = {"scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> object:
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("dask_jobqueue is not installed")
    with one_node(tmp_path_factory.mktemp("slurm"), cpus=4) as running:
        yield running


@pytest.fixture
def checkout(phantom: tuple[Path, object], tmp_path: Path) -> Path:
    """A checkout in the home folder with a .venv and a config, as a user has it."""
    folder = tmp_path / "deeplesion-store"
    (folder / "conf" / "cluster").mkdir(parents=True)
    (folder / "build").mkdir()
    (folder / "jobs").symlink_to(ROOT / "jobs")
    command = folder / ".venv" / "bin" / "dask-submit"
    command.parent.mkdir(parents=True)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command.write_text(
        f"#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -c "
        "'from etl.run.submit import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    data = config_data(phantom[0], folder / "store", select={"patients": [1, 2]}, cluster="local")
    (folder / "conf" / "nightly.yaml").write_text(yaml.safe_dump(data))
    return folder


def write_cluster(folder: Path, **more: object) -> Path:
    path = folder / "slurm.yaml"
    data = WORKER | {"workers": 1, "log_folder": str(folder), "options": LOOPBACK} | more
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_crontab_line(checkout: Path) -> None:
    (line,) = re.findall(r"^    ((?:[\d*]+ ){5}.*)$", OPERATIONS, re.MULTILINE)
    command = line.split(maxsplit=5)[5]
    assert "%" not in command  # cron ends the line there
    home = checkout.parent
    environment = {"HOME": str(home), "LOGNAME": "user", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", command], cwd=home, env=environment, timeout=LIMIT_SECONDS)
        log = (checkout / "build" / "nightly.log").read_text()
        assert log.endswith("exit code 0\n"), log
    assert "converted 0" in log
    assert version_names(checkout / "store") == ["000001.json"]


def test_the_batch_file(slurm: Slurm, checkout: Path) -> None:
    (script,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", OPERATIONS, re.MULTILINE | re.DOTALL)
    (checkout / "nightly.sbatch").write_text(script)
    write_cluster(checkout / "conf" / "cluster")
    done = run(["sbatch", "nightly.sbatch"], cwd=checkout, env=slurm.environment())
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[-1]
    wait_until(lambda: job not in slurm.jobs(), "the driver had ended")
    log = (checkout / "build" / f"nightly-{job}.log").read_text()
    assert "JobState=COMPLETED" in slurm.command("scontrol", "show", "job", job), log
    assert version_names(checkout / "store") == ["000001.json"], log
    assert "1 worker at tls://127.0.0.1" in log
    wait_until(lambda: slurm.jobs() == [], "the workers' jobs were cancelled")


def test_only_the_job_itself_can_use_its_slurm_cluster(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers in Slurm's jobs read their certificates from a private folder."""
    for name, value in slurm.environment(XDG_CACHE_HOME=str(tmp_path / "cache")).items():
        monkeypatch.setenv(name, value)
    config, folder = load_cluster(str(write_cluster(tmp_path))), tmp_path / "cache" / "deeplesion-store"
    with start_cluster(config) as cluster, open_client(cluster) as client:
        assert client.submit(sum, [1, 2]).result(LIMIT_SECONDS) == 3
        address, workers = cluster.scheduler_address, client.scheduler_info()["workers"]
        assert [address[:6], *(name[:6] for name in workers)] == ["tls://"] * 2
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) >= 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for stranger in (None, Security.temporary()):
            with pytest.raises(ConfigError, match="no scheduler answers"):
                check_scheduler(address, stranger, timeout_s=5)
    wait_until(lambda: slurm.jobs() == [], "the workers' jobs were cancelled")


TASKS = """
import sys, time
from distributed import Client, as_completed
def work(number):
    time.sleep(0.5)
    return number
with Client() as client:
    for done in as_completed(client.map(work, range(int(sys.argv[1])), pure=False)):
        print(done.result(), flush=True)
"""


def test_a_build_goes_on_where_its_workers_retire_at_their_walltime(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.environment().items():
        monkeypatch.setenv(name, value)
    # With so short a walltime, workers leave after half of it.
    cluster, config = load_cluster(str(write_cluster(tmp_path, walltime="00:00:40"))), config_of(tmp_path)
    with connect(cluster, config.limits) as executor:
        done, notes = build_spoilt(Outlasting, config, executor, tmp_path)
    counts = done.published.counts
    # A volume whose worker left right after writing it is reused.
    assert done.converted + done.reused == VOLUMES
    assert (counts.volumes, counts.rejects_by_reason) == (VOLUMES, {})
    # The first attempt on the retiring worker was lost.
    assert len(notes) == 2
    assert verify(open_objects(config.store), 1).problems == ()
    assert (executor.stats.worker_deaths, executor.stats.timeouts) == (0, 0)
    assert len(list(tmp_path.glob("*.err"))) >= 2  # a log of each worker's job
    assert "worker-lifetime-reached" in "".join(path.read_text() for path in tmp_path.glob("*.err"))
    wait_until(lambda: slurm.jobs() == [], "the workers' jobs were cancelled")


def test_a_worker_whose_job_slurm_ends_is_replaced(slurm: Slurm, tmp_path: Path) -> None:
    cluster = write_cluster(tmp_path, workers={"minimum": 1, "maximum": 1})
    script = tmp_path / "script.py"
    script.write_text(TASKS)
    with subprocess.Popen(
        [*DASK_SUBMIT, "--cluster", str(cluster), str(script), "8"],
        env=slurm.environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            slurm.command("scancel", slurm.jobs()[0])
            rest = process.stdout.read()
            assert process.wait(LIMIT_SECONDS) == 0
        finally:
            process.kill()
    assert sorted(map(int, (first + rest).split())) == list(range(8))
    assert len(list(tmp_path.glob("*.err"))) == 2
    folder = tmp_path / "cache" / "deeplesion-store"
    assert folder.is_dir()
    assert list(folder.iterdir()) == [], "the certificates are gone with the job that made them"
    wait_until(lambda: slurm.jobs() == [], "the workers' jobs were cancelled")


def test_jobs_that_slurm_refuses_are_one_line(slurm: Slurm, tmp_path: Path) -> None:
    cluster = write_cluster(tmp_path, queue="nowhere")
    script = tmp_path / "script.py"
    script.write_text(TASKS)
    done = run([*DASK_SUBMIT, "--cluster", str(cluster), str(script)], env=slurm.environment())
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Slurm refuses the workers' jobs (kind: slurm)")
    assert "invalid partition specified: nowhere" in line
