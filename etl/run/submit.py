"""`dask submit`, also `dask-submit`: run a job's script on a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.core.errors import EtlError
from etl.core.secrets import without_secrets
from etl.run.signals import ENDING, AtOnce, exit_code, terminable

if TYPE_CHECKING:
    from etl.run import cluster_kinds as kinds

# Environment variable of a script: the command line before its own, for the hint how to run it again.
SUBMITTED_AS = "DASK_SUBMIT_COMMAND"
# Given as SCRIPT: this package's own command, which needs no file.
OWN_COMMAND = "deeplesion"
UNTIL_PARENT_ENDS = Path(__file__).with_name("until_parent_ends.py")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--cluster",
    metavar="NAME|FILE",
    help="Start or use the cluster of conf/cluster/NAME.yaml, or of a file like those.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    envvar="DASK_SCHEDULER_ADDRESS",
    help="Use the scheduler at this address. [env: DASK_SCHEDULER_ADDRESS]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Start a local cluster of this many worker processes.",
)
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@terminable()
def submit(
    cluster: str | None, scheduler: str | None, workers: int | None, script: Path, args: tuple[str, ...]
) -> None:
    """Run SCRIPT with ARGS on a Dask cluster and end with its exit code. SCRIPT may be `deeplesion`, too.

    A cluster named here lasts as long as the script, which finds it at DASK_SCHEDULER_ADDRESS, where
    `distributed.Client()` looks. Without an option, the jobs of this project start the cluster that
    `cluster:` in their config names: by default one worker a core, on this machine.

    \b
      dask-submit jobs/build_store.py conf/demo.yaml
      dask-submit --workers 4 deeplesion verify build/store
      dask-submit --cluster slurm jobs/build_store.py conf/nih.yaml
      dask-submit --scheduler tcp://10.0.0.1:8786 jobs/build_store.py conf/nih.yaml

    Jobs that outlive a terminal: see docs/operations.md (sbatch, a Kubernetes Job, systemd-run).

    Exit codes are the script's own; 2 if the script does not exist, no scheduler answers, or versions
    differ; 130, 143 and 129 if Ctrl-C, SIGTERM or SIGHUP came before the script ran. Later signals are
    forwarded to the script, and dask-submit waits for its end.
    """
    is_own = str(script) == OWN_COMMAND and not script.is_file()
    if not is_own and not script.is_file():
        raise click.UsageError(f"no such {'option' if str(script).startswith('-') else 'script'}: {script}")
    from_environment = scheduler is not None and scheduler == os.environ.get("DASK_SCHEDULER_ADDRESS")
    options = {
        "--cluster": cluster,
        "--scheduler": None if cluster and from_environment else scheduler,
        "--workers": workers,
    }
    given = {option: value for option, value in options.items() if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other")
    typed = typed_submit(sys.argv[0])
    words = [*typed, *(word for option, value in given.items() for word in (option, str(value)))]
    environment = dict(os.environ) | {SUBMITTED_AS: shlex.join(words)}
    try:
        with contextlib.ExitStack() as stack:
            if given:
                environment |= _reach(cluster, scheduler, workers, stack)
            started = ["-m", "etl.commands"] if is_own else [str(script)]
            sys.exit(run_script([*started, *args], environment))
    except EtlError as error:
        raise OneLine(error) from error
    except KeyboardInterrupt as stop:
        sys.exit(exit_code(stop))


def typed_submit(program: str) -> list[str]:
    """Return the words that start this command in the user's shell, given `sys.argv[0]`."""
    name = os.path.basename(program)
    if name not in ("dask", "dask-submit"):
        return ["dask-submit"]
    return [typed_program(program), *(["submit"] if name == "dask" else [])]


def typed_program(program: str) -> str:
    """Return a console script as it was typed: the bare name only if the PATH has it.

    Args:
        program: `sys.argv[0]`, which has the folder of PATH if a bare name was typed.
    """
    name = os.path.basename(program)
    on_path = shutil.which(name)
    is_bare = on_path is not None and os.path.realpath(on_path) == os.path.realpath(program)
    return name if is_bare else program


class OneLine(click.ClickException):
    """An error in one line, as the `dask` commands print theirs."""

    def __init__(self, error: EtlError) -> None:
        parts = [f"{error.what} ({error.where})" if error.where else error.what]
        parts += [str(error.value)] if error.value is not None else []
        parts += [f"allowed: {error.allowed}"] if error.allowed else []
        parts += [error.remedy] if error.remedy else []
        super().__init__(without_secrets("; ".join(" ".join(part.split()) for part in parts)))
        self.exit_code: int = error.exit_code  # type: ignore[misc]  # click declares it a class variable


def _reach(
    cluster: str | None, scheduler: str | None, workers: int | None, stack: contextlib.ExitStack
) -> Mapping[str, str]:
    """Start or find the cluster of the one option given; return the environment of its scripts."""
    from etl.run import cluster_kinds as kinds
    from etl.run.cluster_config import load_cluster, scheduler_at
    from etl.run.clusters import environment_of, start_cluster
    from etl.run.connection import check_scheduler, security_of
    from etl.run.logs import leave_secrets_out

    leave_secrets_out()
    place: kinds.Cluster
    if cluster:
        place = load_cluster(cluster)
    elif workers:
        place = kinds.Local(kind="local", workers=kinds.Size(minimum=workers, maximum=workers))
    else:
        assert scheduler is not None  # the one option left
        place = scheduler_at(scheduler, "--scheduler")
    if isinstance(place, kinds.Serial):
        raise click.UsageError("`serial` is no cluster: set `cluster: serial` in the job's config instead")
    if isinstance(place, kinds.ExistingScheduler):
        check_scheduler(place.address, security_of(place.tls))
        return environment_of(place.address, place)
    started = stack.enter_context(start_cluster(place))
    return environment_of(started.scheduler_address, place, getattr(started, "security", None))


def run_script(command: Sequence[str], environment: Mapping[str, str], grace_s: float = 1.0) -> int:
    """Run a Python script with its arguments to the end. If this process is killed, the script gets SIGTERM.

    Args:
        grace_s: time for the script to restore the terminal after a second Ctrl-C.

    Returns:
        The script's exit code; 128 plus the signal's number if a signal ended it, as a shell shows it.

    Raises:
        AtOnce: Ctrl-C came twice; the script has ended, or was killed.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []
    presses = 0

    def forward(number: int, frame: object) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    def interrupted(number: int, frame: object) -> None:
        # A terminal sends Ctrl-C to the script too, so the script decides when to end.
        nonlocal presses
        presses += 1
        if process is None:
            early.append(number)
        elif presses > 1:
            raise AtOnce

    # Set before the script starts: an earlier signal would end this process and leave the script running.
    handlers = {signal.SIGINT: interrupted} | dict.fromkeys(ENDING, forward)
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        # Isolated and without site packages, Python starts in a moment.
        bound = [sys.executable, "-IS", str(UNTIL_PARENT_ENDS), str(os.getpid()), sys.executable, *command]
        process = subprocess.Popen(bound, env=environment)
        for number in early:
            process.send_signal(number)
        code = _wait(process, grace_s)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _wait(process: subprocess.Popen[bytes], grace_s: float) -> int:
    try:
        return process.wait()
    except AtOnce:
        try:
            # The terminal sent both to the script as well.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        finally:
            process.kill()
        raise


def main() -> None:
    """Run the console script `dask-submit`."""
    submit.main(prog_name="dask-submit")
