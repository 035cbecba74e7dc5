"""`dask submit` with real scripts, schedulers and workers: exit codes, arguments, signals, addresses."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl.core.errors import ConfigError
from etl.run import worker
from etl.run.connection import check_scheduler, open_client
from etl.run.submit import submit
from tests.support.clusters import local_cluster
from tests.support.logged import logged_here
from tests.support.processes import (
    DASK_SUBMIT,
    LIMIT_SECONDS,
    assert_gone,
    dask_scheduler,
    descendants,
    environment,
    interrupt,
    run,
    running,
    wait_until,
)

# Prints what it was given, then ends as its first argument says.
SCRIPT = """
import json, os, signal, sys
print(json.dumps({"arguments": sys.argv[1:], "address": os.environ["DASK_SCHEDULER_ADDRESS"]}), flush=True)
if sys.argv[1] == "signal":
    os.kill(os.getpid(), int(sys.argv[2]))
sys.exit(int(sys.argv[2]))
"""
# Waits for a signal, says which came, and ends with a code of its own.
WAITING = """
import pathlib, signal, sys, time
def told(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(7)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, told)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
USES_CLUSTER = """
from distributed import Client
with Client() as client:
    print("workers:", len(client.nthreads()), "sum:", client.submit(sum, [1, 2, 3]).result())
"""


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real scheduler with one worker."""
    with dask_scheduler(tmp_path_factory.mktemp("cluster")) as (address, _):
        yield address


def script_file(folder: Path, text: str = SCRIPT) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["exit", "0", "--plan", "-x", "--set", "a.b=c d", "--scheduler", "mine", "--", "--help", ""], 0),
        (["exit", "3"], 3),
        (["signal", str(int(signal.SIGKILL))], 128 + 9),
    ],
)
def test_exit_code_and_arguments_are_the_scripts(
    arguments: list[str], code: int, scheduler: str, tmp_path: Path
) -> None:
    done = run([*DASK_SUBMIT, "--scheduler", scheduler, script_file(tmp_path), *arguments])
    assert json.loads(done.stdout) == {"arguments": arguments, "address": scheduler}
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.campaign
def test_scheduler_comes_from_the_environment(scheduler: str, tmp_path: Path) -> None:
    env = environment(DASK_SCHEDULER_ADDRESS=scheduler)
    done = run([*DASK_SUBMIT, script_file(tmp_path, USES_CLUSTER)], env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "workers: 1 sum: 6\n", "")


@pytest.mark.campaign
def test_option_wins_over_the_environment(scheduler: str, tmp_path: Path) -> None:
    env = environment(DASK_SCHEDULER_ADDRESS="tcp://127.0.0.1:1")
    done = run([*DASK_SUBMIT, "--scheduler", scheduler, script_file(tmp_path), "exit", "0"], env=env)
    assert json.loads(done.stdout)["address"] == scheduler


@pytest.mark.slow
def test_embedded_cluster_has_the_workers_asked_for(tmp_path: Path) -> None:
    done = run([*DASK_SUBMIT, "--workers", "3", script_file(tmp_path, USES_CLUSTER)])
    assert (done.returncode, done.stdout, done.stderr) == (0, "workers: 3 sum: 6\n", "")


def test_workers_do_not_report_the_end_of_their_cluster_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    logger = logging.getLogger("distributed.worker")
    filters = list(logger.filters)
    try:
        worker.dask_setup(object())
        logger.error("Failed to communicate with scheduler during heartbeat.")
        logger.error("something else")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logger.filters[:] = filters
    assert logged_here(caplog) == ["something else"]


def test_missing_script_is_a_usage_error(tmp_path: Path) -> None:
    done = run([*DASK_SUBMIT, str(tmp_path / "nothing.py")])
    assert done.returncode == 2
    assert "no such script" in done.stderr
    assert "nothing.py" in done.stderr


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_wrong_number_of_workers_is_a_usage_error(workers: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(submit, ["--workers", workers, script_file(tmp_path)])
    assert done.exit_code == 2
    assert "--workers" in done.stderr


def test_workers_and_scheduler_exclude_each_other(tmp_path: Path) -> None:
    both = ["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"]
    done = CliRunner().invoke(submit, [*both, script_file(tmp_path), "exit", "0"])
    assert done.exit_code == 2
    assert "--scheduler and --workers exclude each other" in done.stderr


@contextlib.contextmanager
def listening_to_nobody() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["nonsense", "foo://127.0.0.1:8786", "tcp://127.0.0.1"])
def test_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(submit, ["--scheduler", address, script_file(tmp_path), "exit", "0"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: no scheduler answers (")
    assert address in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--scheduler", "", '`address` = "": string should have at least 1 character'),
        ("--scheduler", "tcp://me:hunter2@127.0.0.1:1", "the address holds a password"),
        ("--cluster", "slrum", "; allowed: kubernetes, local,"),
        ("--cluster", "slrum.yaml", "deeplesion config cluster/local > cluster.yaml"),
        ("--workrs", "2", "no such option: --workrs"),
    ],
)
def test_a_wrong_place_is_an_error_in_one_line(option: str, value: str, said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(submit, [option, value, script_file(tmp_path)])
    assert (done.exit_code, said in done.stderr, "hunter2" in done.output) == (2, True, False)


@pytest.mark.slow
def test_closed_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = run([*DASK_SUBMIT, "--scheduler", address, script_file(tmp_path), "exit", "0"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: no scheduler answers (")
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_server_that_says_nothing_is_refused() -> None:
    with (
        listening_to_nobody() as address,
        pytest.raises(ConfigError, match="no scheduler answers"),
        open_client(address, connect_s=1),
    ):
        pass


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", b"+OK\r\n", bytes(16), b"HTTP/1.0 400 Bad Request\r\n\r\n"]
)
def test_server_of_another_kind_is_refused(greeting: bytes) -> None:
    def greet() -> None:
        with contextlib.suppress(OSError):
            while True:
                with server.accept()[0] as caller:
                    caller.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            with pytest.raises(ConfigError, match="no scheduler answers"):
                check_scheduler(f"tcp://127.0.0.1:{server.getsockname()[1]}", timeout_s=1)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.campaign
def test_scheduler_without_workers_is_refused() -> None:
    with local_cluster(1, tls=False) as cluster:
        cluster.scale(0)
        wait_until(lambda: not cluster.scheduler_info["workers"], "the worker had left")
        address = cluster.scheduler_address
        with (
            pytest.raises(ConfigError, match="has no worker"),
            open_client(address, wait_for_worker_s=0.5),
        ):
            pass


@pytest.mark.campaign
def test_workers_that_cannot_import_the_package_are_refused(tmp_path: Path) -> None:
    # Found first, as it lies in the folder where the worker runs.
    (tmp_path / "etl").mkdir()
    (tmp_path / "etl" / "__init__.py").touch()
    (tmp_path / "etl" / "convert.py").write_text("import numba_of_another_version")
    with (
        dask_scheduler(tmp_path) as (address, _),
        pytest.raises(ConfigError, match=r"(?s)numba_of_another_version.*Dockerfile in docs/operations\.md"),
        open_client(address, module="etl.convert.convert"),
    ):
        pass


@pytest.mark.campaign
def test_sigterm_is_forwarded(scheduler: str, tmp_path: Path) -> None:
    ready, output = tmp_path / "ready", tmp_path / "output"
    command = [*DASK_SUBMIT, "--scheduler", scheduler, script_file(tmp_path, WAITING), str(ready)]
    with running(command, output) as process:
        wait_until(ready.exists, "the script ran")
        process.terminate()
        assert process.wait(LIMIT_SECONDS) == 7
    assert output.read_text() == "got SIGTERM\n"


@pytest.mark.slow
def test_ctrl_c_reaches_the_script_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ready, output = tmp_path / "ready", tmp_path / "output"
    command = [*DASK_SUBMIT, "--workers", "1", script_file(tmp_path, WAITING), str(ready)]
    with running(command, output) as process:
        wait_until(ready.exists, "the script ran")
        others = descendants(process)
        assert len(others) >= 2  # the script and a worker
        interrupt(process)
        assert process.wait(LIMIT_SECONDS) == 7
        assert_gone(others)
    assert output.read_text() == "got SIGINT\n"


@pytest.mark.campaign
def test_killed_dask_submit_takes_its_script_and_workers_with_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [*DASK_SUBMIT, "--workers", "1", script_file(tmp_path, WAITING), str(ready)]
    with running(command, tmp_path / "output") as process:
        wait_until(ready.exists, "the script ran")
        others = descendants(process)
        os.kill(process.pid, signal.SIGKILL)
        assert_gone(others)
    # As a batch system would have asked it.
    assert "got SIGTERM" in (tmp_path / "output").read_text().splitlines()


@pytest.mark.slow
def test_dask_has_the_command() -> None:
    done = run([sys.executable, "-m", "dask", "submit", "--help"])
    assert done.returncode == 0
    assert "SCRIPT" in done.stdout
    assert "--scheduler" in done.stdout
