"""conf/cluster: what each kind comes down to, what is refused, and real clusters started from it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.config
import pytest
import yaml
from dask.system import CPU_COUNT

from etl.core.errors import ConfigError
from etl.run import cluster_kinds as kinds
from etl.run.cluster_config import KINDS, load_cluster
from etl.run.clusters import chosen_cluster, connect, start_cluster
from etl.run.connection import open_client
from tests.support.certificates import write_certificates
from tests.support.processes import ROOT, wait_until

SLURM = {"kind": "slurm", "workers": 4, "cores": 2, "memory": "8 GiB", "walltime": "01:00:00"}


def load(folder: Path, data: dict[str, Any]) -> kinds.Cluster:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_cluster(str(path))


@pytest.mark.parametrize("name", ["local", "scheduler", "slurm", "kubernetes"])
def test_the_files_that_come_along_are_right(name: str) -> None:
    path = ROOT / "conf" / "cluster" / f"{name}.yaml"
    assert load_cluster(str(path)) == load_cluster(name)
    assert isinstance(load_cluster(name), KINDS[name])
    # What stands behind a # as `key: value` is one too.
    text = re.sub(r"(?m)^# (?=[a-z_]+: )", "", path.read_text())
    assert set(yaml.safe_load(text)) <= set(KINDS[name].model_fields)


def test_every_key_is_shown_in_its_file() -> None:
    for name in ("local", "scheduler", "slurm", "kubernetes"):
        text = (ROOT / "conf" / "cluster" / f"{name}.yaml").read_text()
        shown = set(re.findall(r"(?m)^#? ?([a-z_]+):", text))
        assert set(KINDS[name].model_fields) - shown <= {"wait_for_worker_s"}, name


def test_names_are_looked_for_below_the_working_directory_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_cluster("local").workers.maximum == CPU_COUNT  # type: ignore[union-attr]
    (tmp_path / "conf" / "cluster").mkdir(parents=True)
    (tmp_path / "conf" / "cluster" / "local.yaml").write_text("{kind: local, workers: 3}")
    (tmp_path / "conf" / "cluster" / "mine.yaml").write_text("{kind: local, workers: 2}")
    assert load_cluster("local").workers.maximum == 3  # type: ignore[union-attr]
    with pytest.raises(
        ConfigError, match="kubernetes, local, mine, scheduler, serial, slurm, or a YAML file"
    ):
        load_cluster("slrum")


def test_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:1")
    assert chosen_cluster("slurm") == kinds.ExistingScheduler(kind="scheduler", address="tcp://127.0.0.1:1")
    assert chosen_cluster("serial") == kinds.Serial(kind="serial")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://me:hunter2@127.0.0.1:1")
    with pytest.raises(ConfigError, match="DASK_SCHEDULER_ADDRESS"):
        chosen_cluster("slurm")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, ["`kind`", "serial, local, scheduler, slurm, kubernetes, class"]),
        ({"kind": "slrum"}, ["`kind`", "'slrum'"]),
        ({"kind": ["slurm"]}, ["`kind`"]),
        (
            {"kind": "local", "worker": 2},
            ["`worker` is not a key, did you mean `workers`", "change the file;"],
        ),
        ({"kind": "local", "workers": 0}, ["`workers.maximum` = 0"]),
        ({"kind": "local", "workers": "2"}, ['`workers` = "2": a number, or {minimum: 0, maximum: 64}']),
        ({"kind": "local", "workers": None}, ["`workers` = null: a number", "remedy:  change the file;"]),
        ({"kind": "local", "workers": True}, ["`workers.maximum` = true"]),
        ({"kind": "local", "workers": {"minimum": 3, "maximum": 2}}, ["minimum <= maximum", "3 and 2"]),
        ({"kind": "local", "memory_per_worker": "much"}, ['`memory_per_worker` = "much"']),
        ({"kind": "scheduler"}, ["`address` is required"]),
        (
            {
                "kind": "scheduler",
                "address": "tls://h:1",
                "tls": {"ca_file": "no.pem", "cert": ".", "key": "k" * 300},
            },
            [
                '`tls.ca_file` = "no.pem": it can\'t be read: No such file or directory',
                '`tls.cert` = ".": it can\'t be read: Is a directory',
                "it can't be read: File name too long",
            ],
        ),
        (SLURM | {"walltime": "one hour"}, ['`walltime` = "one hour"']),
        ({"kind": "slurm", "workers": 1}, ["`cores` is required", "`memory` is required"]),
        ({"kind": "kubernetes", "workers": 1}, ["`image` is required"]),
        ({"kind": "class", "workers": 1, "path": "Cluster"}, ['`path` = "Cluster"']),
    ],
)
def test_a_wrong_file_names_key_value_and_what_is_allowed(
    tmp_path: Path, data: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, data)
    assert "cluster.yaml" in caught.value.where
    assert [text for text in named if text not in str(caught.value)] == []


def test_tls_needs_its_address(tmp_path: Path) -> None:
    ca, cert, key = write_certificates(tmp_path)
    tls = {"ca_file": str(ca), "cert": str(cert), "key": str(key)}
    with pytest.raises(ConfigError, match="tls://"):
        load(tmp_path, {"kind": "scheduler", "address": "tcp://127.0.0.1:1", "tls": tls})


@pytest.mark.parametrize(
    ("walltime", "lifetime"),
    [("01:00:00", "3300s"), ("00:10:00", "300s"), ("00:01:00", "30s"), ("24:00:00", "86100s")],
)
def test_slurm_workers_leave_before_their_walltime(tmp_path: Path, walltime: str, lifetime: str) -> None:
    cluster = load(tmp_path, SLURM | {"walltime": walltime})
    assert isinstance(cluster, kinds.Slurm)
    assert cluster.arguments()["worker_extra_args"][:2] == ["--lifetime", lifetime]


def test_options_win_over_what_the_kind_gives(tmp_path: Path) -> None:
    cluster = load(tmp_path, SLURM | {"options": {"processes": 1, "nanny": False}})
    assert isinstance(cluster, kinds.Slurm)
    assert cluster.arguments()["processes"] == 1
    assert cluster.arguments()["nanny"] is False


@pytest.mark.parametrize(
    ("data", "module", "remedy"),
    [
        (SLURM, "dask_jobqueue", r"pip install 'deeplesion-store\[slurm\]'"),
        (
            {"kind": "kubernetes", "workers": 1, "image": "i"},
            "dask_kubernetes.operator",
            r"pip install 'deeplesion-store\[kubernetes\]'",
        ),
        ({"kind": "class", "workers": 1, "path": "not_there.Cluster"}, "not_there", "install not_there"),
        ({"kind": "class", "workers": 1, "path": "collections.No"}, "not_there", "correct `path`"),
    ],
)
def test_a_missing_extra_says_which(
    tmp_path: Path, data: dict[str, Any], module: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    cluster = load(tmp_path, data)
    with pytest.raises(ConfigError, match=remedy), start_cluster(cluster):  # type: ignore[arg-type]
        pass


def test_slurm_without_its_commands_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("dask_jobqueue is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = load(tmp_path, SLURM)
    with pytest.raises(ConfigError, match="no command sbatch and no scancel"), start_cluster(cluster):  # type: ignore[arg-type]
        pass


SETS_A_HANDLER = """
import signal
from distributed import LocalCluster
signal.signal(signal.SIGINT, lambda *_: None)
"""


@pytest.mark.slow
def test_the_import_of_a_class_leaves_ctrl_c_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets_a_handler.py").write_text(SETS_A_HANDLER)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0"}
    data = {"kind": "class", "workers": 1, "path": "sets_a_handler.LocalCluster", "options": options}
    cluster = load(tmp_path, data)
    before = signal.getsignal(signal.SIGINT)
    with start_cluster(cluster):  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGINT) is before


def interrupted(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function, and press Ctrl-C a moment later."""
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    function(*arguments)


@pytest.mark.slow
def test_ctrl_c_before_a_call_of_dask_begins_leaves_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may come while a cluster is being closed; the error of any other callback is still logged."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    options = {"n_workers": 0, "dashboard_address": "127.0.0.1:0"}
    data = {"kind": "class", "workers": 1, "path": "distributed.LocalCluster", "options": options}
    with start_cluster(load(tmp_path, data)) as started:  # type: ignore[arg-type]
        loop = started.loop
        loop.add_callback(time.sleep, 0.5)
        with pytest.raises(KeyboardInterrupt):
            interrupted(started.sync, asyncio.sleep, 60)
        signal.signal(signal.SIGINT, before)
        loop.add_callback(int, "not a number")
        wait_until(lambda: "not a number" in caplog.text, "the other error was logged")
    assert "free variable" not in caplog.text


@pytest.mark.slow
def test_what_a_class_refuses_is_said(tmp_path: Path) -> None:
    options = {"host": "nowhere.invalid"}
    data = {"kind": "class", "workers": 1, "path": "distributed.LocalCluster", "options": options}
    cluster = load(tmp_path, data)
    with pytest.raises(ConfigError, match="can't be started"), start_cluster(cluster):  # type: ignore[arg-type]
        pass


@pytest.mark.slow
def test_the_dashboards_address_is_told_as_dask_is_configured(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cluster = kinds.Local(kind="local", workers=kinds.Size(minimum=1, maximum=1), dashboard_port=port)
    link = {"distributed.dashboard.link": "https://hub.example/proxy/{port}/status"}
    with caplog.at_level("INFO"), dask.config.set(link), connect(cluster):
        pass
    assert f"dashboard: https://hub.example/proxy/{port}/status" in caplog.text
    assert re.search(r"^INFO .*1 worker at tls://127", caplog.text, re.MULTILINE)


@pytest.mark.campaign
@pytest.mark.parametrize(
    "data",
    [
        {"kind": "local", "workers": 2, "memory_per_worker": "500 MB"},
        {
            "kind": "class",
            "workers": 2,
            "path": "distributed.LocalCluster",
            "options": {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"},
        },
    ],
    ids=["local", "class"],
)
def test_a_fixed_size_is_kept(tmp_path: Path, data: dict[str, Any]) -> None:
    with start_cluster(load(tmp_path, data)) as cluster, open_client(cluster) as client:  # type: ignore[arg-type]
        wait_until(lambda: len(client.nthreads()) == 2, "both workers were there")
        assert client.submit(sum, [1, 2, 3]).result() == 6
        if data["kind"] == "local":
            limits = {info["memory_limit"] for info in client.scheduler_info()["workers"].values()}
            assert limits == {500_000_000}
