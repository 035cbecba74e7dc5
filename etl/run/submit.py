"""`dask submit`, also `dask-submit`: run a job's script on a Dask cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from etl.errors import EtlError
from etl.run.clusters import check_scheduler, local_cluster


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    envvar="DASK_SCHEDULER_ADDRESS",
    help="Use the scheduler at this address instead of an embedded cluster. [env: DASK_SCHEDULER_ADDRESS]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes of the embedded local cluster. [default: one a core]",
)
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def submit(scheduler: str | None, workers: int | None, script: Path, args: tuple[str, ...]) -> None:
    """Run SCRIPT with ARGS on a Dask cluster and end with its exit code.

    Without a scheduler an embedded cluster is started on this machine, one worker a core, and stopped at
    the end. The script finds it at DASK_SCHEDULER_ADDRESS, where `distributed.Client()` looks.

    \b
      dask-submit jobs/build_store.py conf/demo.yaml
      dask-submit jobs/build_store.py conf/demo.yaml --plan
      dask-submit --scheduler tcp://10.0.0.1:8786 jobs/build_store.py conf/demo.yaml

    Exit codes are the script's own; 2 where the script isn't there or no scheduler answers.
    """
    if not script.is_file():
        raise click.UsageError(f"no such script: {script}")
    if scheduler and workers:
        raise click.UsageError("--workers sizes the embedded cluster; it can't be given with --scheduler")
    try:
        if scheduler:
            check_scheduler(scheduler)
            code = _run(script, args, scheduler)
        else:
            with local_cluster(workers) as cluster:
                code = _run(script, args, cluster.scheduler_address)
    except EtlError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code)


def _run(script: Path, args: tuple[str, ...], address: str) -> int:
    environment = dict(os.environ) | {"DASK_SCHEDULER_ADDRESS": address}
    process = subprocess.Popen([sys.executable, str(script), *args], env=environment)

    def forward(number: int, frame: object) -> None:
        process.send_signal(number)

    # A terminal sends Ctrl-C to the script as well, so it is left to the script to end.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, forward)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def main() -> None:
    """The console script `dask-submit`."""
    submit.main(prog_name="dask-submit")
