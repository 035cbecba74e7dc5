"""`dask submit`, also `dask-submit`: run a job's script on a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from etl.core.errors import EtlError
from etl.run import cluster_kinds as kinds
from etl.run.cluster_config import load_cluster
from etl.run.clusters import environment_of, security_of, start_cluster
from etl.run.connection import check_scheduler
from etl.run.remote_jobs import EXIT_LOST, Jobs, jobs_table, open_jobs
from etl.run.script import SUBMITTED_AS, run_script
from etl.run.signals import exit_code, terminable


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
@click.option("--detach", is_flag=True, help="Run SCRIPT beside the scheduler, print a job id, and leave.")
@click.option("--attach", metavar="ID", help="Follow a detached job's log and end with its exit code.")
@click.option("--cancel", metavar="ID", help="Stop a detached job; the second time, at once.")
@click.option("--list", "list_jobs", is_flag=True, help="Show the detached jobs.")
@click.argument("script", type=click.Path(path_type=Path), required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@terminable()
def submit(
    cluster: str | None,
    scheduler: str | None,
    workers: int | None,
    detach: bool,
    attach: str | None,
    cancel: str | None,
    list_jobs: bool,
    script: Path | None,
    args: tuple[str, ...],
) -> None:
    """Run SCRIPT with ARGS on a Dask cluster and end with its exit code.

    A cluster that is named here is there for the script's time; the script finds it at
    DASK_SCHEDULER_ADDRESS, where `distributed.Client()` looks. With none named, the jobs of this project
    start what `cluster:` in their config says: by default one worker a core, on this machine.

    \b
      dask-submit jobs/build_store.py conf/demo.yaml
      dask-submit jobs/build_store.py conf/demo.yaml --plan
      dask-submit --cluster slurm jobs/build_store.py conf/nih.yaml
      dask-submit --scheduler tcp://10.0.0.1:8786 --detach jobs/build_store.py conf/nih.yaml
      dask-submit --scheduler tcp://10.0.0.1:8786 --attach 20260314-013000-1f6a

    Detached, SCRIPT and the small files among ARGS are copied to the scheduler's machine and run there, in a
    folder of the same path as the current one where it has such a folder.

    Exit codes are the script's own; 2 where the script isn't there, no scheduler answers, or versions differ.
    130 and 143 where Ctrl-C or SIGTERM came before the script ran. Afterwards SIGTERM is passed on to the
    script, which is waited for.
    """
    asked = {"--detach": detach, "--attach": attach, "--cancel": cancel, "--list": list_jobs}
    chosen = [option for option, value in asked.items() if value]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} exclude each other")
    follows = bool(chosen) and not detach
    if follows and script is not None:
        raise click.UsageError(f"{chosen[0]} takes no SCRIPT")
    if not follows:
        if script is None:
            raise click.UsageError("Missing argument 'SCRIPT'.")
        if not script.is_file():
            raise click.UsageError(f"no such script: {script}")
    from_environment = scheduler is not None and scheduler == os.environ.get("DASK_SCHEDULER_ADDRESS")
    try:
        place = _place(cluster, None if cluster and from_environment else scheduler, workers)
        if not chosen:
            assert script is not None  # checked above
            options = {"--cluster": cluster, "--scheduler": scheduler, "--workers": workers}
            sys.exit(_run_attached(place, options, [str(script), *args]))
        if not isinstance(place, kinds.Standing):
            raise click.UsageError(
                f"{chosen[0]} needs a scheduler that stands already: --scheduler ADDRESS, or a --cluster of "
                "`kind: scheduler`; any other cluster ends with who started it (see docs/operations.md)"
            )
        # A lost connection is told in one line below. Dask gives its client a level of its own.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with open_jobs(place.address, security_of(place.tls)) as jobs:
            sys.exit(_remote(jobs, script, args, attach, cancel))
    except EtlError as error:
        raise OneLine(error) from error
    except KeyboardInterrupt as stop:
        if attach:
            click.echo(f"the job goes on: --attach {attach} follows it, --cancel {attach} stops it", err=True)
        sys.exit(exit_code(stop))


class OneLine(click.ClickException):
    """An error in one line, as the `dask` commands print theirs."""

    def __init__(self, error: EtlError) -> None:
        parts = [f"{error.what} ({error.where})" if error.where else error.what]
        parts += [str(error.value)] if error.value is not None else []
        parts += [error.remedy] if error.remedy else []
        super().__init__("; ".join(" ".join(part.split()) for part in parts))
        self.exit_code: int = error.exit_code  # type: ignore[misc]  # click declares it a class variable


def _place(cluster: str | None, scheduler: str | None, workers: int | None) -> kinds.Cluster | None:
    """The cluster that the options name; None leaves it to the script."""
    given = {"--cluster": cluster, "--scheduler": scheduler, "--workers": workers}
    chosen = [option for option, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} exclude each other")
    if scheduler:
        return kinds.Standing(kind="scheduler", address=scheduler)
    if workers:
        return kinds.Local(kind="local", workers=kinds.Size(minimum=workers, maximum=workers))
    if cluster is None:
        return None
    place = load_cluster(cluster)
    if isinstance(place, kinds.Serial):
        raise click.UsageError("`serial` is no cluster: set `cluster: serial` in the job's config instead")
    return place


def _run_attached(
    place: kinds.Cluster | None, options: Mapping[str, str | int | None], command: list[str]
) -> int:
    given = [word for option, value in options.items() if value for word in (option, str(value))]
    environment = dict(os.environ) | {SUBMITTED_AS: shlex.join(["dask-submit", *given])}
    with contextlib.ExitStack() as stack:
        if place is not None:
            environment |= _reach(place, stack)
        return run_script(command, environment)


def _reach(place: kinds.Cluster, stack: contextlib.ExitStack) -> Mapping[str, str]:
    """Start or find a cluster; returns what the script finds it by."""
    if isinstance(place, kinds.Standing):
        check_scheduler(place.address, security_of(place.tls))
        return environment_of(place.address, place)
    assert not isinstance(place, kinds.Serial)  # refused before
    cluster = stack.enter_context(start_cluster(place))
    return environment_of(cluster.scheduler_address, place)


def _remote(
    jobs: Jobs, script: Path | None, args: tuple[str, ...], attach: str | None, cancel: str | None
) -> int:
    if attach:
        code = jobs.follow(attach, sys.stdout.buffer)
        if code is None:
            click.echo(f"{attach} was killed and left no exit code; run the same again", err=True)
        return EXIT_LOST if code is None else code
    if cancel:
        before = jobs.cancel(cancel)
        done = "told to stop" if before.state == "running" else f"{before.state} already"
        click.echo(f"{cancel} {done}", err=True)
    elif script:
        state = jobs.submit(script, args)
        click.echo(f"runs in {state.folder} on the scheduler's machine", err=True)
        click.echo(state.job_id)
    else:
        click.echo(jobs_table(jobs.list()))
    return 0


def main() -> None:
    """The console script `dask-submit`."""
    submit.main(prog_name="dask-submit")
