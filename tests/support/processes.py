"""Run real processes in tests: each with a limit, each ended, with all that it started, whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BUILD_STORE = [sys.executable, str(ROOT / "jobs" / "build_store.py")]
DASK_SUBMIT = [sys.executable, "-c", "from etl.run.submit import main; main()"]
LIMIT_SECONDS = 500
"""Limit of a wait for what must happen: long, as machines are loaded; pytest ends a test after 600 s."""


def environment(**more: str) -> dict[str, str]:
    """This process's with the project importable, less what would choose a cluster or a config for a job."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "DASK_SCHEDULER_ADDRESS" and not name.startswith("DEEPLESION__")
    }
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)} | more


def run(
    command: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end; kill it after `LIMIT_SECONDS` and raise TimeoutExpired."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment() if env is None else env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@contextlib.contextmanager
def running(
    command: Sequence[str], output: Path, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, its output in a file; killed at the end if it still runs."""
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_heed_interrupts,
        )
    try:
        yield process
    finally:
        kill_tree(process)


def _heed_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and so would be all that tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Every process that it has started, directly or not, and that still runs."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_running(process: psutil.Process) -> bool:
    """False for one that has ended and waits for somebody to ask how."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and, by their own ids, all that it started."""
    found = descendants(process)
    process.kill()
    for other in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()
    process.wait(LIMIT_SECONDS)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = LIMIT_SECONDS) -> None:
    """Wait for something that must happen; AssertionError where it doesn't."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(0.005)


def assert_gone(processes: Sequence[psutil.Process]) -> None:
    wait_until(lambda: not any(map(is_running, processes)), f"{processes} had ended")


@contextlib.contextmanager
def dask_scheduler(
    folder: Path, options: Sequence[str] = (), worker_options: Sequence[str] = ()
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real `dask scheduler` with one `dask worker` in `folder`, on free ports of the loopback interface.

    Args:
        options: of both, such as certificates.
        worker_options: of the worker.

    Yields:
        The scheduler's address and its process.
    """
    dask = [sys.executable, "-m", "dask"]
    file = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard", *options]
    temporary = environment(DASK_TEMPORARY_DIRECTORY=str(folder))
    start = [*dask, "scheduler", *local, "--port", "0", "--scheduler-file", str(file)]
    with running(start, folder / "scheduler.log", env=temporary) as scheduler:
        wait_until(lambda: file.is_file() and file.read_bytes().rstrip().endswith(b"}"), "it was listening")
        address = json.loads(file.read_bytes())["address"]
        worker = [*dask, "worker", address, *local, "--nthreads", "1", "--no-nanny", *worker_options]
        with running(worker, folder / "worker.log", cwd=folder):
            yield address, scheduler


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, as a terminal sends it: to every process of the session."""
    os.killpg(process.pid, signal.SIGINT)
