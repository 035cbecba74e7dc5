"""`dask submit --detach` and what follows it, as seen from the command line: submit, follow, cancel, list."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from distributed import Client
from distributed.security import Security

from etl.core.config_file import ENVIRONMENT_PREFIX
from etl.core.errors import ConfigError, RunError
from etl.run import detached
from etl.run.connection import CONNECT_SECONDS, check_scheduler
from etl.run.detached import Argument, JobState
from etl.run.signals import deferred_interrupt

# Configs travel; data doesn't.
LARGEST_FILE_BYTES = 1 << 20
FOLLOW_SECONDS = 0.5
EXIT_LOST = 4


class Jobs:
    """The detached jobs of a standing scheduler."""

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address

    def submit(self, script: Path, arguments: Sequence[str]) -> JobState:
        """Start a script beside the scheduler.

        The script travels, and so does each argument that is a file of up to 1 MiB. The config's variables in
        the environment travel too; credentials don't.
        """
        job_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
        words = [Argument(str(script), script.read_bytes()), *map(_argument, arguments)]
        variables = {k: v for k, v in os.environ.items() if k.startswith(ENVIRONMENT_PREFIX)}
        return self._ask(detached.start_job, job_id, words, os.getcwd(), variables)

    def follow(self, job_id: str, output: BinaryIO) -> int | None:
        """Write a job's log from its start as it grows; returns the exit code, None where it was killed."""
        offset = 0
        while True:
            piece, state = self._ask(detached.read_log, job_id, offset)
            output.write(piece)
            output.flush()
            offset += len(piece)
            if not piece and state.state != "running":
                return state.exit_code
            if not piece:
                time.sleep(FOLLOW_SECONDS)

    def cancel(self, job_id: str) -> JobState:
        """Ask a job to stop; the second time it is killed. Returns how it stood before."""
        return self._ask(detached.cancel_job, job_id)

    def list(self) -> list[JobState]:
        """All jobs that the scheduler's machine knows, the oldest first."""
        return self._ask(detached.list_jobs)

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            with deferred_interrupt():
                return self._client.run_on_scheduler(function, *arguments)
        except KeyError as error:
            raise ConfigError(
                "there is no such job",
                where=f"the scheduler at {self._address}",
                value=error.args[0],
                remedy="dask-submit --list shows the jobs",
            ) from error
        except ImportError as error:
            raise ConfigError(
                "the scheduler can't import this package, which detached jobs need",
                where=f"the scheduler at {self._address}",
                value=str(error),
                remedy="install it where `dask scheduler` runs, and start the scheduler anew",
            ) from error
        except OSError as error:
            raise RunError(
                "the connection to the scheduler was lost, or it can't do this",
                where=self._address,
                value=f"{type(error).__name__}: {error}",
                remedy="see dask-submit --list once it is back; what a job has finished is kept",
            ) from error


@contextlib.contextmanager
def open_jobs(address: str, security: Security | None) -> Iterator[Jobs]:
    """The jobs of the scheduler at an address.

    Raises:
        ConfigError: none answers there, or versions differ.
    """
    check_scheduler(address, security)
    with Client(address, security=security, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        yield Jobs(client, address)


def jobs_table(states: Sequence[JobState]) -> str:
    """The jobs, one a line, for people."""
    lines = [f"{'JOB':20} {'STATE':8} {'EXIT':>4}  {'STARTED (UTC)':19}  COMMAND"]
    for state in states:
        started = datetime.datetime.fromtimestamp(state.started, datetime.UTC)
        code = "" if state.exit_code is None else state.exit_code
        command = shlex.join(state.command)
        lines.append(f"{state.job_id:20} {state.state:8} {code:>4}  {started:%Y-%m-%dT%H:%M:%S}  {command}")
    return "\n".join(lines)


def _argument(text: str) -> Argument:
    path = Path(text)
    with contextlib.suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size <= LARGEST_FILE_BYTES:
            return Argument(text, path.read_bytes())
    return Argument(text)
