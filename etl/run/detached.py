"""Jobs whose script runs where a standing cluster's scheduler runs, and goes on without who submitted it.

Everything about a job lies in a folder of the scheduler's machine, so a restarted scheduler knows its jobs:

    <temporary folder>/dask-submit-<user id>/<job id>/
      job.json    what was asked for, and the driver's process id
      0/ 1/ ...   the script and the files among its arguments, as they travelled
      log         what the script printed
      lock        held by the driver and the script as long as one of them runs
      exit_code   written at its end

The functions here run in the scheduler, by `Client.run_on_scheduler`, and take plain values.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask

LOG_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Argument:
    """One word of a command line; `content` is that of the file which it names, and which travels."""

    text: str
    content: bytes | None = None


@dataclass(frozen=True)
class JobState:
    """A job as it stands.

    Attributes:
        state: running, ended, or lost: nothing of it runs, and its driver was killed and left no exit code.
        started: seconds since 1970.
        command: as it was submitted.
        folder: where the script works.
    """

    job_id: str
    state: str
    exit_code: int | None
    started: float
    command: tuple[str, ...]
    folder: str


def start_job(
    job_id: str,
    words: Sequence[Argument],
    working_folder: str,
    variables: Mapping[str, str],
    dask_scheduler: Any = None,
) -> JobState:
    """Start the driver of a job on this machine.

    Args:
        words: the script and its arguments.
        working_folder: where the script works if there is such a folder here; else in the job's own.
        variables: added to the environment.
    """
    folder = _jobs_folder() / job_id
    folder.mkdir(parents=True, mode=0o700)
    command = []
    for number, word in enumerate(words):
        if word.content is None:
            command.append(word.text)
        else:
            path = folder / str(number) / os.path.basename(word.text)
            path.parent.mkdir()
            path.write_bytes(word.content)
            command.append(str(path))
    works_in = working_folder if os.path.isdir(working_folder) else str(folder)
    job = {"command": command, "asked": [word.text for word in words], "folder": works_in}
    environment = os.environ | _find_scheduler(dask_scheduler) | dict(variables) | {"PYTHONUNBUFFERED": "1"}
    (folder / "job.json").write_text(json.dumps(job | {"started": time.time()}))
    with open(folder / "log", "wb") as log, open(folder / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        driver = subprocess.Popen(
            [sys.executable, "-m", "etl.run.driver", str(folder), str(lock.fileno())],
            cwd=works_in,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    (folder / "pid").write_text(str(driver.pid))
    return job_state(job_id)


def job_state(job_id: str) -> JobState:
    """Raises KeyError where there is no such job."""
    folder = _job_folder(job_id)
    job = json.loads((folder / "job.json").read_text())
    # In this order: a driver that ends between the two has left its code.
    runs = _is_locked(folder / "lock")
    code = int((folder / "exit_code").read_text()) if (folder / "exit_code").is_file() else None
    state = "ended" if code is not None else "running" if runs else "lost"
    return JobState(job_id, state, code, job["started"], tuple(job["asked"]), job["folder"])


def list_jobs() -> list[JobState]:
    """All jobs, the oldest first."""
    states = []
    for path in _jobs_folder().glob("*/job.json"):
        with contextlib.suppress(OSError, ValueError):  # it is only just being written
            states.append(job_state(path.parent.name))
    return sorted(states, key=lambda state: state.started)


def read_log(job_id: str, offset: int) -> tuple[bytes, JobState]:
    """The next piece of a job's log, and how the job stood before it was read."""
    state = job_state(job_id)
    with open(_job_folder(job_id) / "log", "rb") as log:
        log.seek(offset)
        return log.read(LOG_PIECE_BYTES), state


def cancel_job(job_id: str) -> JobState:
    """Ask a job to stop in order; one that was asked already is killed."""
    state, folder = job_state(job_id), _job_folder(job_id)
    if state.state == "running":
        asked = folder / "cancelled"
        driver = int((folder / "pid").read_text())
        with contextlib.suppress(ProcessLookupError):  # it has ended in this moment
            if asked.exists():
                os.killpg(driver, signal.SIGKILL)
            elif _is_alive(driver):
                os.kill(driver, signal.SIGTERM)
            else:  # its script is left
                os.killpg(driver, signal.SIGTERM)
        asked.touch()
    return state


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # it was not this scheduler that started it
        # Or one that was killed would stay, and take signals, until its parent asks how it ended.
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _jobs_folder() -> Path:
    place = dask.config.get("temporary-directory", None) or tempfile.gettempdir()
    return Path(place) / f"dask-submit-{os.getuid()}"


def _job_folder(job_id: str) -> Path:
    folder = _jobs_folder() / job_id
    if "/" in job_id or not (folder / "job.json").is_file():
        raise KeyError(job_id)
    return folder


def _is_locked(path: Path) -> bool:
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _find_scheduler(scheduler: Any) -> dict[str, str]:
    """How the driver finds the scheduler that starts it: by its address, and with its certificate."""
    found = {"DASK_SCHEDULER_ADDRESS": scheduler.address}
    security = scheduler.security
    for variable, value in (
        ("TLS__CA_FILE", security.tls_ca_file),
        ("TLS__CLIENT__CERT", security.tls_scheduler_cert),
        ("TLS__CLIENT__KEY", security.tls_scheduler_key),
        ("REQUIRE_ENCRYPTION", "true" if security.require_encryption else None),
    ):
        if value:
            found[f"DASK_DISTRIBUTED__COMM__{variable}"] = str(value)
    return found
